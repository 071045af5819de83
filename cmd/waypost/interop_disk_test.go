//go:build interop

package main_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// disk is a block device of the test's own: what was written and not flushed
// is in its cache, and a power cut takes any part of that away. The kernel has
// it through nbdfuse and a loop device, with ext4 on it.
type disk struct {
	t    testing.TB
	size int64

	mu      sync.Mutex
	current []byte // what reads see
	stable  []byte // what was flushed
	cached  []write
	writes  int
	broken  bool // every write and flush fails
	flushes int
	armed   int    // writes until the power is cut; 0 is never
	onCut   func() // called then, after what is left was copied

	fuse       *exec.Cmd
	mountPoint string // of the file system
	device     string // of the file that is the device
	listener   net.Listener
	serving    sync.WaitGroup
}

// write is one that the disk has taken and not flushed.
type write struct {
	offset int64
	data   []byte
}

// newDisk makes a disk with an empty ext4.
func newDisk(t testing.TB, size int64) *disk {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	command(t, tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-F", image)
	stable, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	d := &disk{t: t, size: size, stable: stable}
	t.Cleanup(d.unmount)
	return d
}

// mount attaches what is on the disk. The options are those of mount(8).
func (d *disk) mount(options string) {
	d.t.Helper()
	d.current, d.cached = append([]byte(nil), d.stable...), nil
	dir, err := os.MkdirTemp("", "waypost-disk-")
	if err != nil {
		d.t.Fatal(err)
	}
	d.device, d.mountPoint = filepath.Join(dir, "device"), filepath.Join(dir, "files")
	for _, name := range []string{d.device, d.mountPoint} {
		if err := os.Mkdir(name, 0o700); err != nil {
			d.t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "socket")
	if d.listener, err = net.Listen("unix", socket); err != nil {
		d.t.Fatal(err)
	}
	d.serving.Go(d.accept)
	d.fuse = exec.Command(tool(d.t, "nbdfuse", "libnbd-bin"), d.device, "--unix", socket)
	d.fuse.Stderr = os.Stderr
	if err := d.fuse.Start(); err != nil {
		d.t.Fatal(err)
	}
	file := filepath.Join(d.device, "nbd")
	waitFor(d.t, "nbdfuse", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() == d.size
	})
	command(d.t, "mount", "-t", "ext4", "-o", "loop,"+options, file, d.mountPoint)
}

// unmount detaches the disk. Who had files open on it has ended.
func (d *disk) unmount() {
	if d.fuse == nil {
		return
	}
	for _, name := range []string{d.mountPoint, d.device} {
		var out []byte
		err := errors.New("not tried")
		// The kernel lets go of files a moment after a process that was killed.
		for late := time.Now().Add(patience); err != nil && time.Now().Before(late); time.Sleep(tick) {
			out, err = exec.Command("umount", name).CombinedOutput()
		}
		if err != nil {
			d.t.Errorf("umount: %v: %s", err, out)
			_ = exec.Command("umount", "-l", name).Run() // so that the directory can go
		}
	}
	if err := d.fuse.Wait(); err != nil { // it ends with its file system
		d.t.Errorf("nbdfuse: %v", err)
	}
	_ = d.listener.Close() // it was open
	d.serving.Wait()
	d.fuse = nil
	if err := os.RemoveAll(filepath.Dir(d.device)); err != nil {
		d.t.Error(err)
	}
}

// arm cuts the power at the n-th write from now on. What is left is then on
// next; what is written after this moment goes to a disk that nobody will see
// again. onCut is called before that write is answered.
func (d *disk) arm(n int, random *rand.Rand, onCut func(next []byte, unflushed int)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = n
	d.onCut = func() { onCut(d.remains(random), len(d.cached)) }
}

// remains is what a power cut leaves: what was flushed, and of what was
// written since then some writes, of which some are torn. The caller holds the
// lock.
func (d *disk) remains(random *rand.Rand) []byte {
	next := append([]byte(nil), d.stable...)
	kept := [...]float64{0, 0.5, 0.95, 1}[random.IntN(4)] // of all writes
	torn := random.Float64()                              // of those kept
	for i, w := range d.cached {
		if random.Float64() >= kept {
			continue
		}
		data := w.data
		if i == len(d.cached)-1 || random.Float64() < torn {
			data = data[:random.IntN(len(data)/sector+1)*sector]
		}
		copy(next[w.offset:], data)
	}
	return next
}

// fail makes every write and flush fail from now on, or no more.
func (d *disk) fail(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

// written returns how many writes there were.
func (d *disk) written() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

func (d *disk) accept() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.serving.Go(func() {
			defer conn.Close()
			if err := d.serve(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				d.t.Logf("disk: %v", err)
			}
		})
	}
}

// The numbers of the NBD protocol that are needed here; see
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
const (
	nbdMagic       = 0x4e42444d41474943
	nbdOption      = 0x49484156454f5054
	nbdOptionReply = 0x3e889045565a9
	nbdRequest     = 0x25609513
	nbdReply       = 0x67446698

	nbdGo, nbdAck, nbdInfo, nbdUnsupported = 7, 1, 3, 1<<31 + 1
	nbdFlags                               = 1 | 4 // has flags, takes flushes

	nbdRead, nbdWrite, nbdDisconnect, nbdFlush = 0, 1, 2, 3
	nbdEIO, nbdEINVAL                          = 5, 22
)

// serve speaks NBD with one client, one request at a time.
func (d *disk) serve(conn net.Conn) error {
	c := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	if err := d.handshake(c); err != nil {
		return err
	}
	for {
		var r struct {
			Magic       uint32
			Flags, Type uint16
			Cookie      uint64
			Offset      uint64
			Length      uint32
		}
		if err := binary.Read(c, binary.BigEndian, &r); err != nil {
			return err
		}
		if r.Magic != nbdRequest {
			return fmt.Errorf("request begins with %x", r.Magic)
		}
		if r.Type == nbdDisconnect {
			return nil
		}
		var data []byte
		if r.Type == nbdWrite {
			data = make([]byte, r.Length)
			if _, err := io.ReadFull(c, data); err != nil {
				return err
			}
		}
		answer, code := d.do(r.Type, int64(r.Offset), int(r.Length), data)
		err := binary.Write(c, binary.BigEndian, struct {
			Magic, Error uint32
			Cookie       uint64
		}{nbdReply, code, r.Cookie})
		if err != nil {
			return err
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return err
		}
	}
}

// handshake gets over the options: the only one that matters is to go on.
func (d *disk) handshake(c *bufio.ReadWriter) error {
	hello := struct {
		Magic, Option uint64
		Flags         uint16
	}{nbdMagic, nbdOption, 1 | 2}
	if err := errors.Join(binary.Write(c, binary.BigEndian, hello), c.Flush()); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(c, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var option struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(c, binary.BigEndian, &option); err != nil {
			return err
		}
		if _, err := c.Discard(int(option.Length)); err != nil {
			return err
		}
		reply := func(kind uint32, data []byte) error {
			head := struct {
				Magic                uint64
				Option, Kind, Length uint32
			}{nbdOptionReply, option.Option, kind, uint32(len(data))}
			if err := binary.Write(c, binary.BigEndian, head); err != nil {
				return err
			}
			_, err := c.Write(data)
			return err
		}
		if option.Option != nbdGo {
			if err := errors.Join(reply(nbdUnsupported, nil), c.Flush()); err != nil {
				return err
			}
			continue
		}
		export := binary.BigEndian.AppendUint64([]byte{0, 0}, uint64(d.size))
		export = binary.BigEndian.AppendUint16(export, nbdFlags)
		return errors.Join(reply(nbdInfo, export), reply(nbdAck, nil), c.Flush())
	}
}

// do is one request. The code is an error number of NBD, 0 for none.
func (d *disk) do(kind uint16, offset int64, length int, data []byte) (answer []byte, code uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if offset < 0 || offset+int64(length) > d.size {
		return nil, nbdEINVAL
	}
	switch {
	case kind == nbdRead:
		return append([]byte(nil), d.current[offset:offset+int64(length)]...), 0
	case d.broken:
		return nil, nbdEIO
	case kind == nbdWrite:
		copy(d.current[offset:], data)
		d.cached = append(d.cached, write{offset, data})
		d.writes++
		if d.armed--; d.armed == 0 {
			d.onCut()
		}
		return nil, 0
	case kind == nbdFlush:
		for _, w := range d.cached {
			copy(d.stable[w.offset:], w.data)
		}
		d.cached = nil
		d.flushes++
		return nil, 0
	}
	return nil, nbdEINVAL
}

// command runs a program that has to succeed, and returns what it said.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}
