package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	bolt "go.etcd.io/bbolt"

	"waypost/metrics"
)

func listed(t *testing.T, q *Queue, f Filter) []ID {
	t.Helper()
	var ids []ID
	var after ID
	for {
		entries, more, err := q.List(f, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			ids = append(ids, e.ID)
			after = e.ID
		}
		if !more {
			return ids
		}
	}
}

func TestListFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		q := open(t, w, nil)
		defer running(t, q)()
		var ids []ID
		for i := range 10 {
			ids = append(ids, enqueue(t, q, fmt.Sprintf("s%d@a%d.test", i, i%2), "x\r\n", fmt.Sprintf("r@b%d.test", i%5)))
			time.Sleep(time.Minute)
		}
		null := enqueue(t, q, "", "xx\r\n", "r@b0.test")
		synctest.Wait()
		if n, err := q.Hold(Filter{IDs: []ID{ids[1]}}); n != 1 || err != nil {
			t.Fatalf("hold: %d, %v", n, err)
		}
		for _, tc := range []struct {
			name string
			f    Filter
			want []ID
		}{
			{"all", Filter{}, append(append([]ID(nil), ids...), null)},
			{"ids", Filter{IDs: []ID{ids[3], ids[5], 1}}, []ID{ids[3], ids[5]}},
			{"to domain", Filter{ToDomain: "B3.test"}, []ID{ids[3], ids[8]}},
			{"to domain and below", Filter{ToDomain: ".B3.test"}, []ID{ids[3], ids[8]}},
			{"from mailbox", Filter{From: "S4@a0.test"}, []ID{ids[4]}},
			{"from domain", Filter{From: "@a1.test", ToDomain: "b1.test"}, []ID{ids[1]}},
			{"null sender", Filter{From: "<>"}, []ID{null}},
			{"old", Filter{OlderThan: 8*time.Minute + time.Second}, ids[:2]},
			{"held", Filter{State: "held"}, []ID{ids[1]}},
			{"queued", Filter{State: "queued"}, nil},
			{"to mailbox", Filter{To: "R@b0.test"}, []ID{ids[0], ids[5], null}},
			{"young", Filter{YoungerThan: 90 * time.Second}, []ID{ids[9], null}},
			{"up to", Filter{UpTo: ids[2]}, ids[:3]},
			{"up to, of IDs", Filter{UpTo: ids[2], IDs: []ID{ids[3], ids[1]}}, ids[1:2]},
			{"large", Filter{LargerThan: 4}, []ID{null}},
			{"small", Filter{SmallerThan: 4, YoungerThan: 90 * time.Second}, ids[9:]},
			{"class", Filter{Class: DefaultClass, OlderThan: 9 * time.Minute}, ids[:2]},
			{"another class", Filter{Class: "other"}, nil},
			{"reply", Filter{Reply: "LATE", OlderThan: 9 * time.Minute}, ids[:2]},
			{"another reply", Filter{Reply: "never"}, nil},
			{"deferred and old", Filter{State: "deferred", OlderThan: 8*time.Minute + time.Second}, ids[:1]},
		} {
			if got := listed(t, q, tc.f); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
			}
		}
		if s := q.Stats(); s.Messages != 11 || s.Deferred != 10 || s.Held != 1 || s.Queued != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// A list goes on where it let changes through, and finds everything once.
func TestLongList(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	var want []ID
	for i := range 3*maxScan + 7 {
		id := enqueue(t, q, fmt.Sprintf("s@a%d.test", i%700), "x\r\n", "r@b.test")
		if i%700 == 0 {
			want = append(want, id)
		}
	}
	entries, more, err := q.List(Filter{From: "a0.test"}, 0, 100)
	if err != nil || more || len(entries) != len(want) {
		t.Fatalf("%d entries of %d, %v, %v", len(entries), len(want), more, err)
	}
	for i, e := range entries {
		if e.ID != want[i] {
			t.Errorf("entry %d is %s, want %s", i, e.ID, want[i])
		}
	}
	if entries, more, err := q.List(Filter{}, 0, maxScan); err != nil || !more || len(entries) != maxScan {
		t.Errorf("a page of as many: %d entries, %v, %v", len(entries), more, err)
	}
}

// TestScanIsCutIntoPieces looks at a few messages at a time, stops where it is
// told to, and still sees each once.
func TestScanIsCutIntoPieces(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	var want, got []ID
	var mu sync.Mutex
	var writers sync.WaitGroup
	for part := range 50 {
		writers.Go(func() {
			for i := part; i < 2*maxScan+7; i += 50 {
				id := enqueue(t, q, fmt.Sprintf("s@a%d.test", i%3), "x\r\n", "r@b.test")
				if mu.Lock(); i%3 == 0 {
					want = append(want, id)
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	slices.Sort(want)
	looked, pieces := 0, 0
	for after, more := ID(0), true; more; pieces++ {
		done, err := q.Scan(t.Context(), Filter{From: "a0.test"}, after, 250, func(e *Entry) bool {
			got = append(got, e.ID)
			return len(got)%50 != 0
		})
		if err != nil || done.Looked > 250 {
			t.Fatalf("%+v, %v", done, err)
		}
		looked += done.Looked
		after, more = done.Next, done.Next != 0
	}
	if !slices.Equal(got, want) || looked != 2*maxScan+7 || pieces < 3 {
		t.Errorf("%d messages of %d after a look at %d, in %d pieces", len(got), len(want), looked, pieces)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if done, err := q.Scan(ctx, Filter{}, 0, 2*maxScan, func(*Entry) bool { return true }); !errors.Is(err, context.Canceled) || done.Looked > maxScan {
		t.Errorf("after its end: %+v, %v", done, err)
	}
}

func TestHoldAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		if n, err := q.Hold(Filter{IDs: []ID{id}}); n != 1 || err != nil {
			t.Fatalf("hold: %d, %v", n, err)
		}
		if n, _ := q.Hold(Filter{IDs: []ID{id}}); n != 0 {
			t.Errorf("held twice: %d", n)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(w.tried("r")); n != 1 {
			t.Errorf("tried %d times while held", n)
		}
		if n, _ := q.RetryNow(Filter{IDs: []ID{id}}); n != 0 {
			t.Errorf("retry took %d held messages", n)
		}
		if n, err := q.Release(Filter{}); n != 1 || err != nil {
			t.Fatalf("release: %d, %v", n, err)
		}
		synctest.Wait()
		if n := len(w.tried("r")); n != 2 {
			t.Errorf("tried %d times after the release, want 2", n)
		}
	})
}

func TestRetryNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome {
			out := all(d, deferred("later"))
			out.Unreachable = true
			return out
		}}
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		e, err := q.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		if until := q.WaitsUntil(e.Deliveries[0]); time.Until(until) != 30*time.Minute {
			t.Errorf("waits until %v", until)
		}
		for want := 2; want < 5; want++ {
			time.Sleep(time.Minute)
			if n, err := q.RetryNow(Filter{ToDomain: "b.test"}); n != 1 || err != nil {
				t.Fatalf("retry: %d, %v", n, err)
			}
			synctest.Wait()
			if n := len(w.tried("r")); n != want {
				t.Fatalf("%d attempts, want %d", n, want)
			}
		}
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		q := open(t, w, nil)
		defer running(t, q)()
		one := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test", "r2@b.test", "r@c.test")
		two := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		if n, err := q.Remove(Filter{ToDomain: "b.test"}); n != 2 || err != nil {
			t.Fatalf("remove: %d, %v", n, err)
		}
		if _, err := q.Show(two); !errors.Is(err, ErrUnknown) {
			t.Errorf("second message: %v", err)
		}
		if _, err := q.Content(two); !errors.Is(err, ErrUnknown) {
			t.Errorf("its content: %v", err)
		}
		e, err := q.Show(one)
		if err != nil || e.Deliveries[0].Open() != 0 || e.Deliveries[1].Open() != 1 || e.Deliveries[0].Recipients[1].State != Removed ||
			e.Deliveries[0].Recipients[1].Last.Reason != "removed by an operator" {
			t.Errorf("first message: %+v, %v", e.Deliveries, err)
		}
		if n, err := q.Remove(Filter{IDs: []ID{one}}); n != 1 || err != nil {
			t.Fatalf("remove: %d, %v", n, err)
		}
		if s := q.Stats(); s.Messages != 0 || s.Bytes != 0 || s.Deferred != 0 {
			t.Errorf("left: %+v", s)
		}
		if len(w.reported()) != 0 {
			t.Error("a removal was reported")
		}
	})
}

func removeOne(q *Queue, id ID) (int, error) {
	return q.Remove(Filter{IDs: []ID{id}, To: "r@b.test"})
}

// What an operator does during an attempt holds, and what the attempt achieved
// is not lost.
func TestChangesDuringAnAttempt(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(q *Queue, id ID) (int, error)
		result Result
		check  func(t *testing.T, q *Queue, w *world, id ID)
	}{
		{"hold, deferred", func(q *Queue, id ID) (int, error) { return q.Hold(Filter{IDs: []ID{id}}) }, deferred("later"),
			func(t *testing.T, q *Queue, w *world, id ID) {
				e, err := q.Show(id)
				if err != nil || !e.Deliveries[0].Held || e.Deliveries[0].Attempts != 1 {
					t.Errorf("%+v, %v", e, err)
				}
				if s := q.Stats(); s.Held != 2 || s.Deferred != 0 || s.Queued != 0 {
					t.Errorf("stats: %+v", s)
				}
			}},
		{"hold, delivered", func(q *Queue, id ID) (int, error) { return q.Hold(Filter{IDs: []ID{id}}) }, Result{State: Delivered},
			func(t *testing.T, q *Queue, w *world, id ID) {
				if s := q.Stats(); s.Held != 0 || s.Messages != 0 {
					t.Errorf("stats: %+v", s)
				}
			}},
		{"remove, failed", func(q *Queue, id ID) (int, error) { return q.Remove(Filter{IDs: []ID{id}}) }, Result{State: Failed},
			func(t *testing.T, q *Queue, w *world, id ID) {
				// The report was composed, but not sent.
				if s := q.Stats(); s.Messages != 0 || len(w.tried("s")) != 0 {
					t.Errorf("stats: %+v, %d reports delivered", s, len(w.tried("s")))
				}
			}},
		{"remove one, failed", removeOne, Result{State: Failed},
			func(t *testing.T, q *Queue, w *world, id ID) {
				// One on both was composed, and not sent.
				all := w.reported()
				last := all[len(all)-1].Recipients
				if len(last) != 1 || last[0].Path.Local != "r2" || len(w.tried("s")) != 1 {
					t.Errorf("%d reports delivered, the last on %+v", len(w.tried("s")), last)
				}
				if s := q.Stats(); s.Messages != 0 {
					t.Errorf("stats: %+v", s)
				}
			}},
		{"remove one, delivered", removeOne, Result{State: Delivered},
			func(t *testing.T, q *Queue, w *world, id ID) {
				if s := q.Stats(); s.Messages != 0 {
					t.Errorf("stats: %+v", s)
				}
			}},
		{"remove one, deferred", removeOne, deferred("later"),
			func(t *testing.T, q *Queue, w *world, id ID) {
				e, err := q.Show(id)
				if err != nil || e.Deliveries[0].Recipients[0].State != Removed || e.Deliveries[0].Recipients[1].State != Deferred {
					t.Errorf("%+v, %v", e, err)
				}
				if s := q.Stats(); s.Deferred != 1 || s.Queued != 0 {
					t.Errorf("stats: %+v", s)
				}
			}},
		{"retry, deferred", func(q *Queue, id ID) (int, error) { return q.RetryNow(Filter{IDs: []ID{id}}) }, deferred("later"),
			func(t *testing.T, q *Queue, w *world, id ID) {
				if e, err := q.Show(id); err != nil || e.Deliveries[0].Attempts != 1 {
					t.Errorf("%+v, %v", e, err)
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				w := &world{}
				w.answer = func(m *Message, d *Delivery) Outcome {
					if !m.ReversePath.IsNull() {
						<-hold
					}
					return all(d, tc.result)
				}
				q := open(t, w, nil)
				defer running(t, q)()
				id := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test", "r2@b.test")
				synctest.Wait()
				if n, err := tc.change(q, id); n != 1 || err != nil {
					t.Fatalf("%d, %v", n, err)
				}
				close(hold)
				synctest.Wait()
				tc.check(t, q, w, id)
			})
		})
	}
}

// a directory that is in use is refused, with whose it is.
func TestSecondInstance(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	defer q.Close()
	start := time.Now()
	_, err := Open(Options{Dir: q.dir, Deliverer: w, Router: w, Reporter: w})
	inUse, ok := errors.AsType[*InUseError](err)
	if !ok || inUse.Holder == "" || time.Since(start) > 5*time.Second {
		t.Errorf("opened twice: %v", err)
	}
}

// spoilIndex closes a queue and changes what it left behind.
func spoilIndex(t *testing.T, q *Queue, spoil func(tx *bolt.Tx) error) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(q.dir, indexName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(spoil), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// an index of a format that nobody knows is refused.
func TestUnknownFormatIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(tx *bolt.Tx) error{
		"newer": func(tx *bolt.Tx) error {
			version := []byte{0, 0, 0, formatVersion + 1}
			return errors.Join(tx.Bucket(bucketMeta).Put(keyFormat, version), putMeta(tx, keyVersion, version))
		},
		"no bucket": func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketMessage) },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			q := open(t, w, nil)
			spoilIndex(t, q, spoil)
			if _, err := Open(Options{Dir: q.dir, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, ErrFormat) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// An index that was cut short is refused, and so is a file that is none.
func TestSpoiltIndexIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(name string) error
		want  error
	}{
		"cut short": {func(name string) error { return os.Truncate(name, 20_000) }, ErrDamaged},
		"empty":     {func(name string) error { return os.Truncate(name, 0) }, ErrDamaged},
		"garbage":   {func(name string) error { return os.WriteFile(name, []byte(strings.Repeat("x", 50_000)), 0o600) }, ErrDamaged},
		"gone":      {os.Remove, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			q := open(t, w, nil)
			enqueue(t, q, "s@a.test", strings.Repeat("x", 50_000), "r@b.test")
			if err := errors.Join(q.Close(), tc.spoil(filepath.Join(q.dir, indexName))); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Options{Dir: q.dir, Deliverer: w, Router: w, Reporter: w})
			if !errors.Is(err, tc.want) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// A damaged record is set aside and hurts nobody else.
func TestDamage(t *testing.T) {
	for _, bucket := range [][]byte{bucketDelivery, bucketMessage} {
		t.Run(string(bucket), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				q := open(t, w, nil)
				bad := enqueue(t, q, "s@a.test", "x\r\n", "bad@b.test")
				enqueue(t, q, "s@a.test", "x\r\n", "good@b.test")
				spoilIndex(t, q, func(tx *bolt.Tx) error {
					b := tx.Bucket(bucket)
					key := bad.key()
					if string(bucket) == "delivery" {
						key = deliveryKey{bad, 0}.bytes()
					}
					record := append([]byte(nil), b.Get(key)...)
					record[5] ^= 0x40
					return b.Put(key, record)
				})
				q = open(t, w, func(o *Options) { o.Dir = q.dir })
				entries, _, err := q.List(Filter{}, 0, 10)
				if err != nil || len(entries) != 2 || !entries[0].Damaged || entries[0].ID != bad || entries[1].Damaged {
					t.Errorf("listed: %+v, %v", entries, err)
				}
				if entries, _, _ := q.List(Filter{From: "a.test"}, 0, 10); len(entries) != 1 {
					t.Errorf("listed by sender: %+v", entries)
				}
				if n, err := q.Hold(Filter{IDs: []ID{bad}}); n != 0 || err != nil {
					t.Errorf("held %d, %v", n, err)
				}
				stop := running(t, q)
				synctest.Wait()
				if len(w.tried("good")) != 1 || len(w.tried("bad")) != 0 {
					t.Errorf("attempts: %v", w.attempts)
				}
				stop()
			})
		})
	}
}

// a content that is not what was acknowledged is not sent as if it were.
func TestDamagedContent(t *testing.T) {
	for name, content := range map[string]string{"in the index": "0123456789\r\n", "in a file": strings.Repeat("x", inlineLimit+1)} {
		t.Run(name, func(t *testing.T) { virtually(t, func(t *testing.T, w *world) { damagedContent(t, w, content) }) })
	}
}

// damagedContent has an attempt find out, after which no other is made before an
// operator says so.
func damagedContent(t *testing.T, w *world, content string) {
	var mu sync.Mutex
	var seen []error
	w.answer = func(m *Message, d *Delivery) Outcome {
		r, err := m.Content()
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		mu.Lock()
		defer mu.Unlock()
		if seen = append(seen, err); err == nil {
			return all(d, Result{State: Delivered})
		}
		return all(d, deferred("damaged"))
	}
	read := func() []error {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
	q := open(t, w, nil)
	id := enqueue(t, q, "s@a.test", content, "r@b.test", "q@c.test")
	if len(content) > inlineLimit {
		if err := os.WriteFile(q.contentFile(id), []byte("y"+content[1:]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spoilIndex(t, q, func(tx *bolt.Tx) error {
		if len(content) > inlineLimit {
			return nil
		}
		b := tx.Bucket(bucketMessage)
		record := append([]byte(nil), b.Get(id.key())...)
		record[len(record)-3] ^= 1
		return b.Put(id.key(), record)
	})
	var log strings.Builder
	m := metrics.New(nil)
	q = open(t, w, func(o *Options) { o.Dir, o.Metrics, o.Log = q.dir, m, slog.New(slog.NewTextHandler(&log, nil)) })
	stop := running(t, q)
	time.Sleep(3 * 24 * time.Hour)
	if seen := read(); len(seen) != 2 || !errors.Is(errors.Join(seen...), ErrDamaged) || len(w.reported()) > 0 {
		t.Errorf("in three days it was read with %v, and reported %d times", seen, len(w.reported()))
	}
	e, err := q.Show(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range e.Deliveries {
		if !d.Held || d.Attempts != 1 {
			t.Errorf("%s is on hold: %v, after %d attempts", d.Destination, d.Held, d.Attempts)
		}
	}
	if n := testutil.ToFloat64(m.DeliveriesDamaged); n != 2 {
		t.Errorf("%v were counted", n)
	}
	if n := q.Stats().Held; n != 2 {
		t.Errorf("%d recipients are on hold", n)
	}
	if _, err := q.Release(Filter{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * 24 * time.Hour) // what is on hold does not expire
	if n := len(read()); n != 4 || q.Stats().Held != 2 || len(w.reported()) > 0 {
		t.Errorf("released, it was read %d times, %d recipients are on hold, and there are %d reports", n, q.Stats().Held, len(w.reported()))
	}
	stop()
	if n := strings.Count(log.String(), "content is damaged, message put on hold"); n != 4 {
		t.Errorf("said %d times: %s", n, &log)
	}
}

// the same for a content in a file, however it is read.
func TestDamagedContentFile(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	id := enqueue(t, q, "s@a.test", strings.Repeat("x", inlineLimit+1), "r@b.test")
	f, err := os.OpenFile(q.contentFile(id), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("y"), 5000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, read := range map[string]func(io.Reader) error{
		"ReadAll": func(r io.Reader) error { _, err := io.ReadAll(r); return err },
		"Copy":    func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err },
	} {
		r, err := q.Content(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(r); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
	}
	if err := os.Remove(q.contentFile(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Content(id); !errors.Is(err, ErrDamaged) {
		t.Errorf("without the file: %v", err)
	}
}

// after a failed commit nothing is acknowledged any more.
func TestFailedCommitIsFinal(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	if err := q.store.journal.file.Close(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			d := q.NewDraft()
			io.WriteString(d, "x\r\n")
			if err := d.Commit(Envelope{}, []Recipient{{Path: path("r@b.test")}}); !errors.Is(err, ErrStore) {
				t.Errorf("committed: %v", err)
			}
		})
	}
	wg.Wait()
	<-q.Failed()
	// Its record may be on disk all the same: then it needs its content.
	d := q.NewDraft()
	io.WriteString(d, strings.Repeat("x", inlineLimit+1))
	if err := d.Commit(Envelope{}, []Recipient{{Path: path("r@b.test")}}); !errors.Is(err, ErrStore) {
		t.Errorf("committed: %v", err)
	}
	d.Discard()
	if _, err := os.Stat(q.contentFile(d.ID())); err != nil {
		t.Errorf("the content is gone: %v", err)
	}
	if !errors.Is(q.Err(), ErrStore) {
		t.Errorf("Err: %v", q.Err())
	}
	q.Close()
}

func TestChangedRouteReachesQueuedMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("later")) }}
		w.route = func(*Recipient) string { return "old" }
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test", "r2@c.test", "r3@b.test")
		synctest.Wait()
		w.mu.Lock()
		w.route = func(r *Recipient) string { return "new " + r.Path.Domain }
		w.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		e, err := q.Show(id)
		if err != nil || len(e.Deliveries) != 2 || e.Deliveries[0].Destination != "new b.test" || len(e.Deliveries[0].Recipients) != 2 ||
			e.Deliveries[1].Destination != "new c.test" || e.Deliveries[1].Attempts != 2 {
			t.Errorf("%+v %+v, %v", e.Deliveries[0], e.Deliveries[1:], err)
		}
	})
}

// One slow destination has no more than its share of workers, and with all
// workers taken the others still get their turn.
func TestFairShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running_, most := map[string]int{}, map[string]int{}
		w := &world{}
		w.answer = func(_ *Message, d *Delivery) Outcome {
			mu.Lock()
			running_[d.Destination]++
			most[d.Destination] = max(most[d.Destination], running_[d.Destination])
			mu.Unlock()
			if d.Destination == "slow.test" {
				time.Sleep(time.Minute)
			}
			mu.Lock()
			running_[d.Destination]--
			mu.Unlock()
			return all(d, Result{State: Delivered})
		}
		q := open(t, w, func(o *Options) { o.Workers, o.PerDestination = 6, 4 })
		for i := range 100 {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("s%d@slow.test", i))
		}
		for i := range 100 {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("f%d@fast%d.test", i, i%10))
		}
		stop := running(t, q)
		time.Sleep(time.Second)
		synctest.Wait()
		if s := q.Stats(); s.Queued != 100 {
			t.Errorf("%d recipients left after a second, want those of the slow destination", s.Queued)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if most["slow.test"] != 4 || q.Stats().Messages != 0 {
			t.Errorf("slow destination had %d workers, %d messages left", most["slow.test"], q.Stats().Messages)
		}
		stop()
	})
}

// there is room from the start, and none for what is larger than any disk.
func TestRoom(t *testing.T) {
	for range 50 {
		q := open(t, &world{}, nil)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := q.Room(1); err != nil {
					t.Errorf("right after the start: %v", err)
				}
			})
		}
		wg.Wait()
		q.Close()
	}
	q := open(t, &world{}, nil)
	defer q.Close()
	for _, size := range []int64{1 << 60, 1<<63 - 1} {
		if err := q.Room(size); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%d octets fit: %v", size, err)
		}
	}
}

func TestManyRecipientsAreSplit(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("r%d@b.test", i))
	}
	e, err := q.Show(enqueue(t, q, "s@a.test", "x\r\n", to...))
	if err != nil || len(e.Deliveries) != 3 || len(e.Deliveries[2].Recipients) != 50 {
		t.Errorf("%d deliveries, %v", len(e.Deliveries), err)
	}
}

// L-02: what is a path is no ID.
func TestIDs(t *testing.T) {
	s := idSource{now: time.Now}
	last := ID(0)
	for range 1000 {
		id := s.next()
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		if back, err := ParseID(id.String()); err != nil || back != id {
			t.Fatalf("%s read as %s, %v", id, back, err)
		}
		last = id
	}
	if id, err := ParseID("01h455vb4pex5"); err != nil || id.String() != "01H455VB4PEX5" {
		t.Errorf("lower case: %s, %v", id, err)
	}
	for _, bad := range []string{"", "0", "../../etc/pas", "%2e%2e/%2e%2e", "ZZZZZZZZZZZZZ", "01H455VB4PEXU", "01H455VB4PEX\x00", "0000000000000"} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("%q read as %s", bad, id)
		}
	}
}
