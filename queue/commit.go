package queue

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// ErrClosed means that the queue takes no more changes.
var ErrClosed = errors.New("queue is closed")

// ErrStore means that a commit failed. What is on disk is then unknown: the
// process must end and start anew, and must never try the sync again.
var ErrStore = errors.New("queue storage failed")

// maxBatch bounds the operations of one commit, and so what the first of
// them waits for. It is far above what gathers while one commit runs.
const maxBatch = 1024

// op is one change. Its function runs in the committer. An error goes to its
// caller and leaves the rest of the batch alone; the function returns it before
// it has changed anything.
type op struct {
	apply func(*batch) error
	err   error
	done  chan struct{}
}

// commit applies one change and returns when it is on disk.
func (q *Queue) commit(apply func(*batch) error) error {
	o := &op{apply: apply, done: make(chan struct{})}
	select {
	case q.ops <- o:
	case <-q.stopped:
		return q.closedError()
	}
	<-o.done
	return o.err
}

// committer is the only writer. It takes whatever gathered while
// the last commit ran, without waiting for more, and makes it durable with one
// sync. The channel has no buffer, so an operation is either in a batch
// or still with its caller: none is lost when the committer ends.
func (q *Queue) committer() {
	defer close(q.stopped)
	var batch []*op
	for {
		select {
		case o := <-q.ops:
			batch = q.gather(append(batch[:0], o))
		case <-q.closing:
			return
		}
		if err := q.commitBatch(batch); err != nil {
			q.fail(err)
			finish(batch, err)
			return
		}
		finish(batch, nil)
	}
}

func (q *Queue) gather(batch []*op) []*op {
	// Whoever is about to hand something in does so first: on a busy machine that
	// saves a third of the syncs, and alone it takes no time.
	runtime.Gosched()
	for len(batch) < maxBatch {
		select {
		case o := <-q.ops:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

func (q *Queue) commitBatch(ops []*op) error {
	start := time.Now()
	err := q.store.commit(func(b *batch) {
		for _, o := range ops {
			o.err = b.run(o.apply)
		}
	})
	q.metrics.CommitDuration.Observe(time.Since(start).Seconds())
	q.metrics.CommitOperations.Observe(float64(len(ops)))
	if err != nil {
		return fmt.Errorf("%w: commit: %w", ErrStore, err)
	}
	return nil
}

func finish(batch []*op, err error) {
	for _, o := range batch {
		if err != nil {
			o.err = err
		}
		close(o.done)
	}
}

// fail records the first fatal error and tells whoever watches Failed.
func (q *Queue) fail(err error) {
	q.failOnce.Do(func() {
		if noSpace(err) {
			q.store.reserve.giveUp() // the next start must find some, and know of it
		}
		q.failure.Store(&err)
		close(q.failed)
	})
}

func (q *Queue) closedError() error {
	if err := q.failure.Load(); err != nil {
		return *err
	}
	return q.ended
}
