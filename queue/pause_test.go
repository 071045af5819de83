package queue

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPauseThatAHostAskedFor: one refusal keeps everything else from being tried,
// for as long as it says, and then one message finds out.
func TestPauseThatAHostAskedFor(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		begin := time.Now()
		w.answer = func(_ *Message, d *Delivery) Outcome {
			switch name := d.Recipients[0].Path.Local; {
			case name == "slow": // it began before the pause, and says nothing about it
				time.Sleep(time.Minute)
			case d.Destination == "b.test":
				out := all(d, deferred("blocked"))
				out.Pause = time.Hour
				return out
			}
			return all(d, Result{State: Delivered})
		}
		q := open(t, w, func(o *Options) { o.Retry.Lifetime = 150 * time.Minute })
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "slow@b.test")
		synctest.Wait()
		first := enqueue(t, q, "s@a.test", "x\r\n", "first@b.test")
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		for i := range 50 {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@b.test", i))
		}
		enqueue(t, q, "s@a.test", "x\r\n", "other@c.test")
		synctest.Wait()
		if e, err := q.Show(first); err != nil || q.WaitsUntil(e.Deliveries[0]).Sub(begin).Round(time.Second) != time.Hour {
			t.Errorf("waits until %v, %v", q.WaitsUntil(e.Deliveries[0]), err)
		} else if _, why := q.Paused(e.Deliveries[0]); !strings.Contains(why, "blocked") {
			t.Errorf("it is paused because of %q", why)
		}
		if until, why := q.Paused(&Delivery{Destination: "c.test"}); !until.IsZero() || why != "" {
			t.Errorf("another destination is paused until %v because of %q", until, why)
		}
		if len(w.tried("other")) != 1 {
			t.Error("another destination was paused, too")
		}
		time.Sleep(140 * time.Minute) // one attempt each hour
		synctest.Wait()
		tried := func() (n int) {
			for i := range 50 {
				n += len(w.tried(fmt.Sprintf("r%d", i)))
			}
			return n + len(w.tried("first"))
		}
		if got := tried(); got != 3 {
			t.Errorf("%d attempts, want one before and two after a pause", got)
		}
		// What is too old by then ends behind the next refusal, untried.
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		if s := q.Stats(); s.Messages != 0 || len(w.reported()) != 51 || tried() != 4 {
			t.Errorf("%d wait, %d reports, %d attempts", s.Messages, len(w.reported()), tried())
		}
	})
}

// TestJudgedAtOnce: what opens a destination and pauses it again, in one outcome,
// lets nothing start in between.
func TestJudgedAtOnce(t *testing.T) {
	c := newClasses(nil, RetryPolicy{Intervals: []time.Duration{time.Hour}}, slog.New(slog.DiscardHandler))
	s := newSchedule(c, 10, 10, 10, time.Now)
	d := s.destination("b.test")
	f := d.flow(c.all[0], 0)
	for range 3 {
		f.items.push(item{due: 1, open: 1})
	}
	w := &worker{destination: d, flow: f, since: time.Now().Add(-time.Second)}
	s.judge(w, Outcome{Pause: time.Hour}, func() float64 { return 0 })
	if s.lines[proven].length+s.lines[unproven].length != 0 {
		t.Error("what waits was lined up behind a pause")
	}
	s.judge(w, Outcome{}, nil)
	if s.lines[unproven].length+s.lines[proven].length != 0 {
		t.Error("an attempt from before the pause ended it")
	}
	w.since = time.Now().Add(time.Second)
	s.judge(w, Outcome{}, nil)
	if s.lines[proven].length == 0 {
		t.Error("an attempt from after the pause did not end it")
	}
}

// TestPauseEndedByOperator: who asks for an attempt gets it.
func TestPauseEndedByOperator(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome {
			out := all(d, deferred("blocked"))
			out.Pause = time.Hour
			return out
		}
		q := open(t, w, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		for want := 2; want < 5; want++ {
			time.Sleep(time.Minute)
			if want%2 == 0 {
				q.RetryDestination("b.test")
			} else if n, err := q.RetryNow(Filter{}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			synctest.Wait()
			if got := len(w.tried("r")); got != want {
				t.Fatalf("%d attempts, want %d", got, want)
			}
		}
	})
}

// TestManyWishesAreOneAttempt: who releases much that waits for a dead destination has
// it tried at once, and again a moment later, and not once for each message.
func TestManyWishesAreOneAttempt(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return refused(d) }
		q := open(t, w, nil)
		defer running(t, q)()
		var ids []ID
		for range 30 {
			ids = append(ids, enqueue(t, q, "s@a.test", "x\r\n", "r@dead.test"))
			synctest.Wait()
		}
		for _, do := range []func(Filter) (int, error){q.Hold, q.Release, q.RetryNow} {
			before := len(w.tried("r"))
			for _, id := range ids {
				if n, err := do(Filter{IDs: []ID{id}}); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				synctest.Wait()
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if tried := len(w.tried("r")) - before; tried > 2 {
				t.Errorf("%d attempts", tried)
			}
		}
		if len(w.tried("r")) < 3 {
			t.Errorf("%d attempts in all, and two were wished for", len(w.tried("r")))
		}
	})
}
