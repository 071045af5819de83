//go:build interop

package queue

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// readOnlyDir has a directory where nothing can be changed until the test ends.
func readOnlyDir(t *testing.T, dir string) {
	t.Helper()
	err := errors.Join(syscall.Mount(dir, dir, "", syscall.MS_BIND, ""), syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	if err != nil {
		t.Fatalf("a read-only mount, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// A queue on a read-only file system can be looked at as it is, with what only
// the journal has, and nothing can be changed.
func TestReadOnly(t *testing.T) {
	w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("not now")) }}
	q := open(t, w, nil)
	var ids []ID
	for i := range 4 {
		ids = append(ids, enqueue(t, q, "s@a.test", largeContent(i)[:(inlineLimit+9)*(i%2)+99], fmt.Sprintf("r%d@b.test", i)))
		if i == 1 {
			if err := q.checkpoint(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := q.HoldDestination("b.test"); err != nil {
		t.Fatal(err)
	}
	gone := enqueue(t, q, "s@a.test", "gone\r\n", "r@c.test")
	if _, err := q.Remove(Filter{IDs: []ID{gone, ids[0]}}); err != nil {
		t.Fatal(err)
	}
	ids = ids[1:]
	want, stats := described(t, q), q.Stats()
	killed := copyDir(t, q.dir)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, dir string }{{"killed", killed}, {"stopped", q.dir}} {
		t.Run(tc.name, func(t *testing.T) {
			readOnlyDir(t, tc.dir)
			if v, found := verified(t, tc.dir); v.Messages != 3 || len(found) > 0 {
				t.Errorf("%+v, %+v", v, found)
			}
			q := open(t, &world{}, func(o *Options) { o.Dir, o.Look = tc.dir, true })
			<-q.loaded
			if got := described(t, q); !maps.Equal(got, want) || len(q.HeldDestinations()) != 1 {
				t.Errorf("%v, want %v; %d on hold", got, want, len(q.HeldDestinations()))
			}
			if got := q.Stats(); got.Messages != stats.Messages || got.Bytes != stats.Bytes || got.Queued != stats.Queued {
				t.Errorf("%+v, was %+v", got, stats)
			}
			if done, err := q.Export(t.Context(), io.Discard, ExportOptions{}); err != nil || done.Messages != 3 {
				t.Errorf("exported: %+v, %v", done, err)
			}
			if _, err := q.Hold(Filter{IDs: ids}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("put on hold: %v", err)
			}
			if err := q.NewDraft().Commit(Envelope{}, []Recipient{{Path: path("r@b.test")}}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("taken: %v", err)
			}
			if _, err := Open(Options{Dir: tc.dir, Look: true, Deliverer: w, Router: w, Reporter: w}); !isInUse(err) {
				t.Errorf("opened a second time: %v", err)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			if _, err := Open(Options{Dir: tc.dir, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, syscall.EROFS) {
				t.Errorf("opened to be used: %v", err)
			}
		})
	}
	t.Run("backup", func(t *testing.T) { // which has never been locked
		q := open(t, w, nil)
		for range 3 {
			enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		}
		dir := filepath.Join(t.TempDir(), "backup")
		if _, err := q.Backup(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		want := described(t, q)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		readOnlyDir(t, dir)
		if v, found := verified(t, dir); v.Messages != 3 || len(found) > 0 {
			t.Errorf("%+v, %+v", v, found)
		}
		q = open(t, &world{}, func(o *Options) { o.Dir, o.Look = dir, true })
		if got := described(t, q); !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
			t.Errorf("%v, want %v", got, want)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("older", func(t *testing.T) {
		dir := testQueue(t, "format3")
		readOnlyDir(t, dir)
		if _, err := Open(Options{Dir: dir, Look: true, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, ErrFormat) {
			t.Errorf("opened: %v", err)
		}
	})
}

func isInUse(err error) bool {
	_, ok := errors.AsType[*InUseError](err)
	return ok
}
