package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// VerifyDir looks at everything in the data directory of a stopped queue, and
// tells found of each thing that is wrong. It changes nothing. The error says
// that it could not look; a running queue is an *InUseError.
func VerifyDir(ctx context.Context, dir string, found func(Damage)) (Verification, error) {
	if err := isDirectory(dir); err != nil {
		return Verification{}, err
	}
	lock, err := lockToLook(dir)
	if err != nil {
		return Verification{}, err
	}
	defer lock.Close()
	in := newInspection(ctx, dir, found)
	index, _, err := in.stopped()
	if index != nil {
		defer index.Close()
	}
	return in.Verification, err
}

// isDirectory refuses a data directory that is none, or is not there.
func isDirectory(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	return checkDirectory(dir)
}

// lockStopped locks the directory of a queue that is there.
func lockStopped(dir, purpose string) (*os.File, error) {
	if err := isDirectory(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir, fmt.Sprintf("pid %d, which does queue %s, since %s", os.Getpid(), purpose, time.Now().UTC().Format(time.RFC3339)))
	if err != nil {
		return nil, err
	}
	// Whoever runs the queue has to lock it later.
	if err := ownedLike(dir, lock.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), lock.Close())
	}
	return lock, nil
}

// stopped looks at a queue that nobody uses. It returns the index, if it could
// be opened, and the last segment of the journal.
func (in *inspection) stopped() (index *os.File, last uint64, err error) {
	if index, err = in.open(); err != nil {
		return index, 0, err
	}
	if err := in.readMeta(); err != nil {
		return index, 0, err
	}
	journal, last, err := in.journal()
	if err != nil {
		return index, 0, err
	}
	in.layers, in.pending = []*overlay{journal}, journal.stories
	if err := in.records(); err != nil {
		return index, last, err
	}
	return index, last, in.files(in.historyFiles())
}

// files looks at everything but the records, and at whether those fit together.
func (in *inspection) files(stories []historyExtent) error {
	in.together()
	if err := in.contents(); err != nil {
		return err
	}
	return in.history(stories)
}

// open reads the first pages of the index.
func (in *inspection) open() (*os.File, error) {
	f, err := openRegular(filepath.Join(in.dir, indexName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mayBeNew(in.dir); err != nil {
			in.broken = true
			in.damage(Damage{File: indexName, Reason: err.Error()}, nil)
		}
		return nil, nil
	}
	if errors.Is(err, ErrDamaged) {
		in.broken = true
		in.oddity(indexName, err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open queue index: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return f, err
	}
	in.pages, err = openPages(f, info.Size())
	if errors.Is(err, ErrDamaged) {
		in.broken = true
		in.damage(Damage{File: indexName, Reason: err.Error()}, nil)
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if metas, err := readMetas(f, info.Size()); err != nil || len(metas) < 2 {
		in.older = true
		in.damage(Damage{File: indexName, Reason: fmt.Sprintf("one of the first two pages is %v, and the other counts", ErrDamaged)}, nil)
	}
	return f, nil
}

// readMeta reads the bucket meta. The error is ErrFormat for a queue of a newer
// program.
func (in *inspection) readMeta() error {
	if in.pages == nil {
		return nil
	}
	values := map[string][]byte{}
	w := treeWalk{file: in.pages, seen: newPageSet(in.pages.meta.pages), only: string(bucketMeta), damaged: func(string, uint64, error) {}}
	w.leaf = func(_ string, elements []element) error {
		for _, e := range elements {
			values[string(e.key)] = e.value
		}
		return nil
	}
	if err := w.buckets(); err != nil {
		return err
	}
	if len(values) > 0 { // else the page is damaged, and the walk through all of them says so
		m, faults, err := readMeta(values)
		if err != nil {
			return err
		}
		for _, f := range faults {
			in.damage(Damage{File: indexName, Reason: f.err.Error()}, f.raw)
		}
		in.meta = m
	}
	if !in.meta.appliedKnown {
		in.meta.appliedKnown = in.neverApplied()
	}
	return nil
}

// neverApplied reports whether the journal begins with the first segment, so
// that nothing can have been brought in yet.
func (in *inspection) neverApplied() bool {
	all, err := segments(filepath.Join(in.dir, journalName))
	return err == nil && (len(all) == 0 || all[0] == 1)
}

// Verify looks at everything in a running queue as it is at one moment, and
// tells found of each thing that is wrong. Acceptance and delivery go on.
func (q *Queue) Verify(ctx context.Context, found func(Damage)) (Verification, error) {
	in := newInspection(ctx, q.dir, found)
	in.gone = func(id ID) (gone bool) {
		// A queue that fails meanwhile says so elsewhere.
		_ = q.store.view(func(v *view) error {
			record, _ := v.message(id)
			gone = record == nil
			return nil
		})
		return gone
	}
	if err := q.verifyRecords(in); err != nil {
		return in.Verification, err
	}
	return in.Verification, in.files(q.store.history.extents())
}

// verifyRecords looks at a snapshot, which is closed when it returns: a checkpoint
// that makes the index larger may have to wait for its transaction, and then gone
// waits for the checkpoint.
func (q *Queue) verifyRecords(in *inspection) error {
	snapshot, err := q.snapshot()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer snapshot.close()
	in.layers = snapshot.layers
	if in.pages, err = snapshot.pages(); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if err := in.readMeta(); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if err := in.running(snapshot); err != nil {
		return err
	}
	return in.records()
}

// running reads the journal's files, which must have what is in memory.
func (in *inspection) running(s *snapshot) error {
	for number := s.applied + 1; number <= s.segment; number++ {
		name := filepath.Join(in.dir, journalName, segmentName(number))
		b, err := readRegular(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // brought in meanwhile
		}
		if errors.Is(err, ErrDamaged) {
			in.damage(Damage{File: filepath.Join(journalName, segmentName(number)), Reason: err.Error()}, nil)
			continue
		}
		if err != nil {
			return fmt.Errorf("verify: read journal: %w", err)
		}
		if number == s.segment {
			b = b[:min(s.offset, int64(len(b)))]
		}
		in.Segments++
		for records := (segmentRecords{number: number}); len(b) > 0; {
			kind, _, rest, ok := records.next(b)
			if !ok {
				if _, err := os.Stat(name); err == nil { // else it is in use again
					in.damage(Damage{File: filepath.Join(journalName, segmentName(number)), Reason: fmt.Sprintf("journal segment %d is %v", number, ErrDamaged)}, nil)
				}
				break
			}
			if b = rest; kind == kindEnd {
				break
			}
		}
	}
	return nil
}

// snapshot is the queue as it was at one moment. Its pages stay as they are
// until it is closed.
type snapshot struct {
	file    *os.File
	tx      *bolt.Tx
	layers  []*overlay
	applied uint64
	segment uint64
	offset  int64
}

func (s *snapshot) close() {
	_ = s.tx.Rollback() // of a transaction that only read
	s.file.Close()
}

// snapshot takes one between two commits.
func (q *Queue) snapshot() (s *snapshot, err error) {
	err = q.commit(func(b *batch) error {
		s, err = b.snapshot()
		return err
	})
	return s, err
}

// snapshot is called by the committer, with the lock held. What the operations
// before it in the batch changed is in it.
func (b *batch) snapshot() (*snapshot, error) {
	s := b.store
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m, err := metaOf(tx)
	if err != nil {
		return nil, errors.Join(err, tx.Rollback(), f.Close())
	}
	snap := &snapshot{applied: m.applied, file: f, tx: tx, layers: []*overlay{s.active.clone()}, segment: s.journal.number, offset: s.journal.offset}
	for _, c := range b.counted {
		snap.layers[0].totals[c.class] = s.totals[c.class].plus(c.change)
	}
	if s.frozen != nil {
		snap.layers = append(snap.layers, s.frozen) // which nobody changes
	}
	return snap, nil
}

// pages returns the pages that the snapshot's transaction sees: they are those
// of the meta page with its number, until two more have been written.
func (s *snapshot) pages() (*pageFile, error) {
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	metas, err := readMetas(s.file, info.Size())
	if err != nil {
		return nil, err
	}
	for _, m := range metas {
		if m.number == uint64(s.tx.ID()) {
			return &pageFile{r: s.file, meta: m}, nil
		}
	}
	return nil, fmt.Errorf("%w: the index changes too quickly to be looked at; try again", ErrBusy)
}

// ErrBusy means that something cannot be done just now.
var ErrBusy = errors.New("busy")
