package queue

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// tally is what a delivery or a message adds to the totals.
type tally struct{ messages, queued, deferred, held, bytes int64 }

func (t tally) plus(o tally) tally {
	return tally{t.messages + o.messages, t.queued + o.queued, t.deferred + o.deferred, t.held + o.held, t.bytes + o.bytes}
}

func (t tally) minus(o tally) tally {
	return tally{t.messages - o.messages, t.queued - o.queued, t.deferred - o.deferred, t.held - o.held, t.bytes - o.bytes}
}

// tallyOf counts the open recipients of d.
func tallyOf(d *Delivery) tally {
	var t tally
	for i := range d.Recipients {
		switch state := d.Recipients[i].State; {
		case !state.Open():
		case d.Held:
			t.held++
		case state == Queued:
			t.queued++
		default:
			t.deferred++
		}
	}
	return t
}

// totals is the sum of all tallies.
type totals struct {
	mu  sync.Mutex
	sum tally
}

func (t *totals) add(change tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum = t.sum.plus(change)
}

func (t *totals) get() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum
}

// ErrNoRoom means that too little space is left on the disk to take another
// message.
var ErrNoRoom = errors.New("no room for another message")

// room watches the free space of the data directory.
type room struct {
	dir    string
	mu     sync.Mutex
	asked  time.Time
	free   int64
	inodes int64
}

// inodeFloor is how many files must still fit.
const inodeFloor = 1000

// look returns the free space and inodes. It asks the file system at most once
// a second.
func (r *room) look() (free, inodes int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.asked.IsZero() || now.Sub(r.asked) >= time.Second {
		var s syscall.Statfs_t
		if err := syscall.Statfs(r.dir, &s); err != nil {
			return 0, 0, fmt.Errorf("ask for free space of %s: %w", r.dir, err)
		}
		r.asked, r.free, r.inodes = now, int64(s.Bavail)*s.Bsize, int64(s.Ffree)
		if s.Files == 0 { // a file system without a fixed number of them
			r.inodes = inodeFloor
		}
	}
	return r.free, r.inodes, nil
}

// Room returns ErrNoRoom when a message of size octets should not be taken:
// it is counted one and a half times, for the index grows too.
func (q *Queue) Room(size int64) error {
	free, inodes, err := q.room.look()
	if err != nil {
		return err
	}
	if size > free || free < q.opts.MinFree+size+size/2 || inodes < inodeFloor {
		return ErrNoRoom
	}
	return nil
}
