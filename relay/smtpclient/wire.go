package smtpclient

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// wire is the connection with its deadlines. A cancelled context ends every
// wait at once and for good: no later deadline revives the connection.
type wire struct {
	raw  net.Conn // has the deadlines, also under TLS
	conn net.Conn // raw, or TLS on top of it

	mu    sync.Mutex
	cause error // why the context was cancelled; nil while it was not
}

// Read reads through TLS once that is there, so that a reader on top of the
// wire outlives STARTTLS.
func (w *wire) Read(p []byte) (int, error) { return w.conn.Read(p) }

// quiet reports whether the host neither spoke nor hung up, as far as can be
// seen without reading. Where nothing can be seen it is believed to be there.
func (w *wire) quiet() bool {
	socket, ok := w.raw.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var octet [1]byte
		_, _, err := syscall.Recvfrom(int(fd), octet[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// watch ties the wire to ctx until stop is called; stop returns false when
// ctx came first.
func (w *wire) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cause = context.Cause(ctx)
		_ = w.raw.SetDeadline(time.Unix(1, 0)) // fails on a closed connection only
	})
}

// cancelled returns the cause of a cancelled context, else nil.
func (w *wire) cancelled() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// limit gives what follows, reading and writing, d from now.
func (w *wire) limit(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause == nil {
		_ = w.raw.SetDeadline(time.Now().Add(d)) // a dead connection says so when it is used
	}
}
