package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// ErrReadOnly means that the queue was opened to be looked at.
var ErrReadOnly = errors.New("the queue was opened to be looked at, and not to be changed")

// errOld is that of a queue that has to be upgraded before it can be looked at.
var errOld = fmt.Errorf("%w: it has to be upgraded first, where the file system can be written", ErrFormat)

// readOnly reports whether a directory is on a file system that takes no
// changes.
func readOnly(dir string) bool {
	f, err := FileSystemOf(dir)
	return err == nil && f.ReadOnly
}

// openToLook opens a queue and writes nothing, so that a full disk or one that is
// read-only can be looked at, and as another user, too. What the journal has stays in
// memory.
func openToLook(o Options) (*Queue, error) {
	lock, err := lockToLook(o.Dir)
	if err != nil {
		return nil, err
	}
	q := newQueue(o, lock)
	q.ended = ErrReadOnly
	close(q.stopped)
	if q.store, err = openStoreToLook(o.Dir, q.fail, o.History, o.Log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	err = q.store.view(func(v *view) error {
		if v.index() == nil {
			return nil
		}
		q.resumeIDs(v.tx)
		for id := range q.store.active.rows {
			q.ids.last = max(q.ids.last, id)
		}
		err := q.loadHolds(v.tx)
		for name, since := range q.store.active.holds {
			q.sched.hold(name, since)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open queue: %w", err), q.store.close(), lock.Close())
	}
	go func() {
		defer close(q.loaded)
		_ = q.store.view(q.scheduleAll) // who looks at it meets the same error
	}()
	return q, nil
}

// scheduleAll schedules whatever a view sees.
func (q *Queue) scheduleAll(v *view) error {
	return v.each(0, func(id ID, rows []deliveryRow) bool {
		for _, d := range decodeDeliveries(id, rows) {
			q.reschedule(d)
		}
		select {
		case <-q.closing:
			return false
		default:
			return true
		}
	})
}

// lockToLook keeps a directory from being changed, together with others that look.
// Where no queue was ever open, as in a backup, there is no file to lock.
func lockToLook(dir string) (*os.File, error) {
	f, err := openRegular(filepath.Join(dir, lockName), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.Open(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return f, flock(f, dir, syscall.LOCK_SH)
}

func openStoreToLook(dir string, failed func(error), keep HistoryOptions, log *slog.Logger) (*store, error) {
	name := filepath.Join(dir, indexName)
	if err := checkPages(name); err != nil {
		return nil, fmt.Errorf("open queue index %s: %w", name, err)
	}
	options := boltOptions()
	options.ReadOnly = true
	db, err := openBolt(name, options)
	if err != nil {
		return nil, fmt.Errorf("open queue index %s: %w", name, err)
	}
	s := newStore(dir, db, segmentSize, kernel{}, failed)
	if err := s.look(log); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal in %s: %w", s.journal.dir, err), s.closeIndex())
	}
	s.history = openHistoryToLook(dir, keep, log)
	return s, nil
}

// look is recover for a store that cannot be written.
func (s *store) look(log *slog.Logger) error {
	v, err := s.vouched(log)
	if err != nil {
		return err
	}
	if s.version < formatSealed {
		return fmt.Errorf("version %d: %w", s.version, errOld)
	}
	if _, err := replay(s.journal.dir, v, s.active.replay); err != nil {
		return err
	}
	err = s.guard(func() error {
		if known, err := s.readTotals(); err != nil || known {
			return err
		}
		return s.db.View(func(tx *bolt.Tx) error {
			found, err := countTotals(tx)
			s.totals = found.totals
			return err
		})
	})
	maps.Copy(s.totals, s.active.totals)
	return err
}
