package queue

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// reporterFunc is a Reporter that is only told.
type reporterFunc func(Report)

func (f reporterFunc) Compose(out io.Writer, r Report) (bool, bool, error) {
	f(r)
	_, err := io.WriteString(out, "x\r\n")
	return false, false, err
}

// enqueueBy queues a message with a by-time that ends so much later.
func enqueueBy(t *testing.T, q *Queue, to string, notify smtp.Notify, in time.Duration, by DeliverBy) ID {
	t.Helper()
	by.Deadline = time.Now().Add(in)
	d := q.NewDraft()
	if _, err := d.Write([]byte("x\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(Envelope{ReversePath: path("s@a.test"), DeliverBy: by}, []Recipient{{Path: path(to), Notify: notify}}); err != nil {
		t.Fatal(err)
	}
	return d.ID()
}

// A message is given up, or its sender is told, when its by-time ends: at that
// moment, whatever became of its destination, and as NOTIFY allows.
func TestEndOfByTime(t *testing.T) {
	type seen struct {
		kind  ReportKind
		after time.Duration
		state State
	}
	silent := func(_ *Message, d *Delivery) Outcome {
		out := all(d, deferred("nobody answers"))
		out.Unreachable = true
		return out
	}
	later := func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
	for _, tc := range []struct {
		name   string
		by     DeliverBy
		in     time.Duration
		notify smtp.Notify
		answer func(*Message, *Delivery) Outcome
		want   []seen // in three days
	}{
		{"returned", DeliverBy{Return: true}, 2 * time.Minute, 0, later, []seen{{ReportFailure, 2 * time.Minute, Expired}}},
		{"returned, the destination is dead", DeliverBy{Return: true}, 2 * time.Minute, 0, silent, []seen{{ReportFailure, 2 * time.Minute, Expired}}},
		{"returned after the usual warning", DeliverBy{Return: true}, 10 * time.Hour, 0, later,
			[]seen{{ReportDelay, 4 * time.Hour, Deferred}, {ReportFailure, 10 * time.Hour, Expired}}},
		{"returned, never told", DeliverBy{Return: true}, time.Minute, smtp.NotifyNever, later, nil},
		{"told", DeliverBy{}, 90 * time.Second, 0, later, []seen{{ReportDelay, 90 * time.Second, Deferred}}},
		{"told, the destination is dead", DeliverBy{}, 90 * time.Second, 0, silent, []seen{{ReportDelay, 90 * time.Second, Deferred}}},
		{"told later than usual", DeliverBy{}, 20 * time.Hour, 0, later, []seen{{ReportDelay, 20 * time.Hour, Deferred}}},
		{"told, who did not ask", DeliverBy{}, time.Minute, smtp.NotifyFailure, later, nil},
		{"over when it came", DeliverBy{}, -time.Minute, 0, later, []seen{{ReportDelay, 4 * time.Hour, Deferred}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: func(m *Message, d *Delivery) Outcome {
					if m.ReportOn != 0 {
						return all(d, Result{State: Delivered, Reported: true})
					}
					return tc.answer(m, d)
				}}
				var got []seen
				var start time.Time
				q := open(t, w, func(o *Options) {
					o.Retry.WarnAfter = 4 * time.Hour
					o.Reporter = reporterFunc(func(r Report) {
						got = append(got, seen{r.Kind, time.Since(start), r.Recipients[0].State})
					})
				})
				defer running(t, q)()
				start = time.Now()
				enqueueBy(t, q, "r@b.test", tc.notify, tc.in, tc.by)
				time.Sleep(3 * 24 * time.Hour)
				synctest.Wait()
				if len(got) != len(tc.want) {
					t.Fatalf("reports: %+v, want %+v", got, tc.want)
				}
				for i, want := range tc.want {
					if late := got[i].after - want.after; got[i].kind != want.kind || got[i].state != want.state || late < 0 || late > 2*time.Second {
						t.Errorf("report %d: %+v, want %+v", i, got[i], want)
					}
				}
				if waits := q.Stats().Messages > 0; waits == tc.by.Return {
					t.Errorf("in the queue after its time: %t", waits)
				}
			})
		})
	}
}

// While there is little time, no wait takes more than half of it; and nothing is
// attempted once it is over.
func TestHaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		q := open(t, w, nil)
		defer running(t, q)()
		start := time.Now()
		enqueueBy(t, q, "hour@b.test", 0, time.Hour, DeliverBy{Return: true})
		enqueueBy(t, q, "days@b.test", 0, 4*24*time.Hour, DeliverBy{Return: true})
		enqueueBy(t, q, "told@b.test", 0, time.Hour, DeliverBy{})
		enqueueBy(t, q, "soon@b.test", 0, time.Minute, DeliverBy{Return: true})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		var minutes []int
		for _, at := range w.tried("hour") {
			minutes = append(minutes, int(at.Sub(start).Minutes()))
		}
		if want := []int{0, 30, 45, 52, 57}; !slices.Equal(minutes, want) {
			t.Errorf("tried after %v minutes, want %v", minutes, want)
		}
		if days, told := w.tried("days"), w.tried("told"); len(days) != len(told) || len(told) < 9 {
			t.Errorf("%d and %d attempts in a day, want as many as for any mail", len(days), len(told))
		}
		if n := len(w.tried("soon")); n != 1 {
			t.Errorf("%d attempts in a minute", n)
		}
	})
}

// What is on hold, by itself or with its destination, is left alone when its
// time ends, and given up when it is released. An attempt that is under way may
// still succeed.
func TestByTimeOnHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := &world{answer: func(_ *Message, d *Delivery) Outcome {
			if d.Recipients[0].Path.Local == "slow" {
				<-release
				return all(d, Result{State: Delivered, Reported: true})
			}
			return all(d, deferred("later"))
		}}
		q := open(t, w, nil)
		defer running(t, q)()
		held := enqueueBy(t, q, "held@b.test", 0, time.Hour, DeliverBy{Return: true})
		enqueueBy(t, q, "there@c.test", 0, time.Hour, DeliverBy{Return: true})
		enqueueBy(t, q, "slow@d.test", 0, time.Hour, DeliverBy{Return: true})
		synctest.Wait()
		if n, err := q.Hold(Filter{IDs: []ID{held}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if _, _, err := q.HoldDestination("c.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := w.reported(); len(got) != 0 || q.Stats().Messages != 3 {
			t.Fatalf("on hold: %+v, %d messages", got, q.Stats().Messages)
		}
		close(release)
		if n, err := q.Release(Filter{IDs: []ID{held}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if _, _, err := q.ReleaseDestination("c.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := w.reported(); len(got) != 2 || got[0].Kind != ReportFailure || got[1].Kind != ReportFailure {
			t.Errorf("released: %+v", got)
		}
		if n := len(w.tried("held")) + len(w.tried("there")); n != 2 {
			t.Errorf("%d attempts, want one of each before the hold", n)
		}
	})
}

// A by-time that ended while nothing ran is acted on at the start.
func TestByTimeOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		dir := t.TempDir()
		q := open(t, w, func(o *Options) { o.Dir = dir })
		stop := running(t, q)
		enqueueBy(t, q, "late@b.test", 0, time.Hour, DeliverBy{Return: true})
		enqueueBy(t, q, "told@b.test", 0, time.Hour, DeliverBy{})
		enqueueBy(t, q, "waits@b.test", 0, 6*time.Hour, DeliverBy{Return: true})
		synctest.Wait()
		stop()
		time.Sleep(2 * time.Hour)
		q = open(t, w, func(o *Options) { o.Dir = dir })
		defer running(t, q)()
		time.Sleep(time.Minute)
		synctest.Wait()
		kinds := map[ReportKind]string{}
		for _, r := range w.reported() {
			kinds[r.Kind] += r.Recipients[0].Path.Local
		}
		if len(kinds) != 2 || kinds[ReportFailure] != "late" || kinds[ReportDelay] != "told" {
			t.Errorf("reports: %v", kinds)
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if got := w.reported(); len(got) != 3 || got[2].Recipients[0].Path.Local != "waits" {
			t.Errorf("reports: %+v", got)
		}
	})
}

// The sender hears that a next hop has the message where that does not keep the
// by-time, unless no report at all is wanted.
func TestRelayedByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome {
			return all(d, Result{State: Delivered, Reported: true, Relayed: d.Destination == "untimed.test"})
		}}
		q := open(t, w, nil)
		defer running(t, q)()
		enqueueBy(t, q, "a@untimed.test", smtp.NotifyFailure, time.Hour, DeliverBy{})
		enqueueBy(t, q, "b@untimed.test", smtp.NotifyNever, time.Hour, DeliverBy{})
		enqueueBy(t, q, "c@timed.test", 0, time.Hour, DeliverBy{})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.reported(); len(got) != 1 || got[0].Kind != ReportSuccess || got[0].Recipients[0].Path.Local != "a" {
			t.Errorf("reports: %+v", got)
		}
	})
}

// What has left is not remembered until its by-time ends.
func TestByTimesOfWhatHasLeft(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		q := open(t, w, nil)
		stop := running(t, q)
		for i := range 300 {
			enqueueBy(t, q, fmt.Sprintf("r%d@b.test", i), 0, 365*24*time.Hour, DeliverBy{Return: i%2 == 0})
		}
		synctest.Wait()
		if _, _, err := q.HoldDestination("held.test"); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			enqueueBy(t, q, fmt.Sprintf("r%d@held.test", i), 0, 365*24*time.Hour, DeliverBy{Return: i%2 == 0})
		}
		synctest.Wait()
		if n, err := q.Remove(Filter{}); n != 300 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		synctest.Wait()
		stop()
		if n := len(q.ends.armed); n != 0 || len(q.ends.items) > leastForgotten {
			t.Errorf("%d ends of nothing in %d entries", n, len(q.ends.items))
		}
	})
}
