package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// store is the index with the journal in front of it. A batch of changes is
// durable as soon as it is in the journal, which is one sync; until a
// checkpoint brings it into the index, it stands in memory as an overlay. What
// came and went between two checkpoints never reaches the index.
type store struct {
	db       *bolt.DB
	identity identity
	journal  *journal
	history  *history
	reached  uint64       // the segment that the index has got to
	changes  []byte       // the committer's, to be used again
	counted  []classTally // the same

	mu             sync.RWMutex
	active, frozen *overlay         // frozen is what a checkpoint is bringing in, nil without one
	totals         map[string]tally // by message class
	checkpoint     chan struct{}    // closed when no checkpoint is under way
	checkpointErr  error            // of the last one; read after checkpoint is closed
	failed         func(error)      // is told of a checkpoint or a read that failed
	broken         atomic.Bool      // bbolt stopped in the middle of something

	path        string                 // of the index
	minFree     int64                  // what a compaction leaves free on the disk, in octets
	compacting  *compaction            // the checkpoint's
	compactNext atomic.Int64           // no compaction begins by itself before that time
	copied      chan struct{}          // says that a compaction waits for a checkpoint
	compacted   func(Compacted, error) // is told of each compaction
	leaving     sync.WaitGroup         // indexes that are being closed
	ctx         context.Context        // ends when the store is closed
	cancel      context.CancelFunc
}

// openStore opens the store in dir, and brings everything into the index
// that the journal still has.
func openStore(dir string, segment int64, failed func(error), keep HistoryOptions, log *slog.Logger) (*store, error) {
	if err := os.MkdirAll(filepath.Join(dir, journalName), 0o700); err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	db, err := openIndex(dir)
	if err != nil {
		return nil, err
	}
	db.AllocSize = int(segment) // a checkpoint brings in about as much
	s := &store{db: db, journal: &journal{dir: filepath.Join(dir, journalName), size: segment}, active: newOverlay(), checkpoint: make(chan struct{}), failed: failed, history: &history{}}
	s.path, s.compacted = filepath.Join(dir, indexName), func(Compacted, error) {}
	s.copied = make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	close(s.checkpoint)
	if err := s.recover(keep, log); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal in %s: %w", s.journal.dir, err), s.history.close(), s.closeIndex())
	}
	return s, nil
}

func (s *store) recover(keep HistoryOptions, log *slog.Logger) error {
	err := s.guard(func() error {
		s.reached = s.applied()
		return nil
	})
	if err != nil {
		return err
	}
	applied := s.reached
	if s.history, err = openHistory(filepath.Dir(s.journal.dir), applied, keep, log); err != nil {
		log.Error("history not readable, going on without", "error", err.Error())
	}
	found := newOverlay()
	if err := s.missing(); err != nil {
		return err
	}
	last, err := replay(s.journal.dir, applied, found.replay)
	if err != nil {
		return err
	}
	if last > applied {
		if err := s.bringIn(found, last); err != nil {
			return fmt.Errorf("%w: bring the journal in: %w", ErrStore, err)
		}
	}
	if err := s.guard(s.loadTotals); err != nil {
		return fmt.Errorf("%w: load totals: %w", ErrStore, err)
	}
	if err := s.guard(s.identify); err != nil {
		return fmt.Errorf("%w: give the queue an identity: %w", ErrStore, err)
	}
	old, err := segments(s.journal.dir)
	if err != nil {
		return err
	}
	// The new segment is there before the old ones go: a journal without any is
	// always damage.
	if err := s.journal.begin(last + 1); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	if err := s.guard(func() error { return s.begun(last + 1) }); err != nil {
		return fmt.Errorf("%w: note the journal's segment: %w", ErrStore, err)
	}
	for _, number := range old {
		if err := s.journal.retire(number); err != nil {
			return err
		}
	}
	return nil
}

// missing returns an error when the journal lacks its last segment: there is
// always one that is as new as what the index knows of.
func (s *store) missing() error {
	all, err := segments(s.journal.dir)
	if err != nil {
		return err
	}
	known := s.reached
	err = s.guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			if v := tx.Bucket(bucketMeta).Get(keyBegun); len(v) == 8 {
				known = max(known, binary.BigEndian.Uint64(v))
			}
			return nil
		})
	})
	if err == nil && known > 0 && (len(all) == 0 || all[len(all)-1] < known) {
		err = fmt.Errorf("journal segment %d is %w: it is missing", known, ErrDamaged)
	}
	return err
}

// begun notes in the index that a segment exists, so that it is missed when it
// does not.
func (s *store) begun(segment uint64) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyBegun, binary.BigEndian.AppendUint64(nil, segment))
	})
}

// applied returns the last segment whose changes are in the index.
func (s *store) applied() (number uint64) {
	// A view of an open index does not fail.
	_ = s.db.View(func(tx *bolt.Tx) error {
		if v := tx.Bucket(bucketMeta).Get(keyApplied); len(v) == 8 {
			number = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	return number
}

// guard is guard for an open store: after an error that came from the index
// itself the store has failed.
func (s *store) guard(f func() error) error {
	err := guard(f)
	if errors.Is(err, errPage) {
		err = fmt.Errorf("%w: index %s: %w", ErrStore, s.path, err)
		s.broken.Store(true)
		s.failed(err)
	}
	return err
}

// bringIn writes an overlay into the index, with the number of the segment
// that it ends.
func (s *store) bringIn(o *overlay, segment uint64) error {
	s.history.add(o.stories, s.reached, segment)
	err := s.guard(func() error { return s.update(o, segment) })
	if err == nil {
		s.reached = segment
	}
	return err
}

func (s *store) update(o *overlay, segment uint64) error {
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
		return tx.Bucket(bucketMeta).Put(keyApplied, binary.BigEndian.AppendUint64(nil, segment))
	})
}

func bringInRow(tx *bolt.Tx, id ID, r *row) error {
	if r.gone {
		return removeFromIndex(tx, id)
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
	ended, err := s.journal.rotate()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.frozen, s.active = s.active, newOverlay()
	s.mu.Unlock()
	done := make(chan struct{})
	s.checkpoint = done
	go func() {
		defer close(done)
		s.checkpointErr = s.bringIn(s.frozen, ended)
		if s.checkpointErr == nil {
			s.checkpointErr = s.journal.retire(ended)
		}
		if s.checkpointErr != nil {
			s.failed(fmt.Errorf("%w: checkpoint: %w", ErrStore, s.checkpointErr))
			return
		}
		s.mu.Lock()
		brought := s.frozen
		s.frozen = nil
		s.mu.Unlock()
		s.compactionStep(brought)
		for _, f := range then {
			f(s)
		}
	}()
	return nil
}

// commit runs what change does to a batch, and makes that durable.
func (s *store) commit(changes func(*batch)) error {
	b := &batch{view: view{store: s}, changes: s.changes[:0], counted: s.counted[:0]}
	err := s.guard(func() error {
		changes(b)
		return nil
	})
	if err != nil {
		return err
	}
	s.total(b)
	s.counted = b.counted
	if s.changes = b.changes; cap(s.changes) > 4<<20 {
		s.changes = nil // one large batch need not be remembered
	}
	if len(b.changes) > 0 {
		if err := s.journal.append(b.changes); err != nil {
			return err
		}
		s.publish(b.counted)
	}
	if s.journal.full() || len(b.checkpoint) > 0 {
		return s.beginCheckpoint(b.checkpoint)
	}
	return nil
}

// run runs one operation of a batch.
func (b *batch) run(apply func(*batch) error) error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	defer b.end()
	return apply(b)
}

// close brings everything into the index. The committer has ended.
func (s *store) close() error {
	<-s.checkpoint
	err := s.checkpointErr
	if err == nil && s.journal.file != nil && !s.broken.Load() {
		err = s.bringIn(s.active, s.journal.number)
	}
	return errors.Join(err, s.journal.close(), s.history.close(), s.closeIndex())
}

// closeIndex closes bbolt's file, unless it was left in the middle of
// something: then closing it would wait for that to end.
func (s *store) closeIndex() error {
	if s.broken.Load() {
		return nil
	}
	s.endCopy()
	s.leaving.Wait()
	return s.db.Close()
}

// endCopy gives up a compaction that is under way.
func (s *store) endCopy() {
	c := s.compacting
	if c == nil {
		return
	}
	s.cancel()
	<-c.copied
	s.compacting, c.err = nil, ErrClosed
	_ = errors.Join(c.db.Close(), removeFile(c.file)) // the next start removes it too
	close(c.done)
}

// abandon closes a store that has failed. What the journal has is brought in
// at the next start, from the disk.
func (s *store) abandon() error {
	<-s.checkpoint
	return errors.Join(s.journal.close(), s.history.close(), s.closeIndex())
}

// view calls f with a view of everything, committed or about to be. What f
// is given may not be changed, and not be kept but where that is said.
func (s *store) view(f func(*view) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := &view{store: s}
	return s.guard(func() error {
		defer v.end()
		return errors.Join(f(v), v.err)
	})
}

// view reads through the overlays into the index. The caller holds the lock.
type view struct {
	store *store
	tx    *bolt.Tx // begun when it is needed
	err   error
}

func (v *view) index() *bolt.Tx {
	if v.tx == nil && v.err == nil {
		v.tx, v.err = v.store.db.Begin(false)
	}
	return v.tx
}

func (v *view) end() {
	if v.tx != nil {
		_ = v.tx.Rollback() // of a transaction that only read
		v.tx = nil
	}
}

// rows returns what the overlays know of a message, the newest first; nil where
// they know nothing.
func (v *view) rows(id ID) (rows [2]*row) {
	rows[0] = v.store.active.rows[id]
	if frozen := v.store.frozen; frozen != nil {
		rows[1] = frozen.rows[id]
	}
	return rows
}

// message returns the record of a message, nil when there is none. A lasting
// one may be kept beyond the view.
func (v *view) message(id ID) (record []byte, lasting bool) {
	for _, r := range v.rows(id) {
		if r != nil && (r.gone || r.fresh || r.message != nil) {
			return r.message, true
		}
	}
	if tx := v.index(); tx != nil {
		return tx.Bucket(bucketMessage).Get(id.key()), false
	}
	return nil, false
}

// delivery returns the record of one delivery, nil when there is none.
func (v *view) delivery(k deliveryKey) []byte {
	for _, r := range v.rows(k.id) {
		if r == nil {
			continue
		}
		for _, d := range r.deliveries {
			if d.index == k.index {
				return d.record
			}
		}
		if r.gone || r.fresh {
			return nil
		}
	}
	if tx := v.index(); tx != nil {
		return tx.Bucket(bucketDelivery).Get(k.bytes())
	}
	return nil
}

// deliveries returns the records of all deliveries of a message, in order.
func (v *view) deliveries(id ID) []deliveryRow {
	var all []deliveryRow
	add := func(d deliveryRow) {
		if !slices.ContainsFunc(all, func(o deliveryRow) bool { return o.index == d.index }) {
			all = append(all, d)
		}
	}
	deeper := true
	for _, r := range v.rows(id) {
		if r != nil && deeper {
			for _, d := range r.deliveries {
				add(d)
			}
			deeper = !r.gone && !r.fresh
		}
	}
	if deeper && v.index() != nil {
		c := v.tx.Bucket(bucketDelivery).Cursor()
		for key, record := c.Seek(id.key()); key != nil; key, record = c.Next() {
			k, ok := parseDeliveryKey(key)
			if !ok || k.id != id {
				break
			}
			add(deliveryRow{k.index, record})
		}
	}
	slices.SortFunc(all, func(a, b deliveryRow) int { return int(a.index) - int(b.index) })
	return all
}

// each calls f with the messages from one on, oldest first, until f returns
// false.
func (v *view) each(from ID, f func(ID) bool) error {
	recent := slices.Concat(v.store.active.ids(from), v.store.frozen.ids(from))
	slices.Sort(recent)
	recent = slices.Compact(recent)
	tx := v.index()
	if tx == nil {
		return v.err
	}
	c := tx.Bucket(bucketDelivery).Cursor()
	stored := nextStored(c, from)
	for {
		next := stored
		if len(recent) > 0 && (next == 0 || recent[0] <= next) {
			next = recent[0]
			recent = recent[1:]
		}
		if next == 0 {
			return nil
		}
		if next == stored {
			stored = nextStored(c, stored+1)
		}
		if !v.gone(next) && !f(next) {
			return nil
		}
	}
}

// nextStored returns the first message in the index from one on, 0 when there
// is none. A damaged key that is out of order is passed over: it must not lead
// back.
func nextStored(c *bolt.Cursor, from ID) ID {
	for key, _ := c.Seek(from.key()); key != nil; key, _ = c.Next() {
		if k, ok := parseDeliveryKey(key); ok && k.id >= max(from, 1) {
			return k.id
		}
	}
	return 0
}

func (v *view) gone(id ID) bool {
	for _, r := range v.rows(id) {
		if r != nil {
			return r.gone
		}
	}
	return false
}

// batch is what operations change, and what they see: each sees the changes of
// those before it. The committer holds the lock while an operation runs.
type batch struct {
	view
	changes []byte
	counted []classTally
	// checkpoint, when it is not empty, asks for one behind this batch, and is
	// called at its end.
	checkpoint []func(*store)
}

func (b *batch) insert(id ID, message []byte, deliveries []deliveryRow) {
	b.store.active.insert(id, message, deliveries)
	b.changes = appendInsert(b.changes, id, message, deliveries)
}

func (b *batch) put(k deliveryKey, record []byte) {
	b.store.active.put(k, record)
	b.changes = appendPut(b.changes, k, record)
}

func (b *batch) attempt(id ID, a attemptRow) {
	b.store.active.attempt(id, a)
	b.changes = appendAttempt(b.changes, id, a)
}

// leave removes a message that is done with, and keeps its story where there is
// a history.
func (b *batch) leave(m *Message, keys []uint64, deliveries []deliveryRow, attempts []attemptRow) {
	if !b.store.history.on() {
		b.remove(m.ID)
		return
	}
	s := story{keys, encodeStory(m.ID, time.Now(), encodeHead(m), deliveries, attempts)}
	b.store.active.leave(m.ID, s)
	b.changes = appendLeave(b.changes, m.ID, s)
}

func (b *batch) remove(id ID) {
	b.store.active.remove(id)
	b.changes = appendRemove(b.changes, id)
}
