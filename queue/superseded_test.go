package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// hints returns how many hints the schedule has.
func hints(q *Queue) (n int) {
	q.sched.mu.Lock()
	defer q.sched.mu.Unlock()
	for _, d := range q.sched.destinations {
		for _, f := range d.flows {
			n += f.length()
		}
	}
	return n
}

// Whatever operators do to a backlog behind a dead destination, and however often,
// the schedule has one hint for each delivery that waits, and counts it once.
func TestOneHintForEachDelivery(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return refused(d) }
		q := open(t, w, nil)
		defer running(t, q)()
		const messages = 50
		var ids []ID
		for i := range messages {
			ids = append(ids, enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@b.test", i), fmt.Sprintf("s%d@b.test", i)))
		}
		synctest.Wait()
		for _, c := range []struct {
			name     string
			do       func(Filter) (int, error)
			f        Filter
			hints    int
			messages int
		}{
			{"retry", q.RetryNow, Filter{}, messages, messages},
			{"retry again", q.RetryNow, Filter{}, messages, messages},
			{"retry by domain", q.RetryNow, Filter{ToDomain: "b.test"}, messages, messages},
			{"retry one", q.RetryNow, Filter{IDs: ids[:1]}, messages, 1},
			{"reroute", q.Reroute, Filter{}, messages, 0},
			{"hold", q.Hold, Filter{}, 0, messages},
			{"hold again", q.Hold, Filter{}, 0, 0},
			{"release", q.Release, Filter{}, messages, messages},
			{"remove a recipient", q.Remove, Filter{To: "r1@b.test"}, messages, 1},
			{"bounce", func(f Filter) (int, error) { return q.Bounce(f, "no") }, Filter{IDs: ids[2:4]}, messages, 2}, // whose reports wait
			{"remove", q.Remove, Filter{IDs: ids[4:10]}, messages - 6, 6},
		} {
			if n, err := c.do(c.f); err != nil || n != c.messages {
				t.Errorf("%s: %d messages, %v, want %d", c.name, n, err, c.messages)
			}
			time.Sleep(2 * wakeAgain) // attempts that an operator wished for
			synctest.Wait()
			if n := hints(q); n != c.hints {
				t.Errorf("%s: %d hints, want %d", c.name, n, c.hints)
			}
		}
		if n := q.sched.waiting("b.test"); n != 2*(messages-8)-1 {
			t.Errorf("%d recipients wait, want %d", n, 2*(messages-8)-1)
		}
	})
}

// A wish that comes while the last attempt is under way does not get lost, whichever
// of both the schedule hears of first.
func TestChangeDuringAnAttempt(t *testing.T) {
	for _, change := range []string{"retry", "hold and release", "reroute"} {
		t.Run(change, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				begun, end := make(chan bool, 1), make(chan bool)
				w.answer = func(_ *Message, d *Delivery) Outcome {
					if d.Attempts > 0 {
						return all(d, Result{State: Delivered})
					}
					begun <- true
					<-end
					return all(d, deferred("later"))
				}
				q := open(t, w, nil)
				defer running(t, q)()
				enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
				<-begun
				var err error
				switch change {
				case "retry":
					_, err = q.RetryNow(Filter{})
				case "reroute":
					_, err = q.Reroute(Filter{})
				default:
					if _, err = q.Hold(Filter{}); err == nil {
						_, err = q.Release(Filter{})
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				close(end)
				time.Sleep(time.Hour)
				synctest.Wait()
				if s := q.Stats(); s.Messages != 0 {
					t.Errorf("left: %+v", s)
				}
				if n := hints(q); n != 0 {
					t.Errorf("%d hints are left", n)
				}
			})
		})
	}
}

// What is rerouted in the moment in which it came has the same hint at its new next
// hop as it had at the old one, which is dead.
func TestRerouteInTheSameMoment(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome {
			if d.Destination == "hub.test" {
				return all(d, Result{State: Delivered})
			}
			return refused(d)
		}
		q := open(t, w, nil)
		defer running(t, q)()
		const domains = 20 // for the order in which destinations are looked at is not known
		for _, local := range []string{"first", "second"} {
			for i := range domains {
				enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("%s@d%d.test", local, i))
			}
			synctest.Wait()
		}
		w.mu.Lock()
		w.route = func(*Recipient) string { return "hub.test" }
		w.mu.Unlock()
		if n, err := q.Reroute(Filter{}); err != nil || n != 2*domains {
			t.Fatalf("%d rerouted, %v", n, err)
		}
		synctest.Wait()
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}
