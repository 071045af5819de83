package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// outputFile is a new file that has its name only when it is whole and on the
// disk.
type outputFile struct {
	name string
	temp *os.File
	err  error // of writing
}

// newOutputFile makes a file beside the one that is wanted, which may not be
// there.
func newOutputFile(name string) (*outputFile, error) {
	if _, err := os.Lstat(name); err == nil {
		return nil, usageError("%s is there already, and is not written over", name)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, outputError(err)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.partial") // with O_EXCL and mode 0600
	if err != nil {
		return nil, outputError(err)
	}
	return &outputFile{name: name, temp: temp}, nil
}

// Write appends to the file.
func (f *outputFile) Write(p []byte) (int, error) {
	n, err := f.temp.Write(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// commit gives the file its name. One that has appeared there meanwhile is not
// written over.
func (f *outputFile) commit() error {
	err := errors.Join(f.temp.Sync(), f.temp.Close())
	if err == nil {
		err = rename(f.temp.Name(), f.name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(f.name))
	}
	return outputError(err)
}

// discard removes what has not got its name.
func (f *outputFile) discard() {
	_ = f.temp.Close() // for the second time, after commit
	_ = os.Remove(f.temp.Name())
}

// rename gives a file another name that no file has.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return os.Link(from, to) // not every file system knows the one, nor the other
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
