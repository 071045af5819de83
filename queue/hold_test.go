package queue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A destination on hold is left alone at once, with what comes in later, over a
// restart and after a crash; released, everything flows.
func TestHoldDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		dir := t.TempDir()
		q := open(t, w, func(o *Options) { o.Dir = dir })
		stop := running(t, q)
		one := enqueue(t, q, "s@a.test", "x\r\n", "one@b.test", "other@c.test")
		synctest.Wait()
		if n, changed, err := q.HoldDestination("b.test"); n != 1 || !changed || err != nil {
			t.Fatalf("hold: %d, %t, %v", n, changed, err)
		}
		if n, changed, err := q.HoldDestination("b.test"); n != 1 || changed || err != nil {
			t.Errorf("held twice: %d, %t, %v", n, changed, err)
		}
		enqueue(t, q, "s@a.test", "x\r\n", "two@b.test")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(w.tried("one")) != 1 || len(w.tried("two")) != 0 || len(w.tried("other")) < 9 {
			t.Errorf("attempts: %v, %v, %v", w.tried("one"), w.tried("two"), w.tried("other"))
		}
		check := func(q *Queue, when string) {
			t.Helper()
			if s := q.Stats(); s.Held != 2 || s.Deferred != 1 || s.Queued != 0 || s.Classes[0].Held != 2 {
				t.Errorf("%s: %+v", when, s)
			}
			if got := listed(t, q, Filter{State: "held"}); len(got) != 2 || got[0] != one {
				t.Errorf("%s: held are %v", when, got)
			}
			if got := listed(t, q, Filter{State: "deferred", Destination: "b.test"}); len(got) != 0 {
				t.Errorf("%s: deferred are %v", when, got)
			}
			if all := q.HeldDestinations(); len(all) != 1 || all[0].Name != "b.test" || all[0].Queued != 1 || all[0].Deferred != 1 || all[0].Since.IsZero() {
				t.Errorf("%s: %+v", when, all)
			}
		}
		check(q, "held")
		if n, held := q.RetryDestination("b.test"); n != 2 || !held {
			t.Errorf("retry of a held destination: %d, %t", n, held)
		}
		crashed, _ := crash(t, q)
		<-crashed.loaded
		check(crashed, "after a crash")
		crashed.Close()
		stop()
		q = open(t, w, func(o *Options) { o.Dir = dir })
		defer running(t, q)()
		<-q.loaded
		check(q, "after a restart")
		synctest.Wait()
		if n, changed, err := q.ReleaseDestination("b.test"); n != 2 || !changed || err != nil {
			t.Fatalf("release: %d, %t, %v", n, changed, err)
		}
		if _, changed, err := q.ReleaseDestination("b.test"); changed || err != nil {
			t.Errorf("released twice: %t, %v", changed, err)
		}
		synctest.Wait()
		if len(w.tried("one")) != 2 || len(w.tried("two")) != 1 || q.Stats().Held != 0 {
			t.Errorf("after the release: %v, %v, %+v", w.tried("one"), w.tried("two"), q.Stats())
		}
		for _, bad := range []string{"", "a\x00b", strings.Repeat("x", maxDestination+1)} {
			if _, _, err := q.HoldDestination(bad); !errors.Is(err, ErrDestination) {
				t.Errorf("hold of %.10q: %v", bad, err)
			}
		}
	})
}

// A hold and its end survive checkpoints, and are in order for verify.
func TestHoldInTheIndex(t *testing.T) {
	dir := t.TempDir()
	for _, names := range [][]string{{"a.test", "b.test"}, {"b.test"}, nil} {
		q := open(t, &world{}, func(o *Options) { o.Dir = dir })
		if len(names) == 2 {
			q.HoldDestination("a.test")
			q.HoldDestination("b.test")
		} else if len(names) == 1 {
			q.ReleaseDestination("a.test")
		} else {
			q.ReleaseDestination("b.test")
		}
		if err := q.Close(); err != nil { // which brings everything into the index
			t.Fatal(err)
		}
		if _, found := verified(t, dir); len(found) > 0 {
			t.Errorf("damage: %v", found)
		}
		q = open(t, &world{}, func(o *Options) { o.Dir = dir })
		var got []string
		for _, d := range q.HeldDestinations() {
			got = append(got, d.Name)
		}
		if fmt.Sprint(got) != fmt.Sprint(names) {
			t.Errorf("held are %v, want %v", got, names)
		}
		q.Close()
	}
}

// Everything that waits for a destination is tried when an operator wants it,
// once, and what is not to be sent before its time is not.
func TestRetryDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		q := open(t, w, nil)
		defer running(t, q)()
		for i := range 100 {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@b.test", i))
		}
		d := q.NewDraft()
		if err := d.Commit(Envelope{HoldUntil: time.Now().Add(time.Hour)}, []Recipient{{Path: path("future@b.test")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for want := 2; want < 4; want++ {
			if n, held := q.RetryDestination("b.test"); n != 101 || held {
				t.Errorf("retry: %d, %t", n, held)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for i := range 100 {
				if n := len(w.tried(fmt.Sprintf("r%d", i))); n != want {
					t.Fatalf("%d attempts, want %d", n, want)
				}
			}
		}
		if len(w.tried("future")) != 0 {
			t.Error("tried before its time")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(w.tried("future")) != 1 {
			t.Error("not tried at its time")
		}
		if n, _ := q.RetryDestination("nowhere.test"); n != 0 {
			t.Errorf("%d recipients wait for a destination that is not there", n)
		}
	})
}

// BenchmarkHold shows that a hold, a retry and a release of a destination take
// the same time whatever waits there.
func BenchmarkHold(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			q := open(b, &world{}, nil)
			defer q.Close()
			for i := range waiting { // as the schedule has them after a start
				q.sched.push("b.test", hint{class: q.classes.of(""), item: item{due: q.sched.nowMillis(), id: ID(i + 1), open: 1}})
			}
			b.ResetTimer()
			for range b.N {
				if n, _, err := q.HoldDestination("b.test"); n != int64(waiting) || err != nil {
					b.Fatal(n, err)
				}
				q.RetryDestination("b.test")
				if n, _, err := q.ReleaseDestination("b.test"); n != int64(waiting) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// A hold that begins or ends while the index is compacted is in the new file as
// it was in the old one.
func TestHoldDuringCompaction(t *testing.T) {
	q := open(t, &world{}, nil)
	fillIndex(t, q, 10, 2000)
	if _, _, err := q.HoldDestination("ends.test"); err != nil {
		t.Fatal(err)
	}
	if err := q.checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := q.checkpoint(func(s *store) error {
		c, err := s.beginCompaction()
		if err != nil {
			return err
		}
		<-c.copied
		change := newOverlay()
		change.holds["begins.test"], change.holds["ends.test"] = time.Now(), time.Time{}
		err = s.db.Update(func(tx *bolt.Tx) error { return bringInHolds(tx, change) })
		if err == nil {
			err = s.catchUp(c)
		}
		if err != nil {
			return err
		}
		return c.db.View(func(tx *bolt.Tx) error {
			return tx.Bucket(bucketHold).ForEach(func(key, _ []byte) error {
				got = append(got, string(key))
				return nil
			})
		})
	})
	if err != nil || fmt.Sprint(got) != "[=begins.test]" {
		t.Errorf("on hold in the new index: %v, %v", got, err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// What is to be tried at once is found where it waits: by destination, by
// domain, and by domain where a destination has mail for several.
func TestRetryFindsWhatWaits(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		w.route = func(r *Recipient) string {
			if strings.HasPrefix(r.Path.Local, "via") {
				return "smtp://hub.test:25"
			}
			return r.Path.Domain
		}
		q := open(t, w, nil)
		defer running(t, q)()
		for _, to := range []string{"r1@a.test", "via1@a.test", "r2@sub.a.test", "r3@b.test", "via2@b.test"} {
			enqueue(t, q, "s@s.test", "x\r\n", to)
		}
		<-q.loaded
		synctest.Wait()
		for _, tc := range []struct {
			f    Filter
			want []string
			look int // messages that it may look at
		}{
			{Filter{ToDomain: "A.test"}, []string{"r1", "via1"}, 3},
			{Filter{ToDomain: ".a.test"}, []string{"r1", "via1", "r2"}, 4},
			{Filter{Destination: "b.test"}, []string{"r3"}, 1},
			{Filter{Destination: "smtp://hub.test:25"}, []string{"via1", "via2"}, 2},
			{Filter{ToDomain: "b.test", Destination: "smtp://hub.test:25"}, []string{"via2"}, 2},
			{Filter{ToDomain: "c.test"}, nil, 2},
		} {
			before := map[string]int{}
			for _, name := range []string{"r1", "via1", "r2", "r3", "via2"} {
				before[name] = len(w.tried(name))
			}
			time.Sleep(time.Second)
			if ids, known := q.waitingFor(&tc.f); !known || len(ids) != tc.look {
				t.Errorf("%+v: looks at %v, want %d", tc.f, ids, tc.look)
			}
			if n, err := q.RetryNow(tc.f); n != len(tc.want) || err != nil {
				t.Errorf("%+v: %d, %v", tc.f, n, err)
			}
			synctest.Wait()
			for name, n := range before {
				if got := len(w.tried(name)) > n; got != slices.Contains(tc.want, name) {
					t.Errorf("%+v: %s was tried: %v", tc.f, name, got)
				}
			}
		}
	})
}

// An attempt that fails while its destination is on hold gives up nothing that
// waits there.
func TestNothingExpiresBehindAnAttemptOnHold(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var slow atomic.Bool
		w.answer = func(m *Message, d *Delivery) Outcome {
			if slow.Load() {
				time.Sleep(40 * time.Minute)
			}
			return refused(d)
		}
		q := open(t, w, func(o *Options) { o.Retry.Lifetime = time.Hour })
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "first@dead.test")
		synctest.Wait()
		time.Sleep(time.Minute)
		enqueue(t, q, "", "x\r\n", "tried@dead.test")
		waits := enqueue(t, q, "", "x\r\n", "waits@dead.test")
		slow.Store(true)
		time.Sleep(39 * time.Minute) // an attempt has begun
		if _, changed, err := q.HoldDestination("dead.test"); !changed || err != nil {
			t.Fatal(changed, err)
		}
		time.Sleep(time.Hour) // and ended, when all are too old
		synctest.Wait()
		if _, err := q.Show(waits); err != nil || len(w.tried("tried")) != 1 || len(w.tried("waits")) != 0 {
			t.Errorf("what waits on hold: %v; tried %v and %v", err, w.tried("tried"), w.tried("waits"))
		}
	})
}
