package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"waypost/relay/tap"
)

// TopRequest asks how the relay does, again and again.
type TopRequest struct {
	// IntervalSeconds is how often; 0 is 1 second, and 3600 is the most.
	IntervalSeconds float64 `json:"interval_seconds,omitempty"`
}

// Top is how the relay does at one moment.
type Top struct {
	// Time is that moment, in UTC.
	Time time.Time `json:"time"`
	// Queue is what waits, and Destinations those with the most of it, as many
	// as the metrics name.
	Queue        Stats            `json:"queue"`
	Destinations []TopDestination `json:"destinations"`
	// Counters are the counters of the metrics since the start, each summed up
	// over its labels; Gauges likewise. Both go by the metrics' names.
	Counters map[string]float64 `json:"counters"`
	Gauges   map[string]float64 `json:"gauges"`
	// Failures are the lines of the log about recipients that were deferred,
	// bounced or expired, and about what is wrong with the relay itself, since
	// the last Top: the first 50. Missed is how many more there were.
	Failures []json.RawMessage `json:"failures"`
	Missed   int               `json:"missed,omitempty"`
}

// TopDestination is a next hop for which much waits.
type TopDestination struct {
	Name     string `json:"name"`
	Queued   int64  `json:"queued"`
	Deferred int64  `json:"deferred"`
	// Running is how many attempts run now.
	Running int64 `json:"running"`
	// Waiting says that it is not tried before some later time.
	Waiting bool `json:"waiting,omitempty"`
	Held    bool `json:"held,omitempty"`
}

// maxFailures is how many failures one Top has.
const maxFailures = 50

// top tells how the relay does until who asked has gone.
func (h *handler) top(w http.ResponseWriter, r *http.Request) {
	asked := TopRequest{}
	err := readJSON(http.MaxBytesReader(w, r.Body, maxRequest), &asked)
	if err == nil && !(asked.IntervalSeconds >= 0 && asked.IntervalSeconds <= 3600) {
		err = badRequest("%v seconds is no interval", asked.IntervalSeconds)
	}
	if err == nil && (h.log == nil || h.metrics == nil) {
		err = errNotRunning
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	every := max(time.Duration(asked.IntervalSeconds*float64(time.Second)), 100*time.Millisecond)
	if asked.IntervalSeconds == 0 {
		every = time.Second
	}
	stream(w, func(item func(any)) (any, error) {
		watcher := h.log.Watch(slog.LevelInfo, maxFailures, failure)
		defer watcher.Stop()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			now, err := h.now(watcher)
			if err != nil {
				return nil, err
			}
			item(now)
			select {
			case <-r.Context().Done():
				return nil, r.Context().Err()
			case <-tick.C:
			}
		}
	})
}

// failure reports whether a line of the log tells of one.
func failure(r *tap.Record) bool {
	if r.Message == "delivery" {
		return r.Text("status") != "sent"
	}
	return r.Level >= slog.LevelWarn
}

// now looks at everything once.
func (h *handler) now(watcher *tap.Watcher) (*Top, error) {
	families, err := h.metrics.Gather()
	if err != nil {
		return nil, err
	}
	all := h.queue.Stats()
	t := &Top{
		Time: time.Now().UTC(), Queue: h.describe(&all), Destinations: []TopDestination{},
		Counters: map[string]float64{}, Gauges: map[string]float64{}, Failures: []json.RawMessage{},
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case m.GetCounter() != nil:
				t.Counters[f.GetName()] += m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				t.Gauges[f.GetName()] += m.GetGauge().GetValue()
			}
		}
	}
	for _, d := range all.Top {
		t.Destinations = append(t.Destinations, TopDestination{
			Name: d.Name, Queued: d.Queued, Deferred: d.Deferred, Running: d.Attempts, Waiting: d.Waiting > 0, Held: h.queue.DestinationHeld(d.Name),
		})
	}
	for {
		select {
		case line := <-watcher.Lines:
			t.Failures, t.Missed = append(t.Failures, line.JSON), t.Missed+line.Missed
		default:
			return t, nil
		}
	}
}

// Top calls tell with how the relay does, again and again, until ctx is done or
// tell returns an error.
func (c *Client) Top(ctx context.Context, every time.Duration, tell func(*Top) error) error {
	var nothing struct{}
	return c.stream(ctx, "/v1/top", TopRequest{IntervalSeconds: every.Seconds()}, &nothing, func(item json.RawMessage) error {
		t := &Top{}
		if err := json.Unmarshal(item, t); err != nil {
			return err
		}
		return tell(t)
	})
}
