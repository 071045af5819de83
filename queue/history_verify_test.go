package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// withHistory leaves a queue without mail and with blocks of stories on disk.
func withHistory(t *testing.T, blocks, each int) (dir string, stories int) {
	t.Helper()
	q := open(t, &world{}, nil)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	h := openTestHistory(t, q.dir, 0, HistoryOptions{Size: 64 << 20})
	stories = addBlocks(h, blocks, each, time.Now())
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	return q.dir, stories
}

// repairs repairs a queue of which nothing but the history is damaged, and
// returns the stories that are left.
func repairs(t *testing.T, what, dir string) (r *Repair, left []ID) {
	t.Helper()
	before, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = RepairDir(t.Context(), dir, func(Damage) {}); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, indexName)); err != nil || !bytes.Equal(before, after) || r.Index != "" {
		t.Errorf("%s: the index is not what it was (%v)", what, err)
	}
	if v, found := verified(t, dir); len(found) > 0 {
		t.Errorf("%s: after the repair %+v in %+v", what, found, v)
	}
	h := openTestHistory(t, dir, noSegment-1, HistoryOptions{Size: 64 << 20})
	defer h.close()
	return r, h.finds("r@b.test")
}

func TestVerifyCountsStories(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		q := open(t, w, keeping)
		stop := running(t, q)
		for range 10 {
			enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		}
		synctest.Wait()
		if err := q.checkpoint(nil); err != nil {
			t.Fatal(err)
		}
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		v, err := q.Verify(t.Context(), func(d Damage) { t.Errorf("running: %+v", d) })
		if err != nil || v.Stories != 10 || v.HistoryFiles != 1 {
			t.Errorf("running: %+v, %v", v, err)
		}
		killed := copyDir(t, q.dir)
		stop()
		for dir, want := range map[string]int64{killed: 10, q.dir: 11} {
			if v, found := verified(t, dir); len(found) > 0 || v.Stories != want || v.HistoryFiles != 1 {
				t.Errorf("%+v, %+v, want %d stories", v, found, want)
			}
		}
	})
}

// Whatever octet of the history is damaged is found, and a repair keeps every
// story but the one that it has hit.
func TestRepairHistory(t *testing.T) {
	dir, n := withHistory(t, 4, 3)
	name := filepath.Join(dir, historyPath(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 61 {
		what := fmt.Sprintf("octet %d", at)
		spoilt := slices.Clone(whole)
		spoilt[at] ^= 0x10
		if err := os.WriteFile(name, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		v, found := verified(t, dir)
		if len(found) == 0 || found[0].File != historyPath(1) || v.HistoryFiles != 1 {
			t.Fatalf("%s: %+v, %+v", what, v, found)
		}
		r, left := repairs(t, what, dir)
		if len(left) < n-1 || len(r.History) != 1 {
			t.Fatalf("%s: %d stories of %d are left: %+v", what, len(left), n, r)
		}
		kept := filepath.Join(dir, r.History[0])
		if b, err := os.ReadFile(kept); err != nil || !bytes.Equal(b, spoilt) {
			t.Fatalf("%s: set aside were %d octets (%v)", what, len(b), err)
		}
		if err := os.Remove(kept); err != nil {
			t.Fatal(err)
		}
	}
}

// Several files at once, and what is no file of ours.
func TestRepairHistoryFiles(t *testing.T) {
	for what, damage := range map[string]struct {
		do   func(t *testing.T, dir string) error
		left int // of the second and third block, when the first file has been hit
	}{
		"cut":   {func(_ *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, historyPath(1)), 200) }, 4},
		"empty": {func(_ *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, historyPath(1)), 0) }, 4},
		"zeros": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, historyPath(1)), make([]byte, 1000), 0o600)
		}, 4},
		"a directory": {func(_ *testing.T, dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, historyPath(1))), os.Mkdir(filepath.Join(dir, historyPath(1)), 0o700))
		}, 4},
		"no directory": {func(_ *testing.T, dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, historyName)), os.WriteFile(filepath.Join(dir, historyName), []byte("x"), 0o600))
		}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			dir, _ := withHistory(t, 1, 2)
			h := openTestHistory(t, dir, 9, HistoryOptions{Size: 64 << 20})
			h.over = true // goes on in another file
			h.add([]story{sampleStory(11, time.Now()), sampleStory(12, time.Now())}, 1, 2)
			h.over = true
			h.add([]story{sampleStory(13, time.Now()), sampleStory(14, time.Now())}, 2, 3)
			if err := errors.Join(h.close(), damage.do(t, dir)); err != nil {
				t.Fatal(err)
			}
			_, found := verified(t, dir)
			if what != "empty" && len(found) != 1 { // which nobody can tell from one that had nothing
				t.Fatalf("found %+v", found)
			}
			r, left := repairs(t, what, dir)
			if len(left) != damage.left || len(r.History) != len(found) {
				t.Errorf("%v are left, want %d: %+v", left, damage.left, r)
			}
		})
	}
}

// A block that a crash has cut off is no damage as long as the journal has what
// was in it, and is damage when it has not.
func TestHalfWrittenHistory(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		q := open(t, w, keeping)
		defer running(t, q)()
		for range 3 {
			enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		}
		synctest.Wait()
		block, _ := encodeBlock(q.store.active.stories, 0, 1)
		other, _ := encodeBlock([]story{sampleStory(1, time.Now())}, 0, 1)
		name := filepath.Join(historyName, segmentName(1))
		for cut := 0; cut <= len(block); cut += 41 {
			dir := copyDir(t, q.dir)
			if err := os.WriteFile(filepath.Join(dir, name), block[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, found := verified(t, dir); len(found) > 0 {
				t.Fatalf("cut at %d: %+v", cut, found)
			}
			again := open(t, &world{}, func(o *Options) { keeping(o); o.Dir = dir })
			if got := traced(t, again, "r@b.test"); len(got) != 3 {
				t.Errorf("cut at %d: %d stories, want 3", cut, len(got))
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
		dir := copyDir(t, q.dir)
		other[3] ^= 1 // in its head
		if err := os.WriteFile(filepath.Join(dir, name), other, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, found := verified(t, dir); len(found) != 1 || !strings.Contains(found[0].Reason, "they are no block") {
			t.Errorf("a story that the journal has not: %+v", found)
		}
		again := open(t, &world{}, func(o *Options) { keeping(o); o.Dir = dir })
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(b, other) {
			t.Errorf("a start has changed what is damaged (%v)", err)
		}
		if _, left := repairs(t, "after a start", dir); !slices.Contains(left, 1) || len(left) != 4 {
			t.Errorf("left are %v", left)
		}
	})
}
