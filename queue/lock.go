package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockName is the file that is locked.
const lockName = "lock"

// InUseError means that another process has the data directory.
type InUseError struct {
	// Dir is the data directory.
	Dir string
	// Holder is what the other process wrote of itself, "pid 123 since …";
	// empty when it wrote nothing.
	Holder string
}

// Error names the directory and who holds it.
func (e *InUseError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("data directory %s is in use by %s", e.Dir, holder)
}

// lockDir takes the directory for this process, at once or not at all. The
// kernel gives the lock back when the process ends, however it ends.
func lockDir(dir, holder string) (*os.File, error) {
	f, err := openRegular(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := flock(f, dir, syscall.LOCK_EX); err != nil {
		return nil, err
	}
	// Who has it is a courtesy, too, and a full disk has no room for it.
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(holder+"\n"), 0)
	return f, nil
}

// flock locks an open file, LOCK_EX or LOCK_SH, and closes it when another process
// was quicker.
func flock(f *os.File, dir string, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := "a command that looks at it" // which has not written that there
		if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil {
			var b [256]byte
			n, _ := f.ReadAt(b[:], 0) // what it says is a courtesy
			holder = strings.TrimSpace(string(b[:n]))
		}
		f.Close()
		return &InUseError{Dir: dir, Holder: holder}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lock data directory: %w", err), f.Close())
	}
	return nil
}
