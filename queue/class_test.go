package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sorter is a Deliverer that notes which class was served, in order.
type sorter struct {
	world
	mu     sync.Mutex
	took   time.Duration
	served []string // classes
	at     []time.Time
}

func (w *sorter) Deliver(ctx context.Context, m *Message, d *Delivery) Outcome {
	Reached(ctx)
	w.mu.Lock()
	w.served, w.at = append(w.served, m.Class), append(w.at, time.Now())
	w.mu.Unlock()
	rest(ctx, w.took)
	out := all(d, Result{State: Delivered, Reported: true})
	out.Interrupted = ctx.Err() != nil
	return out
}

// served from counts the attempts by class from one on.
func (w *sorter) counts(from, to int) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for _, class := range w.served[from:min(to, len(w.served))] {
		n[class]++
	}
	return n
}

func (w *sorter) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.served)
}

// fill enqueues n messages of a class, for destinations in turn.
func fill(t testing.TB, q *Queue, n int, class string, priority int8, destinations int) {
	t.Helper()
	var writers sync.WaitGroup
	for part := range 50 {
		writers.Go(func() {
			for i := part; i < n; i += 50 {
				d := q.NewDraft()
				fmt.Fprint(d, "x\r\n")
				err := d.Commit(Envelope{Class: class, Priority: priority}, []Recipient{{Path: path(fmt.Sprintf("r@d%d.test", i%destinations))}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
}

func withClasses(w *sorter, edit func(*Options)) func(*Options) {
	return func(o *Options) {
		o.Deliverer = w
		o.Classes = []Class{
			{Name: "bulk", Rank: -10},
			{Name: "otp", Rank: 10, Share: 0.2, Retry: RetryPolicy{Intervals: []time.Duration{10 * time.Second}, Lifetime: time.Minute}},
		}
		edit(o)
	}
}

// A one-time password never waits for the newsletters that came before it: it
// goes out next, for one destination and for many.
func TestHigherClassGoesNext(t *testing.T) {
	for _, destinations := range []int{1, 1000} {
		t.Run(fmt.Sprintf("%d destinations", destinations), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &sorter{took: 100 * time.Millisecond}
				q := open(t, &w.world, withClasses(w, func(o *Options) { o.Workers, o.SlowWorkers, o.PerDestination = 20, 20, 5 }))
				fill(t, q, 10_000, "bulk", 0, destinations)
				defer running(t, q)()
				time.Sleep(10*time.Second + 50*time.Millisecond)
				before := w.len()
				if before == 0 {
					t.Fatal("nothing is being delivered")
				}
				fill(t, q, 1, "otp", 0, 1)
				time.Sleep(100 * time.Millisecond)
				w.mu.Lock()
				defer w.mu.Unlock()
				// Several begin in the same instant, in any order.
				if i := slices.Index(w.served, "otp"); i < 0 || w.at[i] != w.at[before] {
					t.Errorf("after %d newsletters, the next ones are %v", before, w.served[before:])
				}
			})
		})
	}
}

// At one destination a lower class gets every tenth turn, and so does a lower
// priority within a class.
func TestLowerClassIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &sorter{took: time.Second}
		q := open(t, &w.world, withClasses(w, func(o *Options) { o.PerDestination = 1 }))
		fill(t, q, 50, "bulk", 0, 1)
		fill(t, q, 200, "otp", 0, 1)
		stop := running(t, q)
		time.Sleep(101*time.Second + 500*time.Millisecond)
		stop()
		if n := w.counts(0, 100); n["bulk"] != 10 {
			t.Errorf("of 100 turns %v", n)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, class := range w.served[:9] {
			if class != "otp" {
				t.Errorf("turn %d is %s", i+1, class)
			}
		}
	})
}

func TestPriorityGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &sorter{took: time.Second}
		q := open(t, &w.world, func(o *Options) { o.Deliverer, o.PerDestination = w, 1 })
		var order []int8
		w.answer = nil
		fill(t, q, 3, "", -2, 1)
		fill(t, q, 3, "", 0, 1)
		fill(t, q, 3, "", 6, 1)
		o := q.opts.Deliverer
		q.opts.Deliverer = delivererFunc(func(ctx context.Context, m *Message, d *Delivery) Outcome {
			order = append(order, m.Priority)
			return o.Deliver(ctx, m, d)
		})
		stop := running(t, q)
		time.Sleep(time.Minute)
		stop()
		if fmt.Sprint(order) != "[6 6 6 0 0 0 -2 -2 -2]" {
			t.Errorf("priorities in order of delivery: %v", order)
		}
	})
}

// Under contention each class gets its share of the workers; alone it gets all.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &sorter{took: 100 * time.Millisecond}
		q := open(t, &w.world, func(o *Options) {
			o.Deliverer, o.Workers, o.SlowWorkers = w, 40, 40
			o.Classes = []Class{{Name: "a", Share: 0.6}, {Name: "b", Share: 0.3}, {Name: DefaultClass, Share: 0.1}}
		})
		fill(t, q, 2000, "b", 0, 100)
		stop := running(t, q)
		defer stop()
		time.Sleep(2*time.Second + 50*time.Millisecond) // alone: all destinations are proven by now
		from := w.len()
		time.Sleep(time.Second)
		if n := w.len() - from; n != 400 {
			t.Errorf("alone, a class had %d attempts in a second, want those of all 40 workers", n)
		}
		fill(t, q, 5000, "a", 0, 100)
		fill(t, q, 2000, "b", 0, 100)
		fill(t, q, 2000, "", 0, 100)
		time.Sleep(time.Second)
		from = w.len()
		time.Sleep(5 * time.Second)
		n := w.counts(from, from+2000)
		for class, want := range map[string]int{"a": 1200, "b": 600, "": 200} {
			if got := n[class]; got < want*95/100 || got > want*105/100 {
				t.Errorf("class %q had %d of 2000 attempts, want %d", class, got, want)
			}
		}
	})
}

// Each class has its own retry list and lifetime, also behind a destination
// that cannot be reached; a class that is not configured has those of the
// default one.
func TestClassRetry(t *testing.T) {
	for _, unreachable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := &sorter{}
			var mu sync.Mutex
			tried := map[string][]time.Duration{}
			start := time.Now()
			q := open(t, &w.world, withClasses(w, func(o *Options) {
				o.Deliverer = delivererFunc(func(_ context.Context, m *Message, d *Delivery) Outcome {
					mu.Lock()
					tried[m.Class] = append(tried[m.Class], time.Since(start).Round(time.Second))
					mu.Unlock()
					out := all(d, deferred("later"))
					out.Unreachable = unreachable
					return out
				})
			}))
			defer running(t, q)()
			fill(t, q, 1, "otp", 0, 1)
			fill(t, q, 1, "gone", 0, 1000) // for the same destination
			time.Sleep(89 * time.Minute)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := fmt.Sprint(tried["otp"]); got != "[0s 10s 20s 30s 40s 50s 1m0s]" {
				t.Errorf("unreachable %t: a class was tried after %s", unreachable, got)
			}
			if got := tried["gone"]; !unreachable && fmt.Sprint(got) != "[0s 30m0s]" || unreachable && len(got) > 3 {
				t.Errorf("unreachable %t: an unknown class was tried after %v", unreachable, got)
			}
			if s := q.Stats(); s.Messages != 1 {
				t.Errorf("left: %+v", s)
			}
		})
	}
}
