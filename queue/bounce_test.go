package queue

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The selected recipients fail with the reason, their sender hears of them and
// of nobody else, and what is under way is left alone.
func TestBounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			if d.Destination == "slow.test" {
				<-end
			}
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			return all(d, deferred("later"))
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		stop := running(t, q)
		both := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test", "q@c.test")
		enqueue(t, q, "s@a.test", "x\r\n", "r@slow.test")
		held := enqueue(t, q, "s@a.test", "x\r\n", "h@b.test")
		enqueue(t, q, "s@other.test", "x\r\n", "r@b.test")
		synctest.Wait()
		if n, err := q.Hold(Filter{IDs: []ID{held}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := q.Bounce(Filter{From: "a.test", ToDomain: "b.test"}, "no longer wanted"); n != 2 || err != nil {
			t.Errorf("bounced %d, %v, want 2", n, err)
		}
		if n, err := q.Bounce(Filter{ToDomain: "slow.test"}, "x"); n != 0 || err != nil {
			t.Errorf("bounced %d that are under way, %v", n, err)
		}
		synctest.Wait()
		reports := w.reported()
		if len(reports) != 2 {
			t.Fatalf("%d reports, want 2", len(reports))
		}
		for _, r := range reports {
			to := r.Recipients[0]
			if r.Kind != ReportFailure || len(r.Recipients) != 1 || to.Path.Domain != "b.test" || to.State != Failed ||
				to.Last.Text() != "no longer wanted" || to.Last.Status.String() != "5.0.0" {
				t.Errorf("reported %+v", r)
			}
		}
		if e, err := q.Show(both); err != nil || e.Deliveries[0].Recipients[0].State != Failed || e.Deliveries[1].Recipients[0].State != Deferred {
			t.Errorf("the first is %+v, %v", e, err)
		}
		if _, err := q.Show(held); err == nil {
			t.Error("the one on hold is still there")
		}
		close(end)
		synctest.Wait()
		if n, err := q.Bounce(Filter{}, "x"); n != 3 || err != nil {
			t.Errorf("then %d, %v, want 3", n, err)
		}
		synctest.Wait()
		if s := q.Stats(); s.Messages != 0 || s.Queued+s.Deferred+s.Held != 0 {
			t.Errorf("left: %+v", s)
		}
		stop()
	})
}

// What waits for a destination on hold is held, also when it is bounced.
func TestBounceOfWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		enqueue(t, q, "s@a.test", "x\r\n", "r@c.test")
		synctest.Wait()
		if _, _, err := q.HoldDestination("b.test"); err != nil {
			t.Fatal(err)
		}
		if n, err := q.Bounce(Filter{State: "deferred", ToDomain: "b.test"}, "x"); n != 0 || err != nil {
			t.Errorf("deferred: %d, %v", n, err)
		}
		if n, err := q.Bounce(Filter{State: "held"}, "x"); n != 1 || err != nil {
			t.Errorf("held: %d, %v, want 1", n, err)
		}
	})
}

// Rerouting happens at once, and only where routes have changed.
func TestReroute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome {
			if d.Destination == "new.test" {
				return all(d, Result{State: Delivered})
			}
			return all(d, deferred("later"))
		}}
		q := open(t, w, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "moves@b.test", "stays@c.test")
		held := enqueue(t, q, "s@a.test", "x\r\n", "moves@b.test")
		synctest.Wait()
		if n, err := q.Hold(Filter{IDs: []ID{held}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := q.Reroute(Filter{}); n != 0 || err != nil {
			t.Errorf("without a change %d, %v", n, err)
		}
		w.mu.Lock()
		w.route = func(r *Recipient) string {
			if r.Path.Local == "moves" {
				return "new.test"
			}
			return r.Path.Domain
		}
		w.mu.Unlock()
		if n, err := q.Reroute(Filter{}); n != 1 || err != nil {
			t.Errorf("rerouted %d, %v, want 1", n, err)
		}
		synctest.Wait()
		if s := q.Stats(); s.Messages != 2 || s.Deferred != 1 || s.Held != 1 {
			t.Errorf("then %+v, want one recipient deferred and one held", s)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(w.tried("stays")); n != 2 {
			t.Errorf("the other was tried %d times, want 2", n)
		}
	})
}

// What was rerouted waits where it is now: while that is on hold nothing is
// tried, although it was due at the old destination, and what is held for a
// later release waits for that.
func TestReroutedWaits(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		q := open(t, w, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "moves@b.test")
		release := time.Now().Add(5 * time.Hour)
		d := q.NewDraft()
		if err := d.Commit(Envelope{HoldUntil: release}, []Recipient{{Path: path("later@b.test")}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, _, err := q.HoldDestination("held.test"); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.route = func(r *Recipient) string {
			return map[string]string{"moves": "held.test", "later": "new.test"}[r.Path.Local]
		}
		w.mu.Unlock()
		if n, err := q.Reroute(Filter{}); n != 2 || err != nil {
			t.Fatalf("rerouted %d, %v, want 2", n, err)
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if n := len(w.tried("moves")); n != 1 {
			t.Errorf("tried %d times, want 1 before the hold", n)
		}
		if e, err := q.Show(d.ID()); err != nil || !e.Deliveries[0].Next.Equal(release) {
			t.Errorf("it waits for %v, want %v (%v)", e.Deliveries[0].Next, release, err)
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if tried := w.tried("later"); len(tried) != 1 || tried[0].Sub(release) > time.Millisecond {
			t.Errorf("tried at %v, want %v", tried, release)
		}
	})
}

// To bounce some recipients is no attempt for the others.
func TestBounceLeavesTheOthers(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "", "x\r\n", "r@b.test", "r2@b.test")
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		before, err := q.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := q.Bounce(Filter{To: "r@b.test"}, "gone"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		after, err := q.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		if b, a := before.Deliveries[0], after.Deliveries[0]; a.Attempts != b.Attempts || !a.Next.Equal(b.Next) || a.Recipients[0].State != Failed || a.Open() != 1 {
			t.Errorf("%+v, want no attempt but %+v", a, b)
		}
	})
}

// What is asked to be tried in the moment in which it was tried stays due.
func TestRetryDestinationAtOnce(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		q := open(t, w, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		q.RetryDestination("b.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(w.tried("r")); n < 2 {
			t.Errorf("tried %d times in an hour", n)
		}
	})
}

// What an operator removes while it is sorted anew stays removed.
func TestRemovedDuringReroute(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "gone@b.test", "stays@b.test")
		synctest.Wait()
		var removed sync.Once
		w.mu.Lock()
		w.route = func(*Recipient) string {
			removed.Do(func() {
				if n, err := q.Remove(Filter{To: "gone@b.test"}); n != 1 || err != nil {
					t.Errorf("removed %d, %v", n, err)
				}
			})
			return "other.test"
		}
		w.mu.Unlock()
		for range 2 { // the first finds that it has changed
			if _, err := q.Reroute(Filter{}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		e, err := q.Show(id)
		if err != nil || len(e.Deliveries) != 1 || e.Deliveries[0].Destination != "other.test" || e.Deliveries[0].Open() != 1 {
			t.Errorf("it waits as %+v, %v", e.Deliveries, err)
		}
		if n := len(w.tried("stays")); n != 1 {
			t.Errorf("%d attempts at the other destination, want 1", n)
		}
		if n, err := q.Remove(Filter{}); n != 1 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if s := q.Stats(); s.Messages+s.Queued+s.Deferred+s.Held != 0 {
			t.Errorf("counted: %+v", s)
		}
	})
}
