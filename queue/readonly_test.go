//go:build interop

package queue

import (
	"errors"
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
	w := &world{}
	for name, want := range queuesToLook(t) {
		t.Run(name, func(t *testing.T) {
			readOnlyDir(t, want.dir)
			lookAround(t, want)
			if _, err := Open(Options{Dir: want.dir, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, syscall.EROFS) {
				t.Errorf("opened to be used: %v", err)
			}
		})
	}
	t.Run("older", func(t *testing.T) {
		dir := testQueue(t, "format3")
		readOnlyDir(t, dir)
		if _, err := Open(Options{Dir: dir, Look: true, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, ErrFormat) {
			t.Errorf("opened: %v", err)
		}
	})
}
