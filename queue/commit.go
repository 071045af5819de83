package queue

import (
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrClosed means that the queue takes no more changes.
var ErrClosed = errors.New("queue is closed")

// ErrStore means that a commit failed. What is on disk is then unknown: the
// process must end and start anew, and must never try the sync again.
var ErrStore = errors.New("queue storage failed")

// maxBatch bounds the operations of one commit, and so what the first of
// them waits for. With 5 KB messages it is far above what gathers while one
// commit runs.
const maxBatch = 4096

// op is one change to the index. Its function runs in the committer's
// transaction. An error that it returns before it wrote anything goes to its
// caller and leaves the rest of the batch alone; failed writes are fatal and
// are told apart by being wrapped in ErrStore.
type op struct {
	apply func(*bolt.Tx) error
	err   error
	done  chan struct{}
}

// commit applies one change and returns when it is on disk.
func (q *Queue) commit(apply func(*bolt.Tx) error) error {
	o := &op{apply: apply, done: make(chan struct{})}
	select {
	case q.ops <- o:
	case <-q.stopped:
		return q.closedError()
	}
	<-o.done
	return o.err
}

// committer is the only writer of the index. It takes whatever gathered while
// the last commit ran, without waiting for more, and makes it durable in one
// transaction. The channel has no buffer, so an operation is either in a batch
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

func (q *Queue) commitBatch(batch []*op) error {
	start := time.Now()
	err := q.db.Update(func(tx *bolt.Tx) error {
		for _, o := range batch {
			if o.err = o.apply(tx); errors.Is(o.err, ErrStore) {
				return o.err
			}
		}
		return nil
	})
	q.metrics.CommitDuration.Observe(time.Since(start).Seconds())
	q.metrics.CommitOperations.Observe(float64(len(batch)))
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
		q.failure.Store(&err)
		close(q.failed)
	})
}

func (q *Queue) closedError() error {
	if err := q.failure.Load(); err != nil {
		return *err
	}
	return ErrClosed
}

// put and remove wrap the index's own errors, none of which leaves the
// transaction usable.
func put(b *bolt.Bucket, key, value []byte) error {
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("%w: put: %w", ErrStore, err)
	}
	return nil
}

func remove(b *bolt.Bucket, key []byte) error {
	if err := b.Delete(key); err != nil {
		return fmt.Errorf("%w: delete: %w", ErrStore, err)
	}
	return nil
}
