package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errStranger means that the peer is neither root nor our own user.
var errStranger = errors.New("the peer is another user")

// checkPeer asks the kernel who is at the other end. The socket's mode says
// the same, but a mode can be changed by mistake.
func checkPeer(conn *net.UnixConn) error {
	uid, err := peerUser(conn)
	if err != nil {
		return err
	}
	return admit(uid, uint32(os.Geteuid()))
}

func admit(uid, own uint32) error {
	if uid != 0 && uid != own {
		return fmt.Errorf("%w: uid %d", errStranger, uid)
	}
	return nil
}

func peerUser(conn syscall.Conn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("ask who connects: %w", err)
	}
	return peer.Uid, nil
}
