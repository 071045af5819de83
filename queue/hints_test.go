package queue

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWarningOfASlowClient: the ID of a message is given when its content begins,
// and its lifetime begins when that has come. What is due in between is looked at
// once more, and not again and again.
func TestWarningOfASlowClient(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var asked, ahead atomic.Int64
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			return all(d, deferred("not now"))
		}
		q := open(t, w, func(o *Options) {
			o.Retry = RetryPolicy{WarnAfter: 4 * time.Hour, Intervals: []time.Duration{6 * time.Hour}}
			o.now = func() time.Time {
				if asked.Add(1) > 20_000 {
					ahead.Store(int64(time.Hour)) // so that the test ends
				}
				return time.Now().Add(time.Duration(ahead.Load()))
			}
		})
		d := q.NewDraft()
		time.Sleep(10 * time.Minute) // for the content to come
		if err := d.Commit(Envelope{ReversePath: path("s@a.test")}, []Recipient{{Path: path("r@b.test")}}); err != nil {
			t.Fatal(err)
		}
		defer running(t, q)()
		time.Sleep(4*time.Hour - 11*time.Minute)
		synctest.Wait()
		time.Sleep(10*time.Minute + 59*time.Second)
		synctest.Wait()
		if got := w.reported(); len(got) != 0 {
			t.Error("warned too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := w.reported(); len(got) != 1 || got[0].Kind != ReportDelay || len(w.tried("r")) != 1 {
			t.Errorf("reports %v, tried at %v", got, w.tried("r"))
		}
		if ahead.Load() != 0 {
			t.Error("the clock was asked again and again")
		}
	})
}

// TestClockGoesBackWithinAnAttempt: what was due when a worker took it, and is not
// any more when that reads the record, still waits.
func TestClockGoesBackWithinAnAttempt(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		var ahead atomic.Int64
		q := open(t, w, func(o *Options) { o.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
		defer func() {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		attempt := func(back time.Duration) {
			t.Helper()
			var taken *worker
			q.sched.dispatch(func(w *worker) { taken = w })
			if taken == nil {
				t.Fatal("nothing is due")
			}
			ahead.Add(-int64(back))
			q.attempt(context.Background(), taken, taken.first)
			if _, more := q.sched.take(taken); more {
				t.Error("it is due again")
			}
		}
		attempt(0)
		time.Sleep(30*time.Minute + time.Millisecond)
		attempt(5 * time.Second)
		if n := len(w.tried("r")); n != 1 || q.sched.waiting("b.test") != 1 {
			t.Errorf("%d attempts, and %d recipients wait", n, q.sched.waiting("b.test"))
		}
		time.Sleep(5 * time.Second)
		attempt(0)
		if n := len(w.tried("r")); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

// The same goes for the end of a by-time.
func TestClockGoesBackAtADeadline(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var ahead atomic.Int64
		q := open(t, w, func(o *Options) { o.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
		id := enqueueBy(t, q, "r@b.test", 0, time.Hour, DeliverBy{Return: true})
		ahead.Store(int64(2 * time.Hour))
		key, wait := q.ends.next(q.now())
		if wait != 0 || key.id != id {
			t.Fatalf("nothing has ended, and will not for %v", wait)
		}
		ahead.Store(int64(30 * time.Minute))
		if again := q.endOf(key); again <= 0 {
			t.Error("nobody looks at it again")
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}
