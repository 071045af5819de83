package relay

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/configs"
	"waypost/metrics"
	"waypost/queue"
)

// ErrNoQueue means that there is no queue in a data directory.
var ErrNoQueue = errors.New("there is no queue")

// OpenQueue opens the queue of a waypost that is not running, to look at it, which
// writes nothing, or to change it. Nothing is delivered. The caller must call done in the end. A
// data directory that another process holds is a *queue.InUseError; one without
// a queue is ErrNoQueue, and nothing is made there.
func OpenQueue(c *configs.Config, look bool, o Options) (q *queue.Queue, done func() error, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// The index is the one thing that every queue has.
	if _, err := os.Stat(filepath.Join(c.DataDir, "index.db")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrNoQueue
	} else if err != nil {
		return nil, nil, err
	}
	r := &Relay{config: c, log: o.Log, registry: prometheus.NewRegistry()}
	r.metrics = metrics.New(r.registry)
	if err := r.openQueue(look); err != nil {
		return nil, nil, errors.Join(err, r.close())
	}
	return r.queue, r.close, nil
}
