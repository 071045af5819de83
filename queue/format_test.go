package queue

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// testdata/format2 is what version 2 left behind when it was killed: some of
// it in the index, some in the journal only.
const (
	oldTried ID = iota // deferred for two recipients, delivered to one
	oldLarge           // content in a file, deferred
	oldHeld
	oldFresh
)

var oldIDs = [...]string{oldTried: "6H09E21HM0000", oldLarge: "6H09E21HM0001", oldHeld: "6H09E23X40000", oldFresh: "6H09E249W0000"}

func oldQueue(t *testing.T) (dir string) { return testQueue(t, "format2") }

func testQueue(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func checkOldQueue(t *testing.T, q *Queue) {
	t.Helper()
	entries := map[ID]Entry{}
	for number, name := range oldIDs {
		id, err := ParseID(name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := q.Show(id)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		entries[ID(number)] = e
		r, err := q.Content(id)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b, err := io.ReadAll(r); err != nil || int64(len(b)) != e.Size {
			t.Errorf("%s: content of %d octets, want %d: %v", name, len(b), e.Size, err)
		}
		r.Close()
	}
	e := entries[oldTried]
	if e.EnvelopeID != "e1" || e.Return != "HDRS" || !e.UTF8 || !e.EightBit || e.Client != "c.test ([192.0.2.9])" || len(e.Deliveries) != 2 {
		t.Errorf("tried: %+v", e)
	}
	if r := e.Deliveries[0].Recipients[0]; r.State != Deferred || r.Last.Reply.String() != "451 4.7.1 greylisted come back" ||
		r.Last.Host != "mx.b.test[192.0.2.1]:25" || r.OriginalRecipient != "rfc822;r+40b.test" || e.Deliveries[0].Attempts != 1 {
		t.Errorf("tried: %+v", r)
	}
	if r := e.Deliveries[0].Recipients[1]; r.State != Delivered || !r.Last.Reported {
		t.Errorf("delivered: %+v", r)
	}
	if !entries[oldHeld].Deliveries[0].Held {
		t.Error("the held one is not held")
	}
	if s := q.Stats(); s.Messages != 4 || s.Queued != 1 || s.Deferred != 3 || s.Held != 1 || s.Bytes != 66686 {
		t.Errorf("stats: %+v", s)
	}
}

// what version 2 left, in the index and in the journal, is all there.
func TestUpgradeFromVersion2(t *testing.T) {
	dir := oldQueue(t)
	q := open(t, &world{}, func(o *Options) { o.Dir = dir })
	checkOldQueue(t, q)
	// It is the new version at once: a crash now must not leave it to an old
	// program that has new records in its journal.
	if m, err := loadMeta(q.store.db); err != nil || m.version != formatVersion {
		t.Errorf("version %d, %v", m.version, err)
	}
	d := q.NewDraft()
	if err := d.Commit(Envelope{Login: "user"}, []Recipient{{Path: path("r@b.test")}}); err != nil {
		t.Fatal(err)
	}
	again, _ := crash(t, q)
	if e, err := again.Show(d.ID()); err != nil || e.Login != "user" {
		t.Errorf("after the upgrade and a crash: %+v, %v", e, err)
	}
	if err := errors.Join(again.Close(), q.Close()); err != nil {
		t.Error(err)
	}
}

// version 1 is version 2 without a journal.
func TestUpgradeFromVersion1(t *testing.T) {
	dir := oldQueue(t)
	s := openTestStore(t, dir) // brings the journal in
	err := s.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		return errors.Join(meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, 1)), meta.Delete(keyVersion), meta.Delete(keyApplied),
			meta.Delete(keyBegun), meta.Delete(keyIdentity), tx.DeleteBucket(bucketTotals))
	})
	if err := errors.Join(err, s.abandon(), os.RemoveAll(filepath.Join(dir, journalName))); err != nil {
		t.Fatal(err)
	}
	q := open(t, &world{}, func(o *Options) { o.Dir = dir })
	checkOldQueue(t, q)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// a refusal says what to do about it.
func TestNewerFormatSaysSo(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	spoilIndex(t, q, func(tx *bolt.Tx) error {
		version := binary.BigEndian.AppendUint32(nil, formatVersion+1)
		return errors.Join(tx.Bucket(bucketMeta).Put(keyFormat, version), putMeta(tx, keyVersion, version))
	})
	_, err := Open(Options{Dir: q.dir, Deliverer: w, Router: w, Reporter: w})
	if err == nil || !strings.Contains(err.Error(), "written by a newer waypost") {
		t.Errorf("opened: %v", err)
	}
}

// A message for a future release is not attempted before, and lives as long
// from then on as any other (RFC 4865).
func TestFutureRelease(t *testing.T) {
	for name, unreachable := range map[string]bool{"refused": false, "behind a dead destination": true} {
		t.Run(name, func(t *testing.T) { futureRelease(t, unreachable) })
	}
}

func futureRelease(t *testing.T, unreachable bool) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			out := all(d, deferred("not now"))
			out.Unreachable = unreachable
			return out
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		defer running(t, q)()
		start := time.Now()
		release := start.Add(3 * 24 * time.Hour)
		if unreachable {
			enqueue(t, q, "", "x\r\n", "first@b.test") // dies without a report
		}
		d := q.NewDraft()
		if err := d.Commit(Envelope{ReversePath: path("s@a.test"), HoldUntil: release}, []Recipient{{Path: path("r@b.test")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n, err := q.RetryNow(Filter{}); n != 0 && !unreachable || err != nil {
			t.Errorf("an operator's retry took %d, %v", n, err)
		}
		time.Sleep(9 * 24 * time.Hour)
		tried := w.tried("r")
		if len(tried) == 0 || tried[0].Before(release) || tried[0].After(release.Add(31*time.Minute)) {
			t.Fatalf("tried at %v, released at %v", tried, release)
		}
		reports := w.reported()
		if len(reports) != 2 || reports[0].Kind != ReportDelay || reports[1].Kind != ReportFailure {
			t.Fatalf("reports: %+v", reports)
		}
		if until := reports[0].RetryUntil; !until.Equal(release.Add(5 * 24 * time.Hour)) {
			t.Errorf("given up at %v, want five days after the release", until)
		}
		told := w.tried("s") // the reports, as they were delivered
		if at := told[0].Sub(release); at < 4*time.Hour || at > 4*time.Hour+31*time.Minute {
			t.Errorf("warned %v after the release", at)
		}
		if at := told[1].Sub(release); at < 5*24*time.Hour || at > 5*24*time.Hour+31*time.Minute {
			t.Errorf("expired %v after the release", at)
		}
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

// A message that a newer program wrote is set aside, and nobody else is hurt.
func TestNewerRecordIsSetAside(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		q := open(t, w, nil)
		odd := enqueue(t, q, "s@a.test", "x\r\n", "odd@b.test")
		enqueue(t, q, "s@a.test", "x\r\n", "good@b.test")
		spoilIndex(t, q, func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketDelivery)
			key := deliveryKey{odd, 0}.bytes()
			record := append([]byte(nil), b.Get(key)...)
			record[0] |= flagFields
			var f fields
			f.add(99, []byte("x"))
			return b.Put(key, appendKeyedSum(f.appendTo(record[:len(record)-4]), key))
		})
		q = open(t, w, func(o *Options) { o.Dir = q.dir })
		if _, err := q.Show(odd); !errors.Is(err, ErrFormat) {
			t.Errorf("shown: %v", err)
		}
		if entries, _, err := q.List(Filter{}, 0, 10); err != nil || len(entries) != 2 || !entries[0].Damaged {
			t.Errorf("listed: %+v, %v", entries, err)
		}
		stop := running(t, q)
		time.Sleep(time.Hour)
		if len(w.tried("good")) != 1 || len(w.tried("odd")) != 0 {
			t.Errorf("attempts: %v", w.attempts)
		}
		stop()
	})
}
