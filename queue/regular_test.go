package queue

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// whatIsNoFile makes things that are not what stood there before.
var whatIsNoFile = map[string]func(name string) error{
	"FIFO":      func(name string) error { return unix.Mkfifo(name, 0o600) },
	"socket":    func(name string) error { return unix.Mknod(name, unix.S_IFSOCK|0o600, 0) },
	"directory": func(name string) error { return os.MkdirAll(filepath.Join(name, "with", "more"), 0o700) },
	"loop":      func(name string) error { return os.Symlink(filepath.Base(name), name) },
	"dangling":  func(name string) error { return os.Symlink("nowhere", name) },
	"link":      func(name string) error { return os.Symlink("/dev/zero", name) },
}

// Whatever is in the place of a file, nothing waits for it: a start is refused,
// or goes on without it; verify names it; and a repair leaves a queue without it.
func TestWhatIsNoFile(t *testing.T) {
	base := t.TempDir()
	q := open(t, &world{}, func(o *Options) { keeping(o); o.Dir = filepath.Join(base, "whole") })
	small := enqueue(t, q, "s@a.test", "small\r\n", "r@b.test")
	large := enqueue(t, q, "s@a.test", largeContent(1), "r@b.test")
	gone := enqueue(t, q, "s@a.test", "gone\r\n", "r@b.test")
	if _, err := q.Remove(Filter{IDs: []ID{gone}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(q.checkpoint(nil), q.Close()); err != nil {
		t.Fatal(err)
	}
	last, err := segments(filepath.Join(q.dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		left []ID // once it is repaired
		goes bool // without it
	}{
		{indexName, []ID{small, large}, false},
		{filepath.Join(journalName, segmentName(last[len(last)-1])), []ID{small, large}, false}, // it was brought in
		{filepath.Join(journalName, markName), []ID{small, large}, false},
		{filepath.Join(journalName, spareName), []ID{small, large}, false},
		{contentPath(large), []ID{small}, true},
		{historyPath(1), []ID{small, large}, true},
		{journalName, []ID{small, large}, false},
		{contentName, []ID{small}, false},
		{historyName, []ID{small, large}, true},
	} {
		for kind, make := range whatIsNoFile {
			if kind == "directory" && filepath.Ext(tc.name) == "" && filepath.Dir(tc.name) == "." {
				continue // that it is
			}
			t.Run(kind+" for "+tc.name, func(t *testing.T) {
				spoilt := func() string {
					dir := copyDir(t, q.dir)
					name := filepath.Join(dir, tc.name)
					if err := errors.Join(os.RemoveAll(name), make(name)); err != nil {
						t.Fatal(err)
					}
					return dir
				}
				checkWhatIsNoFile(t, spoilt, tc.name, tc.goes, tc.left)
			})
		}
	}
}

func checkWhatIsNoFile(t *testing.T, spoilt func() string, name string, goes bool, left []ID) {
	q, err := Open(Options{Dir: spoilt(), Deliverer: &world{}, Router: &world{}, Reporter: &world{}, History: HistoryOptions{Size: 1 << 20}})
	if err == nil {
		err = q.Close()
	} else if !errors.Is(err, ErrDamaged) {
		t.Errorf("refused with %v", err)
	}
	if goes != (err == nil) {
		t.Errorf("a start: %v", err)
	}
	dir := spoilt()
	_, found := verified(t, dir)
	named := false
	for _, d := range found {
		named = named || d.File == name && strings.Contains(d.Reason, "damaged: it is ")
	}
	if !named {
		t.Errorf("found %+v", found)
	}
	if r, err := RepairDir(t.Context(), dir, func(Damage) {}); err != nil || r.Messages != int64(len(left)) {
		t.Fatalf("repaired: %+v, %v", r, err)
	}
	if v, found := verified(t, dir); len(found) > 0 {
		t.Errorf("left is %+v, %+v", v, found)
	}
	q = open(t, &world{}, func(o *Options) { keeping(o); o.Dir = dir })
	for _, id := range left {
		if _, err := q.Show(id); err != nil {
			t.Error(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
