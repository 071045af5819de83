package auth

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// replace puts text in the place of a file, all of it or nothing.
func replace(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".waypost-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if info, statErr := os.Stat(name); statErr == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			// Root edits for the service's user. Who is not root keeps what
			// he has, and that is right, too.
			_ = f.Chown(int(s.Uid), int(s.Gid))
		}
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock keeps a second editor out for as long as the first one works. It is on
// the directory, because the file itself is replaced.
func lock(name string) (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		dir.Close()
		return nil, err
	}
	return func() { dir.Close() }, nil
}
