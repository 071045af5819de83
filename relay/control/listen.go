package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// socketMode lets nobody in but the owner and root.
const socketMode = 0o600

// Listen makes the control socket at path, with mode 0600 from its first
// moment, whatever the umask. The caller must hold the lock on the data
// directory: a socket that is there already is then what a crash left behind,
// and is removed. Anything else that is there stays, and is an error. Closing
// the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	ln, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket %s: %w", path, err)
	}
	return ln, nil
}

func listen(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	address, done, err := socketAddress(path)
	if err != nil {
		return nil, err
	}
	defer done()
	// The mode of the socket's file is that of the descriptor when it is
	// bound, less the umask, so there is no moment at which it is wider.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), socketMode) })
		return errors.Join(err, failed)
	}}
	ln, err := config.Listen(context.Background(), "unix", address)
	if err != nil {
		return nil, bare(err)
	}
	unix := ln.(*net.UnixListener)
	unix.SetUnlinkOnClose(false) // the name may be another one than path
	l := &listener{UnixListener: unix, path: path, check: checkPeer}
	// A umask can also have taken away too much.
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket that a crash left behind.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is not a socket has this name; move it away")
	}
	return os.Remove(path)
}

// listener removes its socket when it is closed, and turns strangers away.
type listener struct {
	*net.UnixListener
	path  string
	check func(*net.UnixConn) error // who may connect
}

// Accept returns the next connection of root or of our own user.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := l.check(conn); err == nil {
			return conn, nil
		}
		_ = conn.Close() // a stranger learns nothing, not even why
	}
}

// Close closes and removes the socket.
func (l *listener) Close() error {
	// A second Close fails here, and must not remove a successor's socket.
	if err := l.UnixListener.Close(); err != nil {
		return err
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the control socket: %w", err)
	}
	return nil
}

// bare takes off what the net package says about an address, which may not be
// the path that the reader knows.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
