package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// partialSuffix ends the name of a backup that is not complete.
const partialSuffix = ".partial"

// BackedUp is what a backup has.
type BackedUp struct {
	// Messages is how many, Contents how many of them have a content file, and
	// IndexBytes the size of the index, in octets.
	Messages, Contents, IndexBytes int64
}

// Backup writes the queue as it is at one moment to a directory that does not
// exist, or is empty, and that can be used as a data directory as it is. It has
// every message that was acknowledged before, but for those that leave while it
// is written. Acceptance and delivery go on. Contents are linked where the file
// system can do that. The directory has its name only when it is complete.
func (q *Queue) Backup(ctx context.Context, dir string) (BackedUp, error) {
	b := &backup{ctx: ctx, from: q.dir, dir: dir, temp: dir + partialSuffix}
	if err := b.prepare(); err != nil {
		return BackedUp{}, fmt.Errorf("back up to %s: %w", dir, err)
	}
	var tx *bolt.Tx
	err := q.checkpoint(func(s *store) (err error) {
		tx, err = s.db.Begin(false)
		return err
	})
	if err == nil {
		err = q.store.guard(func() error {
			defer tx.Rollback()
			return errors.Join(b.contents(tx), b.index(tx), b.journal())
		})
	}
	if err == nil {
		err = b.finish()
	}
	if err != nil {
		return BackedUp{}, fmt.Errorf("back up to %s: %w", dir, errors.Join(err, os.RemoveAll(b.temp)))
	}
	return b.done, nil
}

// backup is one that is being written.
type backup struct {
	ctx             context.Context
	from, dir, temp string
	gone            []ID   // messages that left meanwhile
	applied         uint64 // the last segment of the journal that is in the index
	done            BackedUp
}

// prepare makes the directory, under a name that says that it is not complete.
func (b *backup) prepare() error {
	entries, err := os.ReadDir(b.dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case len(entries) > 0:
		return errors.New("the directory is not empty")
	}
	// It fails where one is that was cut off, which is not ours to remove.
	if err := os.Mkdir(b.temp, 0o700); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(b.temp, contentName), 0o700)
}

// contents links or copies the content files of the messages that tx has.
func (b *backup) contents(tx *bolt.Tx) error {
	return tx.Bucket(bucketMessage).ForEach(func(key, record []byte) error {
		b.done.Messages++
		if err := b.ctx.Err(); err != nil || len(record) == 0 || record[0]&flagFile == 0 {
			return err
		}
		id := ID(binary.BigEndian.Uint64(key))
		err := b.content(contentPath(id))
		if errors.Is(err, fs.ErrNotExist) {
			b.gone = append(b.gone, id)
			b.done.Messages--
			return nil
		}
		b.done.Contents++
		return err
	})
}

// content links one file, or copies it to another file system.
func (b *backup) content(name string) error {
	from, to := filepath.Join(b.from, name), filepath.Join(b.temp, name)
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := openRegular(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeFile(to, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// writeFile makes a file and syncs it.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// index writes what tx sees, without the messages that left meanwhile. Of the
// journal it knows the last segment that was brought in.
func (b *backup) index(tx *bolt.Tx) error {
	name := filepath.Join(b.temp, indexName)
	err := writeFile(name, func(out io.Writer) (err error) {
		b.done.IndexBytes, err = tx.WriteTo(out)
		return err
	})
	if err != nil {
		return err
	}
	db, err := bolt.Open(name, 0o600, boltOptions())
	if err != nil {
		return err
	}
	m, err := loadMeta(db)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	b.applied = m.applied
	err = db.Update(func(tx *bolt.Tx) error {
		for _, id := range b.gone {
			if err := removeFromIndex(tx, id); err != nil {
				return err
			}
		}
		if len(b.gone) > 0 { // the totals are counted at the first start
			if err := tx.DeleteBucket(bucketTotals); err != nil {
				return err
			}
		}
		return putBegun(tx, begunSegment{number: m.applied})
	})
	return errors.Join(err, db.Close())
}

// journal makes the segment that the index has last, without anything in it:
// all of it has been brought in.
func (b *backup) journal() error {
	dir := filepath.Join(b.temp, journalName)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, segmentName(b.applied))
	return errors.Join(writeFile(name, func(io.Writer) error { return nil }), syncDir(dir))
}

// finish gives the backup its name.
func (b *backup) finish() error {
	if err := errors.Join(syncDir(filepath.Join(b.temp, contentName)), syncDir(b.temp)); err != nil {
		return err
	}
	// An empty directory is in the way of a name, for Go.
	if err := removeFile(b.dir); err != nil {
		return err
	}
	return errors.Join(os.Rename(b.temp, b.dir), syncDir(filepath.Dir(b.dir)))
}
