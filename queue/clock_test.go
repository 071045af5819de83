package queue

import (
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

// shift moves the time of the next attempt of every delivery, as a clock that
// went back does.
func shift(t *testing.T, tx *bolt.Tx, by time.Duration) error {
	t.Helper()
	b := tx.Bucket(bucketDelivery)
	records := map[deliveryKey][]byte{}
	err := b.ForEach(func(key, value []byte) error {
		k, _ := parseDeliveryKey(key)
		d, err := decodeDelivery(k, value)
		if err == nil {
			d.Next = d.Next.Add(by)
			records[k] = encodeDelivery(d)
		}
		return err
	})
	for k, record := range records {
		if err == nil {
			err = b.Put(k.bytes(), record)
		}
	}
	return err
}

// After the clock went back while the queue was closed, nothing waits longer
// than the greatest interval, or than for its release.
func TestClockWentBackBetweenRuns(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }
		q := open(t, w, nil)
		ctx := running(t, q)
		enqueue(t, q, "s@a.test", "x\r\n", "tried@b.test")
		synctest.Wait()
		ctx()
		q = open(t, w, func(o *Options) { o.Dir = q.dir })
		enqueue(t, q, "s@a.test", "x\r\n", "fresh@c.test")
		d := q.NewDraft()
		release := time.Now().Add(48 * time.Hour)
		if err := d.Commit(Envelope{HoldUntil: release}, []Recipient{{Path: path("held@d.test")}}); err != nil {
			t.Fatal(err)
		}
		spoilIndex(t, q, func(tx *bolt.Tx) error { return shift(t, tx, 365*24*time.Hour) })

		start := time.Now()
		q = open(t, w, func(o *Options) { o.Dir = q.dir })
		defer running(t, q)()
		synctest.Wait()
		if tried := w.tried("fresh"); len(tried) != 1 || tried[0].Sub(start) > 0 {
			t.Errorf("what was never tried is tried at %v", tried)
		}
		time.Sleep(3*time.Hour + time.Second)
		synctest.Wait()
		if tried := w.tried("tried"); len(tried) != 2 || tried[1].Sub(start) > 3*time.Hour {
			t.Errorf("tried at %v", tried)
		}
		if tried := w.tried("held"); len(tried) != 0 {
			t.Errorf("held for a release, and tried at %v", tried)
		}
		time.Sleep(time.Until(release))
		synctest.Wait()
		if tried := w.tried("held"); len(tried) != 1 {
			t.Errorf("after its release tried at %v", tried)
		}
	})
}

// The same while it runs, with a destination that is left alone.
func TestClockGoesBack(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome {
			out := all(d, deferred("later"))
			out.Unreachable = d.Destination == "dead.test"
			return out
		}
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "tried@b.test")
		enqueue(t, q, "s@a.test", "x\r\n", "dead@dead.test")
		synctest.Wait()
		enqueue(t, q, "s@a.test", "x\r\n", "behind@dead.test")
		err := q.commit(func(b *batch) error {
			d, err := decodeDelivery(deliveryKey{id, 0}, b.delivery(deliveryKey{id, 0}))
			if err == nil {
				d.Next = d.Next.AddDate(1, 0, 0)
				b.put(d.key(), encodeDelivery(d))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		q.sched.mu.Lock()
		q.sched.destinations["dead.test"].pausedSince += (365 * 24 * time.Hour).Milliseconds()
		q.sched.mu.Unlock()
		start := time.Now()
		q.clockWasSet()
		time.Sleep(3*time.Hour + time.Second)
		synctest.Wait()
		if tried := w.tried("tried"); len(tried) < 2 || tried[1].Sub(start) > 3*time.Hour {
			t.Errorf("tried at %v", tried)
		}
		if tried := append(w.tried("behind"), w.tried("dead")[1:]...); len(tried) == 0 {
			t.Error("the destination is left alone for ever")
		}
		if e, err := q.Show(id); err != nil || time.Until(e.Deliveries[0].Next) > 3*time.Hour {
			t.Errorf("the record says %v, %v", e.Deliveries, err)
		}
	})
}
