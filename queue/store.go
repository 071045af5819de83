package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	version  uint32       // of the index
	reached  uint64       // the segment that the index has got to
	changes  []byte       // the committer's, to be used again
	counted  []classTally // the same

	mu             sync.RWMutex
	active, frozen *overlay         // frozen is what a checkpoint is bringing in, nil without one
	totals         map[string]tally // by message class
	passed         ID               // those before it in the index have left; see oldest
	checkpoint     chan struct{}    // closed when no checkpoint is under way
	checkpointErr  error            // of the last one; read after checkpoint is closed
	failed         func(error)      // is told of a checkpoint or a read that failed
	broken         atomic.Bool      // bbolt stopped in the middle of something

	path        string // of the index
	reserve     *reserve
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
// that the journal still has. When there is no space for that, it takes what was
// set aside.
func openStore(dir string, segment int64, on disk, failed func(error), keep HistoryOptions, log *slog.Logger) (*store, error) {
	s, err := tryOpenStore(dir, segment, on, failed, keep, log)
	if noSpace(err) && newReserve(dir, 0, log).giveUp() {
		return tryOpenStore(dir, segment, on, failed, keep, log)
	}
	return s, err
}

func tryOpenStore(dir string, segment int64, on disk, failed func(error), keep HistoryOptions, log *slog.Logger) (*store, error) {
	if err := makeDirectory(filepath.Join(dir, journalName)); err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	db, err := openIndex(dir, segment)
	if err != nil {
		return nil, err
	}
	s := newStore(dir, db, segment, on, failed)
	if err := s.recover(keep, log); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal in %s: %w", s.journal.dir, err), s.journal.close(), s.history.close(), s.closeIndex())
	}
	return s, nil
}

func newStore(dir string, db *bolt.DB, segment int64, on disk, failed func(error)) *store {
	s := &store{db: db, journal: &journal{dir: filepath.Join(dir, journalName), size: segment, disk: on}, active: newOverlay(), checkpoint: make(chan struct{}), failed: failed, history: &history{}}
	s.path, s.compacted = filepath.Join(dir, indexName), func(Compacted, error) {}
	s.reserve = &reserve{}
	s.copied = make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	close(s.checkpoint)
	return s
}

func (s *store) recover(keep HistoryOptions, log *slog.Logger) error {
	v, err := s.vouched(log)
	if err != nil {
		return err
	}
	found := newOverlay()
	last, err := replay(s.journal.dir, v, found.replay)
	if err != nil {
		return err
	}
	if s.history, err = openHistory(filepath.Dir(s.journal.dir), s.reached, found.stories, keep, log); err != nil {
		log.Error("history not readable, going on without", "error", err.Error())
	}
	if last > s.reached {
		if err := s.bringIn(found, last, begunSegment{}); err != nil {
			return fmt.Errorf("%w: bring the journal in: %w", ErrStore, err)
		}
	}
	if err := s.guard(s.loadTotals); err != nil {
		return fmt.Errorf("%w: load totals: %w", ErrStore, err)
	}
	if err := s.guard(s.identify); err != nil {
		return fmt.Errorf("%w: give the queue an identity: %w", ErrStore, err)
	}
	return s.beginJournal(last + 1)
}

// vouched reads what the index, and the mark, know of the journal.
func (s *store) vouched(log *slog.Logger) (v vouched, err error) {
	var m indexMeta
	err = s.guard(func() (err error) {
		m, err = loadMeta(s.db)
		return err
	})
	if err != nil {
		return v, err
	}
	s.reached, s.identity, s.version = m.applied, m.identity, m.version
	mark, err := readMark(s.journal.dir)
	if errors.Is(err, ErrDamaged) && notRegular(filepath.Join(s.journal.dir, markName)) == nil { // nothing of the queue is in it
		log.Error("how much of the journal was synced is not known, going on without", "error", err.Error())
		err = nil
	}
	return vouched{m.applied, m.begun, mark}, err
}

// beginJournal begins the first segment of a start, and is done with those
// before it.
func (s *store) beginJournal(number uint64) error {
	old, err := segments(s.journal.dir)
	if err != nil {
		return err
	}
	// The new segment is there before the old ones go: a journal without any is
	// always damage.
	if err := s.journal.begin(number); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	err = s.guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return putBegun(tx, s.journal.begun()) })
	})
	if err != nil {
		return fmt.Errorf("%w: note the journal's segment: %w", ErrStore, err)
	}
	for _, number := range old {
		if err := s.journal.retire(number); err != nil {
			return err
		}
	}
	return nil
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
		err = s.bringIn(s.active, s.journal.number, begunSegment{})
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
