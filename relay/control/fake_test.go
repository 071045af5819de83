package control

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/smtp"
	"waypost/relay/tap"
)

// fake is a queue whose every answer a test decides.
type fake struct {
	entries   []queue.Entry
	stories   []queue.Story
	stats     metrics.QueueStats
	content   func() io.ReadCloser
	onHold    []string // destinations
	listeners []string
	waits     time.Time // what WaitsUntil says
	reloaded  *Reloaded // what a reload says; nil is a bad configuration
	notReady  error
	log       *tap.Tap // where messages are followed
	metrics   prometheus.Gatherer

	mu      sync.Mutex
	asked   []queue.Filter // by changes
	pages   []int          // what Scan has found
	fail    error          // of everything
	failAt  int            // fail only from this change on, counted from 1
	changed func(queue.Filter) int

	archive  string // what Export writes, and what Import has read
	reads    int64  // how much Import reads
	held     bool
	reason   string // of a bounce
	hold     queue.ImportHold
	exported queue.Exported
	imported queue.Imported
}

func (f *fake) Skim(ctx context.Context, filter queue.Filter, after queue.ID, looks int, _ bool, found func(*queue.Entry) bool) (queue.Scanned, error) {
	return f.Scan(ctx, filter, after, looks, found)
}

func (f *fake) Scan(_ context.Context, filter queue.Filter, after queue.ID, looks int, found func(*queue.Entry) bool) (done queue.Scanned, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, full := 0, false
	defer func() { f.pages = append(f.pages, n) }()
	for i := range f.entries {
		e := &f.entries[i]
		if e.ID <= after || len(filter.IDs) > 0 && !slices.Contains(filter.IDs, e.ID) {
			continue
		}
		if full || done.Looked == looks {
			return done, nil
		}
		done.Looked, done.Next = done.Looked+1, e.ID
		full = !found(e)
		n++
	}
	done.Next = 0
	return done, f.error(0)
}

// Destinations says what a queue says that does not look at the prefix.
func (f *fake) Destinations(string, int) []string { return []string{"b.test", "a.test", "held.test"} }

func (f *fake) Newest() queue.ID { return queue.ID(len(f.entries)) }

func (f *fake) Show(id queue.ID) (queue.Entry, error) {
	for _, e := range f.entries {
		if e.ID == id {
			return e, f.error(0)
		}
	}
	return queue.Entry{}, queue.ErrUnknown
}

func (f *fake) Content(id queue.ID) (io.ReadCloser, error) {
	if _, err := f.Show(id); err != nil {
		return nil, err
	}
	return f.content(), nil
}

func (f *fake) WaitsUntil(*queue.Delivery) time.Time { return f.waits }

func (f *fake) Paused(*queue.Delivery) (time.Time, string) { return f.waits, "no host answers" }
func (f *fake) Stats() metrics.QueueStats                  { return f.stats }
func (f *fake) DestinationHeld(name string) bool           { return slices.Contains(f.onHold, name) }

func (f *fake) HeldDestinations() (all []queue.HeldDestination) {
	for _, name := range f.onHold {
		all = append(all, queue.HeldDestination{Name: name, Queued: 1, Deferred: 2})
	}
	return all
}

func (f *fake) HoldDestination(name string) (int64, bool, error) {
	if name == "bad" {
		return 0, false, queue.ErrDestination
	}
	f.onHold = append(f.onHold, name)
	return 3, true, f.error(0)
}

func (f *fake) ReleaseDestination(name string) (int64, bool, error) {
	was := len(f.onHold)
	f.onHold = slices.DeleteFunc(f.onHold, func(held string) bool { return held == name })
	return 3, len(f.onHold) < was, f.error(0)
}

func (f *fake) RetryDestination(name string) (int64, bool)     { return 3, f.DestinationHeld(name) }
func (f *fake) RetryNow(filter queue.Filter) (int, error)      { return f.change(filter) }
func (f *fake) Hold(filter queue.Filter) (int, error)          { return f.change(filter) }
func (f *fake) Release(filter queue.Filter) (int, error)       { return f.change(filter) }
func (f *fake) Remove(filter queue.Filter) (int, error)        { return f.change(filter) }
func (f *fake) Ready() error                                   { return f.notReady }
func (f *fake) Trace(string, int) ([]queue.Story, bool, error) { return f.stories, false, nil }

func (f *fake) Reroute(filter queue.Filter) (int, error) { return f.change(filter) }
func (f *fake) Bounce(filter queue.Filter, reason string) (int, error) {
	f.reason = reason
	return f.change(filter)
}

// Export writes as much as a test says, in pieces.
func (f *fake) Export(ctx context.Context, w io.Writer, o queue.ExportOptions) (queue.Exported, error) {
	f.mu.Lock()
	f.asked, f.held = append(f.asked, o.Filter), o.Hold
	f.mu.Unlock()
	_, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(f.archive)})
	return f.exported, errors.Join(err, f.fail)
}

// Import reads as much as a test says.
func (f *fake) Import(ctx context.Context, r io.Reader, hold queue.ImportHold) (queue.Imported, error) {
	text, err := io.ReadAll(io.LimitReader(r, f.reads))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.archive, f.hold = string(text), hold
	return f.imported, errors.Join(err, f.fail)
}

func (f *fake) Backup(context.Context, string) (queue.BackedUp, error) {
	return queue.BackedUp{Messages: 1}, f.error(0)
}

func (f *fake) Compact(context.Context) (queue.Compacted, error) {
	return queue.Compacted{Before: 2, After: 1, Took: time.Second}, f.error(0)
}

func (f *fake) Verify(_ context.Context, found func(queue.Damage)) (queue.Verification, error) {
	for _, e := range f.entries {
		found(queue.Damage{ID: e.ID, File: "index.db", Reason: "its owner says so"})
	}
	return queue.Verification{Messages: int64(len(f.entries)), Damages: int64(len(f.entries))}, f.error(0)
}

func (f *fake) change(filter queue.Filter) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, filter)
	if err := f.error(len(f.asked)); err != nil {
		return 0, err
	}
	if f.changed != nil {
		return f.changed(filter), nil
	}
	return len(filter.IDs), nil
}

func (f *fake) error(change int) error {
	if f.failAt > 0 && change < f.failAt {
		return nil
	}
	return f.fail
}

// fill puts n messages into the fake, whose IDs are 1 to n.
func (f *fake) fill(n int) {
	for i := range n {
		id := queue.ID(i + 1)
		f.entries = append(f.entries, queue.Entry{ID: id, Deliveries: []*queue.Delivery{{
			ID: id, Recipients: []queue.Recipient{{Path: smtp.Path{Local: "bob", Domain: "example.org"}}},
		}}})
	}
}

// connect serves the fake on a socket and returns a client of it. stop ends
// the server, which must end well.
func connect(t *testing.T, f *fake) (c *Client, stop func()) {
	t.Helper()
	path := socketPath(t)
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- metrics.Serve(ctx, ln, newHandler(f, Service{Reload: f.reload, Listeners: func() []string { return slices.Clone(f.listeners) }, Log: f.log, Metrics: f.metrics}))
	}()
	if c, err = Dial(path); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		stop()
	})
	return c, stop
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	problem, ok := errors.AsType[*Problem](err)
	if !ok || problem.Code != want {
		t.Errorf("got %v, want a problem with the code %s", err, want)
	}
}

// broken is a content that turns out to be damaged at its end.
type broken struct{ *strings.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.Join(queue.ErrDamaged)
	}
	return n, err
}

// WriteTo is what a careless copy would use, and find nothing wrong.
func (b broken) WriteTo(w io.Writer) (int64, error) { return b.Reader.WriteTo(w) }

func (b broken) Close() error { return nil }
