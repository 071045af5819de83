package queue

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// reserveName is a file in the directory of the journal that does nothing but
// take space. It is given up when the disk is full: to deliver frees space, but
// what came of it must be written down first.
const reserveName = "reserve"

// reserveAgain is how long after a reserve could not be set aside that is tried again.
const reserveAgain = 10 * time.Second

// reserve is that file.
type reserve struct {
	name string
	size int64 // in octets; 0 is none
	log  *slog.Logger

	mu    sync.Mutex
	short bool // there is less than the file system says: a quota that it does not tell of
	tried time.Time
}

func newReserve(dir string, size int64, log *slog.Logger) *reserve {
	return &reserve{name: filepath.Join(dir, journalName, reserveName), size: size, log: log}
}

// enough reports whether there is as much space as the file system says, as far as
// the reserve can tell: where it could not be set aside, that is tried again.
func (r *reserve) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.short && time.Since(r.tried) >= reserveAgain {
		r.setAside()
	}
	return !r.short
}

// adjust gives the reserve up when less than low is free on the disk, and sets
// it aside, or does so again, when four times its size is.
func (r *reserve) adjust(low int64) {
	if r.size == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var fsys unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(r.name), &fsys); err != nil {
		return // whoever writes next says more
	}
	free := int64(fsys.Bavail) * fsys.Bsize
	info, err := os.Lstat(r.name)
	held := err == nil && info.Size() == r.size
	switch {
	case held && free < low:
		r.giveUp()
	case !held && free >= 4*r.size:
		r.setAside()
	}
}

// setAside takes the space, and notes when it is not there.
func (r *reserve) setAside() {
	before, err := r.short, r.take()
	r.short, r.tried = noSpace(err), time.Now()
	switch {
	case err == nil && before:
		r.log.Info("space set aside again for when the disk is full")
	case err != nil && (!before || !r.short):
		r.log.Warn("no space set aside for when the disk is full", "error", err.Error())
	}
}

// take makes the file, if there is room for two of its size: else the next message
// would take what was just set aside. Where the file system cannot set space aside
// there is none.
func (r *reserve) take() error {
	f, err := openRegular(r.name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err = unix.Fallocate(int(f.Fd()), 0, 0, 2*r.size); err == nil {
		err = f.Truncate(r.size)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(r.name))
	}
	return errors.Join(err, f.Close())
}

// giveUp frees the space, and reports whether there was any.
func (r *reserve) giveUp() bool {
	if err := os.Remove(r.name); err != nil {
		return false
	}
	r.log.Warn("the disk is full, and the space that was set aside for that is given up", "file", r.name)
	return true
}

// noSpace reports whether a write failed because the disk is full, or a quota.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
