package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openRegular opens a file of the queue. Whatever else stands in its place is
// damage: a FIFO would have us wait for ever, a device may do anything, and a
// link leads out of the directory.
func openRegular(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		if odd := notRegular(name); odd != nil {
			return nil, odd
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = irregular(name, info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readRegular reads such a file.
func readRegular(name string) ([]byte, error) {
	f, err := openRegular(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

// notRegular says that there is something, and that it is no regular file.
func notRegular(name string) error {
	info, err := os.Lstat(name)
	if err != nil || info.Mode().IsRegular() {
		return nil
	}
	return irregular(name, info.Mode())
}

func irregular(name string, mode fs.FileMode) error {
	kind := "no regular file"
	switch {
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeSymlink != 0:
		kind = "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("%s is %w: it is %s", filepath.Base(name), ErrDamaged, kind)
}

// readDirectory lists a directory of the queue; what is none is damage.
func readDirectory(name string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(name)
	return entries, noDirectory(name, err)
}

// makeDirectory makes a directory of the queue, if it is not there.
func makeDirectory(name string) error {
	return noDirectory(name, os.MkdirAll(name, 0o700))
}

// noDirectory says what is wrong where err comes of something that is no
// directory.
func noDirectory(name string, err error) error {
	if info, wrong := os.Stat(name); err == nil || wrong == nil && info.IsDir() {
		return err
	}
	if _, wrong := os.Lstat(name); wrong != nil {
		return err
	}
	return fmt.Errorf("%s is %w: it is no directory", filepath.Base(name), ErrDamaged)
}

// checkDirectory refuses a data directory that is none.
func checkDirectory(dir string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return &fs.PathError{Op: "open data directory", Path: dir, Err: unix.ENOTDIR}
	}
	return nil
}
