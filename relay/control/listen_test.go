package control

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "control.sock")
}

func mustListen(t *testing.T, path string) net.Listener {
	t.Helper()
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return ln
}

// L-04: who may connect at all.
func TestSocketIsPrivateWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		path := socketPath(t)
		before := syscall.Umask(umask)
		ln, err := Listen(path)
		syscall.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != fs.ModeSocket|0o600 {
			t.Errorf("umask %03o: the mode is %v", umask, got)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close: %v, want no socket", err)
		}
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	mustListen(t, path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// L-03: a link.
func TestSomethingElseStays(t *testing.T) {
	path := socketPath(t)
	if err := os.Symlink("/etc/passwd", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v, want a refusal", err)
	}
	if target, err := os.Readlink(path); target != "/etc/passwd" {
		t.Errorf("what was there: %q, %v", target, err)
	}
}

func TestSecondCloseLeavesSuccessorAlone(t *testing.T) {
	path := socketPath(t)
	first := mustListen(t, path)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustListen(t, path)
	if err := first.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control.sock")
	ln := mustListen(t, path)
	client, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v, want no socket", err)
	}
	if _, err := Dial(path); err == nil {
		t.Error("someone answers after Close")
	}
}

func TestAdmit(t *testing.T) {
	for _, test := range []struct {
		uid, own uint32
		ok       bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {65534, 1000, false}} {
		if err := admit(test.uid, test.own); (err == nil) != test.ok || (err != nil && !errors.Is(err, errStranger)) {
			t.Errorf("uid %d at a waypost of uid %d: %v", test.uid, test.own, err)
		}
	}
}

// L-04: other users.
func TestStrangersAreTurnedAway(t *testing.T) {
	path := socketPath(t)
	ln := mustListen(t, path)
	strangers := 1
	ln.(*listener).check = func(c *net.UnixConn) error {
		if err := checkPeer(c); err != nil { // it is us
			return err
		}
		if strangers--; strangers >= 0 {
			return errStranger
		}
		return nil
	}
	stranger, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	friend, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := stranger.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the stranger reads %v, want the end", err)
	}
	if _, err := io.WriteString(friend, "x"); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("from the friend: %d octets, %v", n, err)
	}
}
