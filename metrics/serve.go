package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of the endpoint. The port may stand open to a whole network, so each
// wait and each size has an end.
const (
	maxConnections = 64
	maxHeaderBytes = 8 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 90 * time.Second
	closeTimeout   = 2 * time.Second
)

// Serve answers HTTP requests on ln with h until ctx is done; then it closes ln,
// gives running requests two seconds to finish, and returns nil. Any other end,
// such as a failing listener, is an error. At most 64 connections are open at
// once; further ones wait in the listener's backlog. Serve always closes ln.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
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
	// Serve has closed the listener; this ends the connections it left.
	_ = srv.Close()
	return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
}

// shutdown lets running requests finish for a little while, then ends them.
func shutdown(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		_ = srv.Close()
	}
}
