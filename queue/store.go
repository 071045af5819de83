package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

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
	applied, found := s.reached, newOverlay()
	if err := s.missing(); err != nil {
		return err
	}
	last, err := replay(s.journal.dir, applied, found.replay)
	if err != nil {
		return err
	}
	if s.history, err = openHistory(filepath.Dir(s.journal.dir), applied, found.stories, keep, log); err != nil {
		log.Error("history not readable, going on without", "error", err.Error())
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
