package queue

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// fillIndex puts n messages of about size octets into q, brings them into the
// index, and returns them.
func fillIndex(t testing.TB, q *Queue, n, size int) []ID {
	t.Helper()
	content := strings.Repeat("x", size)
	ids := make([]ID, n)
	var writers sync.WaitGroup
	for part := range 20 {
		writers.Go(func() {
			for i := part; i < n; i += 20 {
				ids[i] = enqueue(t, q, "s@a.test", content, fmt.Sprintf("r%d@b.test", i))
			}
		})
	}
	writers.Wait()
	if err := q.checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	return ids
}

func fileSize(t testing.TB, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// What left gives its space back, while mail is taken.
func TestCompactionByItself(t *testing.T) {
	q := open(t, &world{}, nil)
	var told []Compacted
	ended := make(chan struct{})
	q.store.compacted = func(c Compacted, err error) {
		if err != nil {
			t.Error(err)
		}
		told = append(told, c)
		close(ended)
	}
	ids := fillIndex(t, q, 2500, 50_000)
	full := fileSize(t, q.store.path)
	kept, gone := ids[:250], ids[250:]
	if n, err := q.Remove(Filter{IDs: gone}); err != nil || n != len(gone) {
		t.Fatalf("removed %d (%v)", n, err)
	}
	if err := q.checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	for late := false; !late; {
		kept = append(kept, enqueue(t, q, "s@a.test", "late", "r@b.test"))
		select {
		case <-ended:
			late = true
		default:
		}
	}
	// 1.5 times what is live, and 128 MB.
	live := int64(len(kept)) * 52_000
	if size := fileSize(t, q.store.path); size > live+live/2+128<<20 || size >= full/2 {
		t.Errorf("the index has %d octets, had %d", size, full)
	}
	t.Logf("%+v, with %d messages taken meanwhile", told[0], len(kept)-250)
	if _, err := q.Verify(t.Context(), func(d Damage) { t.Errorf("%+v", d) }); err != nil {
		t.Error(err)
	}
	for reopened := range 2 {
		for _, id := range kept {
			if _, err := q.Show(id); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
		}
		if s := q.Stats(); s.Messages != int64(len(kept)) {
			t.Errorf("%d messages, want %d", s.Messages, len(kept))
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if reopened == 0 {
			q = open(t, &world{}, func(o *Options) { o.Dir = q.dir })
		}
	}
}

// Whatever is enqueued, changed and removed while the index is copied is in the
// copy, and in the file that has its name.
func TestCompactUnderLoad(t *testing.T) {
	q := open(t, &world{}, nil)
	fillIndex(t, q, 200, 5000)
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			var mine []ID
			for ctx.Err() == nil {
				mine = append(mine, enqueue(t, q, "s@a.test", strings.Repeat("y", 3000), "r@b.test"))
				if len(mine)%3 == 0 {
					if _, err := q.Hold(Filter{IDs: mine[len(mine)-2:]}); err != nil {
						t.Error(err)
					}
					if _, err := q.Remove(Filter{IDs: mine[len(mine)-3 : len(mine)-2]}); err != nil {
						t.Error(err)
					}
				}
				if len(mine) == 1500 { // however quick the disk is, a list has them all
					if _, err := q.Remove(Filter{IDs: mine}); err != nil {
						t.Error(err)
					}
					mine = nil
				}
			}
		})
	}
	for range 8 {
		c, err := q.Compact(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", c)
		if _, err := q.Verify(t.Context(), func(d Damage) { t.Errorf("%+v", d) }); err != nil {
			t.Error(err)
		}
	}
	cancel()
	load.Wait()
	before := originals(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if v, found := verified(t, q.dir); len(found) > 0 || v.Messages != int64(len(before)) {
		t.Errorf("%+v, %+v; want %d messages", v, found, len(before))
	}
}

// a crash at any step of a compaction is harmless.
func TestCrashDuringCompaction(t *testing.T) {
	q := open(t, &world{}, nil)
	fillIndex(t, q, 300, 2000)
	want := originals(t, q)
	check := func(step string) {
		t.Helper()
		dir := copyDir(t, q.dir)
		again := open(t, &world{}, func(o *Options) { o.Dir = dir })
		if got := originals(t, again); len(got) != len(want) {
			t.Errorf("%s: %d messages, want %d", step, len(got), len(want))
		}
		if _, err := os.Stat(filepath.Join(dir, compactName)); !os.IsNotExist(err) {
			t.Errorf("%s: the copy is still there (%v)", step, err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		if _, found := verified(t, dir); len(found) > 0 {
			t.Errorf("%s: %+v", step, found)
		}
	}
	err := q.checkpoint(func(s *store) error {
		c, err := s.beginCompaction()
		if err != nil {
			return err
		}
		<-c.copied
		check("copied")
		if err := s.catchUp(c); err != nil {
			return err
		}
		check("caught up")
		if err := os.Rename(c.file, s.path); err != nil {
			return err
		}
		check("renamed")
		return os.Rename(s.path, c.file) // the test goes on as if that had not been
	})
	if err != nil {
		t.Fatal(err)
	}
	q.store.broken.Store(true) // the index has no name any more
	q.Close()
}

// A stopped queue is compacted too, and one that is cut off by a stop is given
// up.
func TestCompactStopped(t *testing.T) {
	q := open(t, &world{}, nil)
	ids := fillIndex(t, q, 1200, 50_000)
	if _, err := q.Remove(Filter{IDs: ids[10:]}); err != nil {
		t.Fatal(err)
	}
	if _, err := CompactDir(q.dir); !asInUse(err) {
		t.Errorf("a running queue as a stopped one: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := CompactDir(q.dir)
	if err != nil || c.After >= c.Before || c.After != fileSize(t, filepath.Join(q.dir, indexName)) {
		t.Errorf("%+v (%v)", c, err)
	}
	if v, found := verified(t, q.dir); len(found) > 0 || v.Messages != 10 {
		t.Errorf("%+v, %+v", v, found)
	}
	q = open(t, &world{}, func(o *Options) { o.Dir = q.dir })
	if err := q.checkpoint(func(s *store) error { _, err := s.beginCompaction(); return err }); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(filepath.Join(q.dir, indexName), 0o600, &bolt.Options{Timeout: time.Second}); err != nil {
		t.Errorf("after the stop: %v", err)
	}
}
