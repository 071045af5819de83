package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// Repair is what a repair came to.
type Repair struct {
	// Before is what was found; without damages nothing was changed.
	Before Verification
	// Messages is how many are in the queue now.
	Messages int64
	// Recovered are those that were found outside of the index's own order:
	// on pages that nothing leads to, or by the trailer of their content. They
	// may have been delivered or removed before.
	Recovered []ID
	// Holds are the destinations on hold that were found in the same way: these
	// holds may have ended before.
	Holds []string
	// SetAside are those that could not be kept. What there is of them is in
	// the directory Aside.
	SetAside []ID
	// Index is where the old index is now, and Aside the file with what was
	// damaged, if there is any; relative to the data directory.
	Index, Aside string
	// History is where the damaged files of the history are now, relative to the
	// data directory. What could be read of them is still in the history.
	History []string
	// Odd are the things, relative to the data directory, that were in the place
	// of a file or a directory, and had to move.
	Odd []string
}

// RepairDir makes a queue of what can be read of the one in dir, which must be
// stopped. It writes a new index beside the old one, and gives it its name at
// the end: a repair that is cut off has changed nothing, and can be begun
// again. Nothing that is damaged is thrown away: see README.md. Where only the
// history is damaged, the index stays as it is.
func RepairDir(ctx context.Context, dir string, found func(Damage)) (*Repair, error) {
	lock, err := lockStopped(dir, "verify --repair")
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	r := &repair{inspection: newInspection(ctx, dir, found), outside: map[ID]bool{}}
	r.aside = &aside{dir: dir}
	defer r.aside.close()
	r.inspection.aside = r.aside.put
	index, last, err := r.stopped()
	if index != nil {
		defer index.Close()
	}
	r.Before = r.Verification
	r.Repair.Messages = r.Verification.Messages
	if err == nil && r.historyDamages > 0 {
		err = r.repairHistory()
	}
	if err == nil && r.Damages > r.historyDamages {
		r.Repair.Messages = 0
		err = r.rebuild(last)
	}
	if err != nil {
		return nil, fmt.Errorf("repair the queue in %s: %w", dir, err)
	}
	return &r.Repair, nil
}

// repair writes a new index.
type repair struct {
	*inspection
	Repair
	aside   *aside
	db      *bolt.DB
	tx      *bolt.Tx
	written int
	outside map[ID]bool // found outside of the index's own order
}

func (r *repair) rebuild(last uint64) error {
	if err := r.moveOdd(); err != nil {
		return err
	}
	name := filepath.Join(r.dir, indexName)
	temp := name + ".repaired"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	if r.db, err = newIndex(temp, segmentSize); err != nil {
		return err
	}
	r.db.NoSync = true // it has no name yet; it is synced before it gets one
	err = r.fill(last)
	if r.tx != nil {
		err = errors.Join(err, r.tx.Rollback())
	}
	if err == nil {
		err = r.db.Sync()
	}
	if err = errors.Join(err, r.db.Close()); err != nil {
		return err
	}
	return r.finish(name, temp, last)
}

// moveOdd moves things to the side that are in the place of files: what they
// should be is missing from then on, and as damaged as before.
func (r *repair) moveOdd() error {
	for _, name := range r.odd {
		kept, err := r.beside(strings.ReplaceAll(name, string(filepath.Separator), "-"), func(kept string) error {
			if _, err := os.Lstat(kept); err == nil {
				return fs.ErrExist
			}
			return os.Rename(filepath.Join(r.dir, name), kept)
		})
		if err != nil {
			return err
		}
		if err := syncDir(filepath.Join(r.dir, filepath.Dir(name))); err != nil {
			return err
		}
		r.Odd = append(r.Odd, kept)
	}
	return nil
}

// fill writes what can be read, from what is surest to what is least, and then
// takes out what does not make a whole message.
func (r *repair) fill(last uint64) (err error) {
	if r.tx, err = r.db.Begin(true); err != nil {
		return err
	}
	if err := r.reachable(); err != nil {
		return err
	}
	if err := r.unreachable(); err != nil {
		return err
	}
	for _, layer := range slices.Backward(r.layers) {
		for _, id := range layer.ids(0) {
			if err := r.bringIn(id, layer.rows[id]); err != nil {
				return err
			}
		}
		if err := bringInHolds(r.tx, layer); err != nil {
			return err
		}
		if err := bringInImports(r.tx, layer, 0); err != nil {
			return err
		}
	}
	if err := r.trailers(); err != nil {
		return err
	}
	if err := r.whole(); err != nil {
		return err
	}
	// The totals are counted at the next start.
	if err := r.tx.DeleteBucket(bucketTotals); err != nil {
		return err
	}
	if err := putApplied(r.tx, last); err != nil {
		return err
	}
	if r.meta.identity != (identity{}) {
		if err := putMeta(r.tx, keyIdentity, r.meta.identity[:]); err != nil {
			return err
		}
	}
	err, r.tx = r.tx.Commit(), nil
	return err
}

// lastSegment makes the segment that was brought in last, where it is missing.
func (r *repair) lastSegment(number uint64) error {
	dir := filepath.Join(r.dir, journalName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := openRegular(filepath.Join(dir, segmentName(number)), os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(dir))
}

// finish gives the new index its name, once everything else is on disk.
func (r *repair) finish(name, temp string, last uint64) error {
	for _, id := range r.SetAside {
		if err := r.aside.content(id); err != nil {
			return err
		}
	}
	var err error
	if r.Aside, err = r.aside.finish(); err != nil {
		return err
	}
	if err := checkPages(temp); err != nil {
		return err
	}
	if err := ownedLike(r.dir, temp); err != nil {
		return err
	}
	if err := r.stories(last); err != nil {
		return err
	}
	if r.Index, err = keepOld(name); err != nil {
		return err
	}
	if err := errors.Join(r.lastSegment(last), ownedLikeAll(r.dir), os.Rename(temp, name), syncDir(r.dir)); err != nil {
		return err
	}
	// It says something of the old journal; where it is damaged, nothing.
	if err := removeFile(filepath.Join(r.dir, journalName, markName)); err != nil {
		return err
	}
	for _, id := range r.SetAside { // it is beside by now
		if err := os.Remove(filepath.Join(r.dir, contentPath(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// stories adds to the history what the journal has for it. When nobody knows
// which of it is there already, it is left out.
func (r *repair) stories(last uint64) error {
	if !r.meta.appliedKnown || len(r.layers[0].stories) == 0 {
		return nil
	}
	h, err := openHistory(r.dir, r.meta.applied, r.layers[0].stories, keepHistory, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	h.add(r.layers[0].stories, r.meta.applied, last)
	return h.close()
}

// keepOld gives the old index another name, if there is one.
func keepOld(name string) (string, error) {
	for n := 1; ; n++ {
		kept := fmt.Sprintf("%s.damaged-%d", name, n)
		err := os.Link(name, kept)
		switch {
		case err == nil:
			return filepath.Base(kept), nil
		case errors.Is(err, fs.ErrExist):
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		default:
			return "", err
		}
	}
}

// ownedLikeAll does what ownedLike does to everything that is made while a stopped
// queue is opened.
func ownedLikeAll(dir string) error {
	names := []string{indexName}
	for _, sub := range []string{journalName, historyName} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		names = append(names, sub)
		for _, e := range entries {
			names = append(names, filepath.Join(sub, e.Name()))
		}
	}
	for _, name := range names {
		if err := ownedLike(dir, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ownedLike gives a file that root made to the user that the directory belongs
// to, who has to read it.
func ownedLike(dir, name string) error {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(name, int(owner.Uid), int(owner.Gid))
	}
	return nil
}
