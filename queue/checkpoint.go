package queue

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// bringIn writes an overlay into the index, with the number of the segment
// that it ends, and with the one that was begun behind it, if there is one.
func (s *store) bringIn(o *overlay, segment uint64, next begunSegment) error {
	s.history.add(o.stories, s.reached, segment)
	err := s.guard(func() error { return s.update(o, segment, next) })
	if err == nil {
		s.reached = segment
	}
	return err
}

func (s *store) update(o *overlay, segment uint64, next begunSegment) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		for _, id := range o.ids(0) {
			if err := bringInRow(tx, id, o.rows[id]); err != nil {
				return err
			}
		}
		if err := bringInTotals(tx, o); err != nil {
			return err
		}
		if err := bringInHolds(tx, o); err != nil {
			return err
		}
		if err := bringInImports(tx, o, day(time.Now())); err != nil {
			return err
		}
		if next.number > 0 {
			if err := putBegun(tx, next); err != nil {
				return err
			}
		}
		return putApplied(tx, segment)
	})
}

func bringInRow(tx *bolt.Tx, id ID, r *row) error {
	if r.gone || r.back {
		if err := removeFromIndex(tx, id); err != nil || r.gone {
			return err
		}
	}
	if r.message != nil {
		if err := tx.Bucket(bucketMessage).Put(id.key(), r.message); err != nil {
			return err
		}
	}
	for _, d := range r.deliveries {
		if err := tx.Bucket(bucketDelivery).Put(deliveryKey{id, d.index}.bytes(), d.record); err != nil {
			return err
		}
	}
	for _, a := range r.attempts {
		if err := bringInAttempt(tx, id, a); err != nil {
			return err
		}
	}
	return nil
}

func removeFromIndex(tx *bolt.Tx, id ID) error {
	for _, name := range [][]byte{bucketDelivery, bucketAttempt} {
		if err := deletePrefix(tx.Bucket(name), id.key()); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMessage).Delete(id.key())
}

func deletePrefix(b *bolt.Bucket, prefix []byte) error {
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// beginCheckpoint goes on in a new segment, and brings the changes of the old
// one into the index meanwhile. It waits for the last checkpoint, so memory
// holds two segments at most. Only the committer calls it.
func (s *store) beginCheckpoint(then []func(*store)) error {
	<-s.checkpoint
	if s.checkpointErr != nil {
		return s.checkpointErr
	}
	s.reserve.adjust(2 * s.journal.space())
	ended, err := s.journal.rotate()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.frozen, s.active = s.active, newOverlay()
	s.mu.Unlock()
	done, next := make(chan struct{}), s.journal.begun()
	s.checkpoint = done
	go func() {
		defer close(done)
		s.checkpointErr = s.bringIn(s.frozen, ended, next)
		if s.checkpointErr == nil {
			s.checkpointErr = s.journal.retire(ended)
		}
		if s.checkpointErr != nil {
			s.failed(fmt.Errorf("%w: checkpoint: %w", ErrStore, s.checkpointErr))
			return
		}
		s.mu.Lock()
		brought := s.frozen
		s.frozen, s.passed = nil, 0
		s.mu.Unlock()
		if s.compactionStep(brought); s.checkpointErr != nil {
			return // which was told
		}
		for _, f := range then {
			f(s)
		}
	}()
	return nil
}
