package control

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/metrics"
	"waypost/relay/tap"
)

func TestTop(t *testing.T) {
	registry := prometheus.NewRegistry()
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total"}, []string{"l"})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	registry.MustRegister(counters, gauge)
	f := &fake{log: tap.New(slog.DiscardHandler), metrics: registry, onHold: []string{"b.test"}}
	f.stats = metrics.QueueStats{Messages: 3, Top: []metrics.DestinationStats{{Name: "a.test", Queued: 2, Attempts: 1, Waiting: 1}, {Name: "b.test", Deferred: 1}}}
	log := slog.New(f.log)
	c, _ := connect(t, f)
	var seen []*Top
	enough := errors.New("enough")
	err := c.Top(t.Context(), 100*time.Millisecond, func(top *Top) error {
		if seen = append(seen, top); len(seen) == 1 {
			counters.WithLabelValues("x").Add(2)
			counters.WithLabelValues("y").Inc()
			gauge.Set(7)
			log.Info("delivery", "status", "sent")
			log.Info("accepted")
			log.Info("delivery", "status", "deferred", "reply", "later")
			log.Warn("disk")
			return nil
		}
		return enough
	})
	if !errors.Is(err, enough) || len(seen) != 2 {
		t.Fatalf("%d looks: %v", len(seen), err)
	}
	last := seen[1]
	if last.Counters["c_total"] != 3 || last.Gauges["g"] != 7 || last.Queue.Messages != 3 {
		t.Errorf("got %+v", last)
	}
	if d := last.Destinations; len(d) != 2 || !d[0].Waiting || d[0].Running != 1 || d[0].Held || !d[1].Held || d[1].Deferred != 1 {
		t.Errorf("destinations: %+v", d)
	}
	if len(last.Failures) != 2 || !strings.Contains(string(last.Failures[0]), "later") || !strings.Contains(string(last.Failures[1]), "disk") {
		t.Errorf("failures: %s", last.Failures)
	}
	for _, bad := range []time.Duration{-time.Second, 2 * time.Hour} {
		wantCode(t, c.Top(t.Context(), bad, nil), CodeBadRequest)
	}
	f.log = nil
	c, _ = connect(t, f)
	wantCode(t, c.Top(t.Context(), time.Second, nil), CodeTemporary)
}
