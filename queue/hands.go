package queue

import (
	"context"
	"sync"
	"sync/atomic"
)

// mostIdleHands is how many goroutines wait for work at most; each keeps a stack of some kilobytes.
const mostIdleHands = 32

// hands are the goroutines in which workers work. Those that are done wait for the
// next worker: in a relay that is quick most workers have one message, and growing
// a new stack for each took 2.5 % of its processor time.
type hands struct {
	work func(*worker)
	next chan *worker
	idle atomic.Int32
	all  sync.WaitGroup
}

// start has somebody work, and does not wait.
func (h *hands) start(ctx context.Context, w *worker) {
	select {
	case h.next <- w:
	default:
		h.all.Go(func() { h.run(ctx, w) })
	}
}

func (h *hands) run(ctx context.Context, w *worker) {
	for {
		h.work(w)
		if h.idle.Add(1) > mostIdleHands {
			h.idle.Add(-1)
			return
		}
		select {
		case w = <-h.next:
			h.idle.Add(-1)
		case <-ctx.Done():
			return
		}
	}
}
