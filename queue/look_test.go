package queue

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waypost/metrics"
)

// looked is a queue that nobody has open, and what is to be seen in it.
type looked struct {
	dir   string
	there map[ID]string // as described has it
	gone  ID            // left; 0 where no history tells of it
	holds int
	stats metrics.QueueStats
}

// queuesToLook are what a kill leaves, what an orderly end does, and a backup, which
// nobody has ever locked. Some of each is in the index, and some in a file.
func queuesToLook(t *testing.T) map[string]looked {
	t.Helper()
	q := open(t, &world{}, keeping)
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
	there, stats := described(t, q), q.Stats()
	all := map[string]looked{"killed": {copyDir(t, q.dir), there, gone, 1, stats}}
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := q.Backup(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	all["backup"] = looked{dir, there, 0, 1, stats}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	all["stopped"] = looked{q.dir, there, gone, 1, stats}
	return all
}

// lookAround asks for all that can be seen, and for some that would be a change.
func lookAround(t *testing.T, want looked) {
	t.Helper()
	if v, found := verified(t, want.dir); v.Messages != 3 || len(found) > 0 {
		t.Errorf("%+v, %+v", v, found)
	}
	look := func(o *Options) { keeping(o); o.Dir, o.Look = want.dir, true }
	q := open(t, &world{}, look)
	<-q.loaded
	if got := described(t, q); !maps.Equal(got, want.there) || len(q.HeldDestinations()) != want.holds {
		t.Errorf("%v, want %v; %d on hold", got, want.there, len(q.HeldDestinations()))
	}
	if got := q.Stats(); got.Messages != want.stats.Messages || got.Bytes != want.stats.Bytes || got.Queued != want.stats.Queued || got.Held != want.stats.Held {
		t.Errorf("%+v, was %+v", got, want.stats)
	}
	if done, err := q.Export(t.Context(), io.Discard, ExportOptions{}); err != nil || done.Messages != 3 {
		t.Errorf("exported: %+v, %v", done, err)
	}
	if want.gone != 0 && !slices.Equal(traced(t, q, want.gone.String()), []ID{want.gone}) {
		t.Errorf("the history does not tell of %s once", want.gone)
	}
	if _, err := q.Hold(Filter{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("put on hold: %v", err)
	}
	if err := q.NewDraft().Commit(Envelope{}, []Recipient{{Path: path("r@b.test")}}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("taken: %v", err)
	}
	// Who looks is not in the way of others who do.
	also := open(t, &world{}, look)
	if v, found := verified(t, want.dir); v.Messages != 3 || len(found) > 0 {
		t.Errorf("beside others: %+v, %+v", v, found)
	}
	if err := errors.Join(also.Close(), q.Close()); err != nil {
		t.Error(err)
	}
}

// treeOf is everything in a directory: names, when they were changed, and what is in
// the files.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		all[name] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(name)
			all[name] += fmt.Sprintf(" %x", sha256.Sum256(b))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// To look at a queue changes no octet of it.
func TestLook(t *testing.T) {
	for name, want := range queuesToLook(t) {
		t.Run(name, func(t *testing.T) {
			before := treeOf(t, want.dir)
			lookAround(t, want)
			if after := treeOf(t, want.dir); !maps.Equal(after, before) {
				t.Errorf("changed from %v to %v", before, after)
			}
		})
	}
}

// Nobody changes what somebody looks at, and nobody looks while it is changed.
func TestLookAndChange(t *testing.T) {
	q := open(t, &world{}, nil)
	look, change := func(o *Options) { o.Dir, o.Look = q.dir, true }, func(o *Options) { o.Dir = q.dir }
	wantInUse := func(edit func(*Options), by string) {
		t.Helper()
		o := Options{Deliverer: &world{}, Router: &world{}, Reporter: &world{}}
		edit(&o)
		again, err := Open(o)
		if used, ok := errors.AsType[*InUseError](err); !ok || !strings.HasPrefix(used.Holder, by) {
			t.Errorf("opened: %v, want it to be in use by %s…", err, by)
		}
		if err == nil {
			_ = again.Close()
		}
	}
	wantInUse(look, fmt.Sprintf("pid %d, since ", os.Getpid()))
	if _, err := VerifyDir(t.Context(), q.dir, func(Damage) {}); err == nil {
		t.Error("a running queue was verified from outside")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	looking := open(t, &world{}, look)
	wantInUse(change, "a command that looks at it")
	if _, err := RepairDir(t.Context(), q.dir, func(Damage) {}); err == nil {
		t.Error("repaired under the eyes of another")
	}
	if err := looking.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, &world{}, change).Close(); err != nil {
		t.Error(err)
	}
}

// One of an older version is upgraded first.
func TestLookAtOlderVersion(t *testing.T) {
	for _, name := range []string{"format2", "format3", "format4"} {
		t.Run(name, func(t *testing.T) {
			dir := testQueue(t, name)
			q := open(t, &world{}, func(o *Options) { o.Dir, o.Look = dir, true })
			if q.Stats().Messages == 0 {
				t.Error("nothing is there")
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
