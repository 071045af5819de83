package queue

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A queue whose last segment is gone is not taken for one that has nothing in
// it, whether it was ever full enough for a checkpoint or not.
func TestLastSegmentIsMissed(t *testing.T) {
	for _, closed := range []bool{false, true} {
		q := open(t, &world{}, nil)
		enqueue(t, q, "s@a.test", "x", "r@b.test")
		dir := copyDir(t, q.dir) // as a kill would leave it
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if closed {
			dir = q.dir
		}
		journal := filepath.Join(dir, journalName)
		if err := errors.Join(os.RemoveAll(journal), os.Mkdir(journal, 0o700)); err != nil {
			t.Fatal(err)
		}
		w := &world{}
		if _, err := Open(Options{Dir: dir, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "journal segment 1 is damaged") {
			t.Fatalf("closed %v: opened, %v", closed, err)
		}
		if v, found := verified(t, dir); v.Damages != 1 || found[0].File != journalName {
			t.Errorf("closed %v: verify found %+v", closed, found)
		}
		// What is left can be had.
		if r, err := RepairDir(t.Context(), dir, func(Damage) {}); err != nil || closed != (r.Messages == 1) {
			t.Errorf("closed %v: repaired to %+v, %v", closed, r, err)
		}
		again := open(t, w, func(o *Options) { o.Dir = dir })
		if n := again.Stats().Messages; closed != (n == 1) {
			t.Errorf("closed %v: %d messages after the repair", closed, n)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}
