package queue

import (
	"log/slog"
	"testing"
	"time"
)

// What is due has as many workers started for it as there are deliveries, however
// many its destination may have.
func TestOneWorkerForEach(t *testing.T) {
	for _, standing := range []int{unproven, proven, suspect} {
		c := newClasses(nil, RetryPolicy{}, slog.New(slog.DiscardHandler))
		s := newSchedule(c, 100, 400, 20, time.Now)
		s.destination("b.test").standing = standing
		started := 0
		for want := 1; want <= 3; want++ {
			s.push("b.test", hint{class: c.all[0], item: item{due: 1, id: ID(want), open: 1}})
			s.dispatch(func(*worker) { started++ })
			if started != want {
				t.Errorf("standing %d: %d workers for %d deliveries", standing, started, want)
			}
		}
		s.push("b.test", hint{class: c.all[0], item: item{due: 1, id: 1, open: 1}}) // which is in flight
		s.dispatch(func(*worker) { started++ })
		if d := s.destinations["b.test"]; started != 3 || d.workers != 3 || s.fast.used+s.slow.used != 3 {
			t.Errorf("standing %d: %d workers started, %d at the destination, %d places taken", standing, started, d.workers, s.fast.used+s.slow.used)
		}
	}
}
