package control

import (
	"context"
	"fmt"
	"net"
	"time"

	"waypost/metrics"
	"waypost/queue"
)

const (
	// maxRequest bounds a request's body, in octets.
	maxRequest = 64 << 10
	// writeTimeout is for each piece of an answer, in place of the server's
	// own, and of an archive that comes in. Someone may be reading a long
	// message in a pager.
	writeTimeout = 10 * time.Minute
)

// Serve answers on ln with what q knows until ctx is done; then it closes ln,
// which removes the socket, gives running requests two seconds to finish, and
// returns nil. Any other end is an error. reload loads the configuration again,
// and explain answers questions, when somebody asks for that. Serve always
// closes ln, and the queue may be closed once it has returned. Waits and sizes
// are bounded as for the metrics.
func Serve(ctx context.Context, ln net.Listener, q *queue.Queue, reload func() (*Reloaded, error), explain func(context.Context, *Question) (*Explanation, error)) error {
	if err := metrics.Serve(ctx, ln, newHandler(q, reload, explain)); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}
