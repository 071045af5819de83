package queue

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/metrics"
)

// Of any number of destinations those with the most are named, and what all
// others have is not lost.
func TestTopDestinations(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, named := range []int{0, 1, 20} {
		s := newSchedule(newClasses(nil, RetryPolicy{}, slog.New(slog.DiscardHandler)), 10, 10, 10, time.Now)
		const all = 1_000
		for i, n := range random.Perm(all) {
			for k := range n % 100 {
				s.push(fmt.Sprintf("d%03d.test", n), hint{class: s.classes.all[0], item: item{due: 1, id: ID(i*100 + k + 1), open: 1}})
			}
		}
		stats := s.stats(named)
		if len(stats.top) != named {
			t.Fatalf("%d named, want %d", len(stats.top), named)
		}
		sum := stats.other.Queued
		for i, d := range stats.top {
			// 99 wait for ten of them, 98 for ten others, and so on.
			if want := fmt.Sprintf("d%d%02d.test", i%10, 99-i/10); d.Name != want {
				t.Errorf("place %d: %s with %d, want %s", i, d.Name, d.Queued, want)
			}
			sum += d.Queued
		}
		if want := int64(all / 100 * 99 * 100 / 2); sum != want {
			t.Errorf("%d recipients, want %d", sum, want)
		}
		if got := s.names("d5", 3); !slices.Equal(got, []string{"d599.test", "d598.test", "d597.test"}) {
			t.Errorf("those with the most that begin with d5 are %q", got)
		}
	}
}

// However many domains there is mail for, a scrape has no more series than the
// configuration says.
func TestSeriesAreBounded(t *testing.T) {
	w := &world{}
	q := open(t, w, func(o *Options) { o.TopDestinations = 20 })
	defer q.Close()
	reg := prometheus.NewPedanticRegistry()
	metrics.New(reg).WatchQueue(q.Stats)
	series := func() (n int) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	empty := series()
	for n := range 20 {
		q.sched.push(fmt.Sprintf("first%d.test", n), hint{class: q.classes.all[0], item: item{due: 1, id: ID(n + 1), open: 1}})
	}
	full := series()
	if full <= empty {
		t.Errorf("%d series with an empty queue, %d with 20 destinations", empty, full)
	}
	for n := range 100_000 {
		q.sched.push(fmt.Sprintf("d%d.test", n), hint{class: q.classes.all[0], item: item{due: 1, id: ID(n + 100), open: 1}})
	}
	if got := series(); got != full {
		t.Errorf("%d series with 100,000 destinations, %d with 20", got, full)
	}
}
