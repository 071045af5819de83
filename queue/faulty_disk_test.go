//go:build interop

package queue

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// faultyDiskEnv has the directories that a process is to serve.
const faultyDiskEnv = "WAYPOST_TEST_FAULTY_DISK"

// TestMain lets the program be the server of a faulty disk, too: one that maps
// a file cannot serve it itself.
func TestMain(m *testing.M) {
	if dirs := os.Getenv(faultyDiskEnv); dirs != "" {
		if err := serveFaultyDisk(dirs); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// faultyFS hands everything on to a directory, but for changes that are to fail.
type faultyFS struct {
	fuse.RawFileSystem
	mu      sync.Mutex
	names   map[uint64]string // of the nodes that were seen, from the root on
	nodes   map[string]uint64 // by parent and name
	count   int               // of changes since it was armed
	at      int               // the change that fails; 0 is none
	ever    bool              // those after it too
	status  fuse.Status
	injects []string // what failed
}

// fault counts a change, and says whether it fails.
func (f *faultyFS) fault(op string, node uint64, name string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.at == 0 || f.count < f.at || f.count > f.at && !f.ever {
		return fuse.OK
	}
	f.injects = append(f.injects, op+" "+filepath.Join(f.names[node], name))
	return f.status
}

// Init keeps the kernel from writing to the files below without us, which it
// would be told how to do here.
func (f *faultyFS) Init(*fuse.Server) {}

func (f *faultyFS) saw(parent uint64, name string, out *fuse.EntryOut, status fuse.Status) fuse.Status {
	if status.Ok() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.names[out.NodeId], f.nodes[fmt.Sprint(parent, name)] = filepath.Join(f.names[parent], name), out.NodeId
	}
	return status
}

func (f *faultyFS) Lookup(c <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return f.saw(h.NodeId, name, out, f.RawFileSystem.Lookup(c, h, name, out))
}

func (f *faultyFS) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if _, cuts := in.GetSize(); cuts {
		if s := f.fault("truncate", in.NodeId, ""); !s.Ok() {
			return s
		}
	}
	return f.RawFileSystem.SetAttr(c, in, out)
}

func (f *faultyFS) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := f.fault("mkdir", in.NodeId, name); !s.Ok() {
		return s
	}
	return f.saw(in.NodeId, name, out, f.RawFileSystem.Mkdir(c, in, name, out))
}

func (f *faultyFS) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := f.fault("create", in.NodeId, name); !s.Ok() {
		return s
	}
	return f.saw(in.NodeId, name, &out.EntryOut, f.RawFileSystem.Create(c, in, name, out))
}

func (f *faultyFS) Unlink(c <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := f.fault("unlink", h.NodeId, name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Unlink(c, h, name)
}

func (f *faultyFS) Rename(c <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if s := f.fault("rename", in.NodeId, from+" to "+to); !s.Ok() {
		return s
	}
	status := f.RawFileSystem.Rename(c, in, from, to)
	if status.Ok() {
		f.mu.Lock()
		defer f.mu.Unlock()
		node := f.nodes[fmt.Sprint(in.NodeId, from)]
		f.names[node], f.nodes[fmt.Sprint(in.Newdir, to)] = filepath.Join(f.names[in.Newdir], to), node
	}
	return status
}

func (f *faultyFS) Link(c <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := f.fault("link", in.NodeId, name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Link(c, in, name, out)
}

func (f *faultyFS) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if s := f.fault("write", in.NodeId, ""); !s.Ok() {
		return 0, s
	}
	return f.RawFileSystem.Write(c, in, data)
}

func (f *faultyFS) Writev(c <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if s := f.fault("write", in.NodeId, ""); !s.Ok() {
		return 0, s
	}
	return f.RawFileSystem.Writev(c, in, data)
}

func (f *faultyFS) Fallocate(c <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if s := f.fault("fallocate", in.NodeId, ""); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Fallocate(c, in)
}

func (f *faultyFS) Fsync(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := f.fault("fsync", in.NodeId, ""); !s.Ok() {
		return s
	}
	return fuse.OK // the disk below is not what is tested
}

func (f *faultyFS) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := f.fault("fsync of the directory", in.NodeId, ""); !s.Ok() {
		return s
	}
	return fuse.OK
}

// serveFaultyDisk serves until its input ends. A line of input arms the disk,
// and has what happened since the last one for an answer.
func serveFaultyDisk(dirs string) error {
	below, mount, _ := strings.Cut(dirs, ":")
	root, err := gofs.NewLoopbackRoot(below)
	if err != nil {
		return err
	}
	f := &faultyFS{names: map[uint64]string{}, nodes: map[string]uint64{}}
	f.RawFileSystem = gofs.NewNodeFS(root, &gofs.Options{})
	server, err := fuse.NewServer(f, mount, &fuse.MountOptions{DirectMountStrict: true, Name: "waypost-test"})
	if err != nil {
		return err
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return err
	}
	fmt.Println("serving")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		f.mu.Lock()
		fmt.Printf("%d %s\n", f.count, strings.Join(f.injects, ", "))
		errno := 0
		f.count, f.injects = 0, nil
		_, err := fmt.Sscan(in.Text(), &f.at, &errno, &f.ever)
		f.status = fuse.Status(errno)
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return server.Unmount()
}

// faultyDisk is a mounted one.
type faultyDisk struct {
	dir string // where it is mounted
	in  io.WriteCloser
	out *bufio.Reader
}

func newFaultyDisk(t *testing.T) *faultyDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("mounting a file system takes root")
	}
	below, mount := t.TempDir(), t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), faultyDiskEnv+"="+below+":"+mount)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &faultyDisk{dir: mount, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server of the disk: %v", err)
		}
	})
	if line, err := d.out.ReadString('\n'); line != "serving\n" {
		t.Fatalf("the server of the disk says %q (%v)", line, err)
	}
	return d
}

// arm has the n-th change from now on fail, and with ever all after it; 0 has
// none. It returns how many changes there were since it was called last, and
// which of them failed.
func (d *faultyDisk) arm(t *testing.T, n int, errno syscall.Errno, ever bool) (count int, failed string) {
	t.Helper()
	if _, err := fmt.Fprintln(d.in, n, int(errno), ever); err != nil {
		t.Fatal(err)
	}
	line, err := d.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	number, failed, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if _, err := fmt.Sscan(number, &count); err != nil {
		t.Fatal(err)
	}
	return count, failed
}

// leftOpen returns the files on the disk that this process has open.
func (d *faultyDisk) leftOpen(t *testing.T) (names []string) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		// The directory's own is gone by now.
		if name, err := os.Readlink(filepath.Join("/proc/self/fd", f.Name())); err == nil && strings.HasPrefix(name, d.dir) {
			names = append(names, name)
		}
	}
	return names
}
