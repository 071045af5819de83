package queue

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FileSystem is what a data directory is on.
type FileSystem struct {
	// Dir is the directory that was looked at: the data directory, or the one
	// above it that exists.
	Dir string
	// Name is what the system calls it, "tmpfs"; empty for one that keeps what
	// is synced, as far as we know.
	Name string
	// Volatile says that its files end with the host or with the container, so
	// that it keeps no mail.
	Volatile bool
	// Network says that it is, or can be, another host's, whose locks and
	// syncs do not always mean what they say.
	Network bool
	// ReadOnly says that it takes no changes now.
	ReadOnly bool
}

// fileSystems are those that are known to keep less than they promise, by the
// magic number that statfs(2) gives.
var fileSystems = map[uint32]FileSystem{
	0x01021994: {Name: "tmpfs", Volatile: true},
	0x858458f6: {Name: "ramfs", Volatile: true},
	0x794c7630: {Name: "overlayfs", Volatile: true}, // the layer of a container
	0x61756673: {Name: "aufs", Volatile: true},      // the same, before overlayfs

	0x00006969: {Name: "NFS", Network: true},
	0x0000517b: {Name: "SMB", Network: true},
	0xff534d42: {Name: "CIFS", Network: true},
	0xfe534d42: {Name: "SMB2", Network: true},
	0x00c36400: {Name: "Ceph", Network: true},
	0x5346414f: {Name: "AFS", Network: true},
	0x0bd00bd0: {Name: "Lustre", Network: true},
	0x01021997: {Name: "9P", Network: true},   // a directory of a virtual machine's host
	0x65735546: {Name: "FUSE", Network: true}, // sshfs, GlusterFS and the like
}

// FileSystemOf looks at the file system that dir is on, or will be on when it
// is made.
func FileSystemOf(dir string) (FileSystem, error) {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(dir, &s)
		if err == nil {
			f := fileSystems[uint32(s.Type)]
			f.Dir, f.ReadOnly = dir, s.Flags&unix.ST_RDONLY != 0
			return f, nil
		}
		above := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || above == dir {
			return FileSystem{Dir: dir}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
		dir = above
	}
}
