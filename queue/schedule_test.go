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

// ticking is a clock that goes on by a millisecond whenever it is asked, and ends
// the test when that is too often.
type ticking struct {
	t    *testing.T
	now  int64 // Unix milliseconds
	left int
}

func (c *ticking) time() time.Time {
	if c.left--; c.left < 0 {
		c.t.Fatal("the clock is asked again and again")
	}
	c.now++
	return time.UnixMilli(c.now)
}

// TestDispatchEnds: what becomes due while places are being given away does not
// keep the dispatcher, which has the lock, busy for ever.
func TestDispatchEnds(t *testing.T) {
	policy := RetryPolicy{Intervals: []time.Duration{time.Hour}}
	for _, test := range []struct {
		name  string
		begin int64
		back  time.Duration // by what the clock is set once it was asked
		want  int
	}{
		{"behind one that is due", 1000, 0, 2},
		{"with one whose time has come", 1001, 0, 2},
		{"the clock goes back", 2000, time.Minute, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, asked := &ticking{t: t, now: test.begin, left: 1000}, 0
			s := newSchedule(newClasses(nil, policy, slog.New(slog.DiscardHandler)), 40, 40, 20, func() time.Time {
				if asked++; asked > 1 {
					return clock.time().Add(-test.back)
				}
				return clock.time()
			})
			d := s.destination("b.test")
			low, high := d.flow(s.classes.all[0], 0), d.flow(s.classes.all[0], 1)
			low.items.push(item{due: 1000, id: 1, open: 1})
			high.items.push(item{due: 1003, id: 2, open: 1})
			s.setTimer(d, 1000)
			flows := map[*flow]bool{}
			s.dispatch(func(w *worker) { flows[w.flow] = true })
			if len(flows) != test.want {
				t.Errorf("places for %d flows, want %d", len(flows), test.want)
			}
		})
	}
}
