package queue

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// disk makes durable what was written to journal and contents. What a failed
// call leaves behind is unknown, so none is ever repeated.
type disk interface {
	// sync makes a file durable with its length.
	sync(f *os.File) error
	// syncData does so for what is needed to read it again.
	syncData(f *os.File) error
	// syncDir makes the names in a directory durable.
	syncDir(name string) error
}

// kernel is the disk of everything but some tests.
type kernel struct{}

func (kernel) sync(f *os.File) error     { return f.Sync() }
func (kernel) syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
func (kernel) syncDir(name string) error { return syncDir(name) }

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
