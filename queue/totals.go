package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
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

// appendTo encodes t, for the journal and the index.
func (t tally) appendTo(b []byte) []byte {
	for _, n := range [...]int64{t.messages, t.queued, t.deferred, t.held, t.bytes} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func (d *decoder) tally() (t tally) {
	for _, n := range [...]*int64{&t.messages, &t.queued, &t.deferred, &t.held, &t.bytes} {
		*n = d.signed()
	}
	return t
}

// classTally is a change to the totals of a message class.
type classTally struct {
	class  string
	change tally
}

// count adds to the totals of a class, in the same commit as what it counts.
func (b *batch) count(class string, change tally) {
	for i := range b.counted {
		if b.counted[i].class == class {
			b.counted[i].change = b.counted[i].change.plus(change)
			return
		}
	}
	b.counted = append(b.counted, classTally{class, change})
}

// total writes the totals that follow from what was counted. The index gets
// them with the rest of the overlay; readers see them once they are durable.
func (s *store) total(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range b.counted {
		t := s.totals[c.class].plus(c.change)
		s.active.totals[c.class] = t
		b.changes = appendTotals(b.changes, c.class, t)
	}
}

// publish lets readers see what was counted.
func (s *store) publish(counted []classTally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range counted {
		s.totals[c.class] = s.totals[c.class].plus(c.change)
	}
}

// byClass returns the totals by class.
func (s *store) byClass() map[string]tally {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.totals)
}

// sum returns the totals of all classes together.
func (s *store) sum() (all tally) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.totals {
		all = all.plus(t)
	}
	return all
}

// totalsKey is where the totals of a class stand in the index. A key may not
// be empty, and the default class is.
func totalsKey(class string) []byte { return []byte("=" + class) }

// parseTotals reads an element of the bucket in an index of that version.
func parseTotals(version uint32, key, record []byte) (class string, t tally, ok bool) {
	value, ok := unseal(version, key, record)
	d := decoder{b: value}
	t = d.tally()
	if !ok || d.bad || len(key) == 0 {
		return "", t, false
	}
	return string(key[1:]), t, true
}

// bringInTotals writes those of an overlay into the index. Without the bucket
// everything is to be counted anew.
func bringInTotals(tx *bolt.Tx, o *overlay) error {
	bucket := tx.Bucket(bucketTotals)
	if bucket == nil {
		return nil
	}
	for class, t := range o.totals {
		err := error(nil)
		if t == (tally{}) {
			err = bucket.Delete(totalsKey(class)) // it may be no class any more
		} else {
			err = bucket.Put(totalsKey(class), seal(totalsKey(class), t.appendTo(nil)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadTotals reads the totals that the index has. An index of an older version
// has none, and one that was repaired may have none: they are counted then.
func (s *store) loadTotals() error {
	known, err := s.readTotals()
	if err != nil || known {
		return err
	}
	return s.db.Update(s.recount)
}

// readTotals reads them, and reports whether they are there and whole.
func (s *store) readTotals() (known bool, err error) {
	s.totals = map[string]tally{}
	err = s.db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketTotals)
		if known = bucket != nil; !known {
			return nil
		}
		return bucket.ForEach(func(key, value []byte) error {
			class, t, ok := parseTotals(formatVersion, key, value)
			if !ok {
				known = false
				return nil
			}
			s.totals[class] = t
			return nil
		})
	})
	return known, err
}

// recount counts everything in the index, and writes that down.
func (s *store) recount(tx *bolt.Tx) error {
	if tx.Bucket(bucketTotals) != nil {
		if err := tx.DeleteBucket(bucketTotals); err != nil {
			return err
		}
	}
	if _, err := tx.CreateBucket(bucketTotals); err != nil {
		return err
	}
	found, err := countTotals(tx)
	s.totals = found.totals
	return errors.Join(err, bringInTotals(tx, found))
}

// countTotals counts everything in the index. What is damaged does not count.
func countTotals(tx *bolt.Tx) (found *overlay, err error) {
	last := ID(0)
	found = newOverlay()
	err = tx.Bucket(bucketDelivery).ForEach(func(key, value []byte) error {
		k, ok := parseDeliveryKey(key)
		d, err := decodeDelivery(k, value)
		if !ok || err != nil {
			return nil
		}
		change := tallyOf(d)
		if k.id != last {
			last = k.id
			change.messages, change.bytes = 1, d.Size
		}
		found.totals[d.Class] = found.totals[d.Class].plus(change)
		return nil
	})
	return found, err
}

// Ready returns nil when messages can be taken, and else why not, in words that
// disclose nothing.
func (q *Queue) Ready() error {
	switch {
	case q.Err() != nil:
		return errors.New("the queue has failed")
	case q.Room(0) != nil:
		return errors.New("no room on the disk")
	}
	return nil
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
	// Not every quota shows in what the file system says is free. Where less is to be
	// left than the reserve, it proves nothing.
	if q.opts.MinFree >= q.opts.Reserve && !q.store.reserve.enough() {
		return ErrNoRoom
	}
	return nil
}
