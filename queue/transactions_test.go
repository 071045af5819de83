package queue

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A transaction that reads may have a checkpoint wait that makes the index larger,
// and with it all transactions that are begun later: who has one open must not wait
// for another, or for a commit.

// TestStartWaitsWithoutATransaction: what is to be due sooner is written when
// everything is loaded.
func TestStartWaitsWithoutATransaction(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
	spoilIndex(t, q, func(tx *bolt.Tx) error { return shift(t, tx, 365*24*time.Hour) })
	opened := make(chan struct{})
	var commits, open atomic.Int64
	q, err := Open(Options{Dir: q.dir, Deliverer: w, Router: w, Reporter: w, now: func() time.Time {
		<-opened
		if q.store.mu.TryRLock() {
			q.store.mu.RUnlock()
		} else { // a commit asks, and has read nothing yet
			commits.Add(1)
			open.Add(int64(q.store.db.Stats().OpenTxN))
		}
		return time.Now()
	}})
	if err != nil {
		t.Fatal(err)
	}
	close(opened)
	<-q.loaded
	if commits.Load() == 0 || open.Load() != 0 {
		t.Errorf("%d commits beside %d transactions", commits.Load(), open.Load())
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// counting is a context that notes how many transactions are open when it is asked.
type counting struct {
	context.Context
	queue *Queue
	last  int
}

// Err notes that.
func (c *counting) Err() error {
	c.last = c.queue.store.db.Stats().OpenTxN
	return nil
}

// TestVerifyReadsFilesWithoutATransaction: whether a message has left is asked of
// the queue.
func TestVerifyReadsFilesWithoutATransaction(t *testing.T) {
	q := open(t, &world{}, nil)
	enqueue(t, q, "s@a.test", strings.Repeat("0123456789\r\n", inlineLimit), "r@b.test")
	<-q.loaded
	ctx := &counting{Context: context.Background(), queue: q, last: -1}
	if v, err := q.Verify(ctx, func(d Damage) { t.Error(d.Reason) }); err != nil || v.Contents != 1 || ctx.last != 0 {
		t.Errorf("%+v, %v, beside %d transactions", v, err, ctx.last)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
