package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// bbolt gives no page back to the file system. So when most of the index is
// free, what is in use is copied to a new file, in three steps:
//
//  1. A goroutine copies what one transaction sees. Checkpoints go on, and it is
//     remembered which messages they change.
//  2. At the end of a checkpoint, when nothing else writes, those messages are
//     copied again, and what is small anew; the file is synced.
//  3. It gets the name of the old one, and the store reads and writes it from
//     there on. A crash before that leaves the old index, and after it the new.
const (
	compactName = indexName + ".compact"
	// hollowFrom is the size below which an index is left alone, in octets.
	hollowFrom = 64 << 20
	// compactBatch is how much is copied in one transaction, in octets.
	compactBatch = 8 << 20
	// compactAgain is when a compaction that failed is tried again.
	compactAgain = time.Hour
)

// Compacted is what a compaction came to.
type Compacted struct {
	// Before and After are the sizes of the index, in octets.
	Before, After int64
	// Took is how long it took in all, and Pause how long checkpoints waited
	// for its last step. Acceptance goes on during both, unless a whole segment
	// of the journal fills meanwhile.
	Took, Pause time.Duration
}

// compaction is one that is under way.
type compaction struct {
	file    string
	db      *bolt.DB
	begun   time.Time
	changed map[ID]bool         // since the copy was begun; the checkpoint's
	imports map[origin]imported // the same
	copied  chan struct{}       // closed when the copy is there
	done    chan struct{}       // closed at the end
	result  Compacted           // read after done
	err     error
}

// usage returns the size of the index, and how much of it is free.
func (s *store) usage() (size, free int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.broken.Load() {
		return 0, 0
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return 0, 0
	}
	stats := s.db.Stats()
	return info.Size(), int64(stats.FreePageN+stats.PendingPageN) * int64(os.Getpagesize())
}

// hollow reports whether a compaction is worth its while: the index takes at most
// one and a half times what is in it, unless it is small.
func (s *store) hollow() bool {
	size, free := s.usage()
	return size > hollowFrom && free > size/3 && time.Now().UnixNano() > s.compactNext.Load()
}

// enoughRoom reports whether a copy of what is in use leaves more free on the
// disk than the journal can need meanwhile.
func (s *store) enoughRoom() error {
	var fsys unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(s.path), &fsys); err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	size, free := s.usage()
	if left := int64(fsys.Bavail)*fsys.Bsize - (size - free); left < s.minFree+4*s.journal.space() {
		return fmt.Errorf("%w: a copy of the index would leave %d octets on the disk", ErrNoRoom, left)
	}
	return nil
}

// beginCompaction begins the first step. Only the checkpoint, or who has none
// running, calls it.
func (s *store) beginCompaction() (*compaction, error) {
	if s.compacting != nil {
		return s.compacting, nil
	}
	if err := s.enoughRoom(); err != nil {
		return nil, err
	}
	c := &compaction{
		file: filepath.Join(filepath.Dir(s.path), compactName), begun: time.Now(),
		changed: map[ID]bool{}, imports: map[origin]imported{}, copied: make(chan struct{}), done: make(chan struct{}),
	}
	if err := removeFile(c.file); err != nil {
		return nil, err
	}
	var err error
	if c.db, err = newIndex(c.file, int64(s.db.AllocSize)); err != nil {
		return nil, err
	}
	c.db.NoSync = true // it has no name yet; it is synced before it gets one
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, errors.Join(err, c.db.Close())
	}
	c.result.Before, _ = s.usage()
	s.compacting = c
	go func() {
		defer func() {
			close(c.copied)
			select {
			case s.copied <- struct{}{}:
			default: // it is told already
			}
		}()
		c.err = s.guard(func() error {
			defer tx.Rollback()
			return c.copyAll(s.ctx, tx)
		})
	}()
	return c, nil
}

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyAll is the first step.
func (c *compaction) copyAll(ctx context.Context, from *bolt.Tx) error {
	to, err := c.db.Begin(true)
	if err != nil {
		return err
	}
	defer func() { _ = to.Rollback() }() // of one that was not committed
	written := 0
	err = from.ForEach(func(name []byte, b *bolt.Bucket) error {
		if _, err := to.CreateBucketIfNotExists(name); err != nil {
			return err
		}
		return b.ForEach(func(key, value []byte) error {
			into := to.Bucket(name)
			into.FillPercent = 0.9 // they come in order
			if err := into.Put(key, value); err != nil {
				return err
			}
			if written += len(key) + len(value); written < compactBatch {
				return nil
			}
			written = 0
			if err := errors.Join(ctx.Err(), to.Commit()); err != nil {
				return err
			}
			to, err = c.db.Begin(true)
			return err
		})
	})
	if err != nil {
		return err
	}
	return to.Commit()
}

// note remembers what a checkpoint changed.
func (c *compaction) note(o *overlay) {
	for id := range o.rows {
		c.changed[id] = true
	}
	for from, as := range o.imports {
		c.imports[from] = as
	}
}

// compactionStep is the end of a checkpoint: it begins a compaction, or ends
// one whose copy is there. An error in it is no failure of the queue, unless
// reading the index is.
func (s *store) compactionStep(o *overlay) {
	c := s.compacting
	switch {
	case c == nil:
		if s.hollow() {
			if _, err := s.beginCompaction(); err != nil {
				s.compactFailed(err)
			}
		}
		return
	default:
		c.note(o)
	}
	select {
	case <-c.copied:
		s.endCompaction(c)
	default:
	}
}

// endCompaction makes the last two steps. No checkpoint runs meanwhile.
func (s *store) endCompaction(c *compaction) {
	begun := time.Now()
	if c.err == nil {
		c.err = s.catchUp(c)
	}
	if c.err == nil {
		c.err = s.change(c)
	} else {
		_ = errors.Join(c.db.Close(), removeFile(c.file)) // the next start removes it too
	}
	s.compacting = nil
	c.result.Took, c.result.Pause = time.Since(c.begun), time.Since(begun)
	if c.err != nil {
		s.compactFailed(c.err)
	} else {
		c.result.After, _ = s.usage()
		s.compacted(c.result, nil)
	}
	close(c.done)
}

func (s *store) compactFailed(err error) {
	s.compactNext.Store(time.Now().Add(compactAgain).UnixNano())
	s.compacted(Compacted{}, err)
}

// catchUp copies again what was changed since.
func (s *store) catchUp(c *compaction) error {
	return s.guard(func() error {
		from, err := s.db.Begin(false)
		if err != nil {
			return err
		}
		defer from.Rollback()
		err = c.db.Update(func(to *bolt.Tx) error {
			for id := range c.changed {
				if err := copyMessage(to, from, id); err != nil {
					return err
				}
			}
			if err := bringInImports(to, &overlay{imports: c.imports}, 0); err != nil {
				return err
			}
			return errors.Join(copyBucket(to, from, bucketMeta), copyBucket(to, from, bucketTotals), copyBucket(to, from, bucketHold))
		})
		if err != nil {
			return err
		}
		c.db.NoSync = false
		return errors.Join(c.db.Sync(), checkPages(c.file))
	})
}

// copyMessage makes one message in a copy what it is in the original.
func copyMessage(to, from *bolt.Tx, id ID) error {
	if err := removeFromIndex(to, id); err != nil {
		return err
	}
	for _, name := range [][]byte{bucketMessage, bucketDelivery, bucketAttempt} {
		c := from.Bucket(name).Cursor()
		for key, value := c.Seek(id.key()); bytes.HasPrefix(key, id.key()); key, value = c.Next() {
			if err := to.Bucket(name).Put(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyBucket makes a whole bucket in a copy what it is in the original.
func copyBucket(to, from *bolt.Tx, name []byte) error {
	if to.Bucket(name) != nil {
		if err := to.DeleteBucket(name); err != nil {
			return err
		}
	}
	old := from.Bucket(name)
	if old == nil {
		return nil
	}
	b, err := to.CreateBucket(name)
	if err != nil {
		return err
	}
	return old.ForEach(b.Put)
}

// change gives the copy the name of the index, and uses it from here on. The old
// file goes when the last who reads it has ended.
func (s *store) change(c *compaction) error {
	if err := os.Rename(c.file, s.path); err != nil {
		return errors.Join(err, c.db.Close(), removeFile(c.file))
	}
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		// Nobody knows which of the two a crash would leave, so neither may take
		// anything from the journal.
		err = fmt.Errorf("%w: compact the index: %w", ErrStore, err)
		s.checkpointErr = err
		s.failed(err)
		return errors.Join(err, c.db.Close())
	}
	s.mu.Lock()
	old := s.db
	s.db = c.db
	s.mu.Unlock()
	s.leaving.Go(func() { _ = old.Close() }) // nobody needs what is in it
	return nil
}

// Compact copies the index to a smaller file, hollow or not, while the queue
// goes on.
func (q *Queue) Compact(ctx context.Context) (Compacted, error) {
	var c *compaction
	err := q.checkpoint(func(s *store) (err error) {
		c, err = s.beginCompaction()
		return err
	})
	if err != nil {
		return Compacted{}, fmt.Errorf("compact the index: %w", err)
	}
	select {
	case <-c.copied:
	case <-ctx.Done():
		return Compacted{}, ctx.Err() // it goes on all the same
	}
	if err := q.checkpoint(nil); err != nil { // whose end is that of the compaction
		return Compacted{}, fmt.Errorf("compact the index: %w", err)
	}
	<-c.done
	if c.err != nil {
		return Compacted{}, fmt.Errorf("compact the index: %w", c.err)
	}
	return c.result, nil
}

// checkpoint brings everything into the index that is in the journal so far, and
// returns when it is there. After it, and before any other, it calls then; when
// it returns without having done so, it never will.
func (q *Queue) checkpoint(then func(*store) error) error {
	var failure error
	var mu sync.Mutex
	ran, over := false, false
	done := make(chan struct{})
	err := q.commit(func(b *batch) error {
		b.checkpoint = append(b.checkpoint, func(s *store) {
			defer close(done)
			mu.Lock()
			defer mu.Unlock()
			if ran = !over; ran && then != nil {
				failure = then(s)
			}
		})
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return failure
	case <-q.failed:
	}
	mu.Lock()
	defer mu.Unlock()
	if over = !ran; over {
		return q.Err()
	}
	return failure
}

// idleCheckpoint is how long changes stay in the journal alone when it does not
// fill. It bounds what a start has to read, and what is gone is then free.
const idleCheckpoint = 5 * time.Minute

// maintain makes a checkpoint now and then, and when a compaction waits for one.
func (q *Queue) maintain() {
	ticker := time.NewTicker(idleCheckpoint)
	defer ticker.Stop()
	for {
		now := false
		select {
		case <-ticker.C:
			now = q.store.hollow()
		case <-q.store.copied:
			now = true
		case <-q.closing:
			return
		case <-q.stopped:
			return
		}
		// A failure is told by Failed.
		_ = q.commit(func(b *batch) error {
			if now || len(b.store.active.rows) > 0 || len(b.store.active.totals) > 0 {
				b.checkpoint = append(b.checkpoint, func(*store) {})
			}
			return nil
		})
	}
}

// keepHistory is for who opens a stopped queue: what there is stays, and what
// the journal has for it is added.
var keepHistory = HistoryOptions{Size: math.MaxInt64}

// CompactDir compacts the index of a stopped queue.
func CompactDir(dir string) (Compacted, error) {
	lock, err := lockStopped(dir, "compact")
	if err != nil {
		return Compacted{}, err
	}
	defer lock.Close()
	// Opening would make a queue where there is none.
	if _, err := os.Stat(filepath.Join(dir, indexName)); err != nil {
		return Compacted{}, fmt.Errorf("compact the index: %w", err)
	}
	s, err := openStore(dir, segmentSize, kernel{}, func(error) {}, keepHistory, slog.New(slog.DiscardHandler))
	if err != nil {
		return Compacted{}, err
	}
	c, err := s.beginCompaction()
	if err != nil {
		return Compacted{}, errors.Join(fmt.Errorf("compact the index: %w", err), s.close())
	}
	<-c.copied
	s.endCompaction(c)
	if err := errors.Join(c.err, s.close(), ownedLikeAll(dir)); err != nil {
		return Compacted{}, fmt.Errorf("compact the index: %w", err)
	}
	return c.result, nil
}
