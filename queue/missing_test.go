package queue

import (
	"bytes"
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

// A record is found again although the name of its bucket is damaged.
func TestRepairOfBucketNames(t *testing.T) {
	for _, name := range [][]byte{bucketMessage, bucketDelivery} {
		q := open(t, &world{}, nil)
		id := enqueue(t, q, "s@a.test", "x", "r@b.test")
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(q.dir, indexName)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wrong := bytes.Clone(name)
		wrong[2]++
		if err := os.WriteFile(file, bytes.ReplaceAll(b, name, wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := RepairDir(t.Context(), q.dir, func(Damage) {}); err != nil {
			t.Fatal(err)
		}
		again := open(t, &world{}, func(o *Options) { o.Dir = q.dir })
		if _, err := again.Show(id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}
