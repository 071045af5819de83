package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"waypost/queue"
)

// Bounds of the server. Only our own user and root come this far, so they
// guard against accidents.
const (
	maxConnections = 32
	maxHeaderBytes = 8 << 10
	maxRequest     = 64 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	idleTimeout    = 30 * time.Second
	closeTimeout   = 2 * time.Second
	// writeTimeout is for each piece of an answer. Someone may be reading a
	// long message in a pager.
	writeTimeout = 10 * time.Minute
)

// Serve answers on ln with what q knows until ctx is done; then it closes ln,
// which removes the socket, gives running requests two seconds to finish, and
// returns nil. Any other end is an error. Serve always closes ln, and the
// queue may be closed once it has returned.
func Serve(ctx context.Context, ln net.Listener, q *queue.Queue) error {
	return serve(ctx, ln, newHandler(q))
}

func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		shutdown(srv)
	})
	err := srv.Serve(netutil.LimitListener(ln, maxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		<-closed
		return nil
	}
	if !stop() {
		<-closed
	}
	_ = srv.Close() // the listener is closed already; this is for the connections
	return fmt.Errorf("serve the control socket: %w", err)
}

// shutdown lets running requests finish for a little while, then ends them.
func shutdown(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		_ = srv.Close() // it is the listener's error, which is closed already
	}
}
