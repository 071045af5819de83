package control

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxAddress is how long the address of a Unix socket can be, without the
// final NUL (unix(7)).
const maxAddress = 107

// socketAddress returns an address for the socket at path that fits into the
// system's limit: path itself, or a way around through the directory's
// descriptor, which lasts until done is called.
func socketAddress(path string) (address string, done func(), err error) {
	if len(path) <= maxAddress {
		return path, func() {}, nil
	}
	dir, err := os.OpenFile(filepath.Dir(path), syscall.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	address = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return address, func() { _ = dir.Close() }, nil
}
