package queue

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

// counted returns the totals of a store, and what a count of everything in it
// comes to. The store is closed by that.
func counted(t *testing.T, dir string) (kept, anew map[string]tally) {
	t.Helper()
	s := openTestStore(t, dir)
	zero := func(_ string, t tally) bool { return t == tally{} }
	kept = maps.Clone(s.totals)
	maps.DeleteFunc(kept, zero)
	if err := s.db.Update(s.recount); err != nil {
		t.Fatal(err)
	}
	anew = maps.Clone(s.totals)
	maps.DeleteFunc(anew, zero)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	return kept, anew
}

// Whatever happened, the totals are those of what is there, at once after a
// start, also after a crash.
func TestTotalsAreExact(t *testing.T) {
	for seed := range uint64(2) {
		virtually(t, func(t *testing.T, w *world) {
			random, answers := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			w.answer = func(m *Message, d *Delivery) Outcome {
				w.mu.Lock()
				defer w.mu.Unlock()
				out := Outcome{}
				for range d.Open() {
					out.Results = append(out.Results, Result{State: []State{Delivered, Deferred, Deferred, Failed}[answers.IntN(4)]})
				}
				return out
			}
			q := open(t, w, nil)
			defer running(t, q)()
			for step := range 60 {
				some := Filter{ToDomain: fmt.Sprintf("b%d.test", random.IntN(3))}
				var err error
				switch random.IntN(8) {
				case 0:
					_, err = q.Hold(some)
				case 1:
					_, err = q.Release(some)
				case 2:
					_, err = q.Remove(some)
				case 3:
					time.Sleep(time.Duration(random.IntN(40)) * time.Hour)
				default:
					d := q.NewDraft()
					fmt.Fprint(d, strings.Repeat("x", random.IntN(2000)))
					err = d.Commit(Envelope{ReversePath: path("s@a.test"), Class: []string{"", "bulk"}[random.IntN(2)]}, []Recipient{
						{Path: path(fmt.Sprintf("r%d@b%d.test", step, random.IntN(3)))}, {Path: path(fmt.Sprintf("q%d@b%d.test", step, random.IntN(3)))},
					})
				}
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if step%12 > 0 {
					continue
				}
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(q.dir)); err != nil {
					t.Fatal(err)
				}
				if kept, anew := counted(t, dir); !maps.Equal(kept, anew) {
					t.Fatalf("step %d: %v, counted anew %v", step, kept, anew)
				}
			}
		})
	}
}

// Figures are right before the schedule has been loaded.
func TestStatsRightAfterOpen(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	for range 20 {
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test", "r@c.test")
	}
	if _, err := q.Hold(Filter{ToDomain: "c.test"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(q.dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, q.dir} { // after a crash, after a stop
		if name == q.dir {
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s := openTestStore(t, name)
		if sum := s.sum(); sum != (tally{messages: 20, queued: 20, held: 20, bytes: 60}) {
			t.Errorf("%+v", sum)
		}
		s.close()
	}
}

// An index without totals, or with damaged ones, is counted.
func TestMissingTotalsAreCounted(t *testing.T) {
	for name, spoil := range map[string]func(tx *bolt.Tx) error{
		"missing": func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketTotals) },
		"damaged": func(tx *bolt.Tx) error { return tx.Bucket(bucketTotals).Put(totalsKey(""), []byte("nonsense")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			q := open(t, w, nil)
			enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
			spoilIndex(t, q, spoil)
			q = open(t, w, func(o *Options) { o.Dir = q.dir })
			if s := q.Stats(); s.Messages != 1 || s.Queued != 1 || s.Bytes != 3 {
				t.Errorf("%+v", s)
			}
			q.Close()
		})
	}
}
