package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/dialogue"
	"waypost/relay/tap"
)

const (
	// maxRequest bounds a request's body, in octets.
	maxRequest = 64 << 10
	// writeTimeout is for each piece of an answer, in place of the server's
	// own, and of an archive that comes in. Someone may be reading a long
	// message in a pager.
	writeTimeout = 10 * time.Minute
)

// Service is what a running waypost answers with.
type Service struct {
	Queue *queue.Queue
	// Reload loads the configuration again; nil is a waypost that does not run.
	Reload func() (*Reloaded, error)
	// Explain answers questions; nil is a waypost that does not run.
	Explain func(context.Context, *Question) (*Explanation, error)
	// Pace says how fast mail may leave where a destination leads, nil where that is
	// not known; a nil function is a waypost that does not run.
	Pace func(destination string) *ExplainedPace
	// Listeners returns the addresses on which mail is taken; nil is a waypost
	// that does not run.
	Listeners func() []string
	// Log is where messages can be followed; nil is a waypost that does not run.
	Log *tap.Tap
	// Metrics are those of the relay; nil is a waypost that does not run.
	Metrics prometheus.Gatherer
	// Dialogues are where sessions can be read along in; nil is a waypost that
	// does not run.
	Dialogues *dialogue.Hub
	// Level is that of the log, where it can be changed for a while; nil where
	// not.
	Level *slog.LevelVar
}

// Serve answers on ln with what s has until ctx is done; then it closes ln,
// which removes the socket, gives running requests two seconds to finish, and
// returns nil. Any other end is an error. Serve always closes ln, and the queue
// may be closed once it has returned. Waits and sizes are bounded as for the
// metrics.
func Serve(ctx context.Context, ln net.Listener, s Service) error {
	if err := metrics.Serve(ctx, ln, newHandler(s.Queue, s)); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}
