package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/tap"
)

// adminQueue is what the socket needs of the queue.
type adminQueue interface {
	Scan(ctx context.Context, f queue.Filter, after queue.ID, looks int, found func(*queue.Entry) bool) (queue.Scanned, error)
	Skim(ctx context.Context, f queue.Filter, after queue.ID, looks int, whole bool, found func(*queue.Entry) bool) (queue.Scanned, error)
	Newest() queue.ID
	Show(id queue.ID) (queue.Entry, error)
	Content(id queue.ID) (io.ReadCloser, error)
	WaitsUntil(d *queue.Delivery) time.Time
	Paused(d *queue.Delivery) (until time.Time, why string)
	Stats() metrics.QueueStats
	Ready() error
	DestinationHeld(name string) bool
	HeldDestinations() []queue.HeldDestination
	Destinations(prefix string, limit int) []string
	HoldDestination(name string) (waiting int64, changed bool, err error)
	ReleaseDestination(name string) (waiting int64, changed bool, err error)
	RetryDestination(name string) (waiting int64, held bool)
	RetryNow(f queue.Filter) (int, error)
	Hold(f queue.Filter) (int, error)
	Release(f queue.Filter) (int, error)
	Remove(f queue.Filter) (int, error)
	Bounce(f queue.Filter, reason string) (int, error)
	Reroute(f queue.Filter) (int, error)
	Export(ctx context.Context, w io.Writer, o queue.ExportOptions) (queue.Exported, error)
	Import(ctx context.Context, r io.Reader, hold queue.ImportHold) (queue.Imported, error)
	Verify(ctx context.Context, found func(queue.Damage)) (queue.Verification, error)
	Trace(key string, limit int) ([]queue.Story, bool, error)
	Compact(ctx context.Context) (queue.Compacted, error)
	Backup(ctx context.Context, dir string) (queue.BackedUp, error)
}

var _ adminQueue = (*queue.Queue)(nil)

// handler answers requests.
type handler struct {
	queue   adminQueue
	pace    func(destination string) *ExplainedPace
	log     *tap.Tap
	metrics prometheus.Gatherer
}

// errNotRunning answers what a queue alone has no answer to.
var errNotRunning = &Problem{Code: CodeTemporary, Text: "no waypost is running that could answer this"}

func newHandler(q adminQueue, s Service) http.Handler {
	h := &handler{queue: q, pace: s.Pace, log: s.Log, metrics: s.Metrics}
	mux := http.NewServeMux()
	answer := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			if result, err := f(r); err != nil {
				writeProblem(w, err)
			} else {
				writeJSON(w, http.StatusOK, result)
			}
		})
	}
	answer("POST /v1/list", h.list)
	for action, change := range map[Action]func(queue.Filter) (int, error){
		Retry: q.RetryNow, Hold: q.Hold, Release: q.Release, Remove: q.Remove, Reroute: q.Reroute,
	} {
		plain := func(f queue.Filter, _ string) (int, error) { return change(f) }
		answer("POST /v1/"+string(action), func(r *http.Request) (any, error) { return h.change(r, action, plain) })
	}
	answer("POST /v1/"+string(Bounce), func(r *http.Request) (any, error) { return h.change(r, Bounce, q.Bounce) })
	answer("GET /v1/messages/{id}", h.show)
	answer("GET /v1/stats", h.stats)
	answer("POST /v1/names", func(r *http.Request) (any, error) { return h.names(r, s.Listeners) })
	answer("POST /v1/trace", h.trace)
	answer("POST /v1/explain", func(r *http.Request) (any, error) {
		if s.Explain == nil {
			return nil, errNotRunning
		}
		return h.explain(r, s.Explain)
	})
	answer("POST /v1/reload", func(*http.Request) (any, error) {
		if s.Reload == nil {
			return nil, errNotRunning
		}
		return s.Reload()
	})
	mux.HandleFunc("POST /v1/follow", h.follow)
	mux.HandleFunc("POST /v1/top", h.top)
	mux.HandleFunc("POST /v1/debug", (&debugger{dialogues: s.Dialogues, level: s.Level}).debug)
	answer("GET /v1/health", h.health)
	mux.HandleFunc("POST /v1/count", h.count)
	mux.HandleFunc("POST /v1/sort", h.sort)
	mux.HandleFunc("POST /v1/shape", h.shape)
	mux.HandleFunc("GET /v1/messages/{id}/content", h.content)
	mux.HandleFunc("POST /v1/export", h.export)
	mux.HandleFunc("POST /v1/import", h.imports)
	mux.HandleFunc("POST /v1/verify", h.verify)
	mux.HandleFunc("POST /v1/compact", h.compact)
	mux.HandleFunc("POST /v1/backup", h.backup)
	answer("/", func(r *http.Request) (any, error) {
		return nil, badRequest("there is no %s %s", r.Method, r.URL.Path)
	})
	return mux
}

func (h *handler) stats(*http.Request) (any, error) {
	s := h.queue.Stats()
	return h.describe(&s), nil
}

// describe describes the whole queue.
func (h *handler) describe(s *metrics.QueueStats) Stats {
	stats := Stats{
		Messages: s.Messages, Queued: s.Queued, Deferred: s.Deferred, Held: s.Held,
		Destinations: s.Destinations, DestinationsWaiting: s.Waiting,
		Bytes: s.Bytes, OldestAgeSeconds: seconds(s.OldestAge), DiskFreeBytes: s.DiskFree,
	}
	for _, d := range h.queue.HeldDestinations() {
		stats.HeldDestinations = append(stats.HeldDestinations, HeldDestination{Name: d.Name, Since: d.Since.UTC(), Recipients: d.Queued + d.Deferred})
	}
	return stats
}

func (h *handler) health(*http.Request) (any, error) {
	if err := h.queue.Ready(); err != nil {
		return Health{Reason: err.Error()}, nil
	}
	return Health{Ready: true}, nil
}

func (h *handler) show(r *http.Request) (any, error) {
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	e, err := h.queue.Show(id)
	if err != nil {
		return nil, err
	}
	m := h.message(&e, time.Now())
	h.stand(&m, &e)
	return m, nil
}

func parseID(s string) (queue.ID, error) {
	id, err := queue.ParseID(s)
	if err != nil {
		return 0, badRequest("%.40q is %v", s, err)
	}
	return id, nil
}

// readJSON reads a request, all of it or nothing.
func readJSON(body io.Reader, v any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		err = errors.New("there is more than one value")
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	if err != nil {
		return badRequest("the request is not understood: %v", err)
	}
	return nil
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"code":"temporary","error":"the answer could not be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	extend(w)
	w.WriteHeader(status)
	_, _ = w.Write(body) // who asked may have gone
}

func writeProblem(w http.ResponseWriter, err error) {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = badRequest("the request is longer than %d octets", tooLong.Limit)
	}
	problem := problemOf(err)
	writeJSON(w, problem.status(), problem)
}

// extend gives the next piece of an answer its time.
func extend(w http.ResponseWriter) {
	// Only a test's writer has no deadlines.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// extendRead gives the next piece of a request its time.
func extendRead(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(writeTimeout))
}
