package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// formatVersion is the version of everything under the data directory that
// this code reads and writes. Version 1 had no journal, version 2 no fields in
// its records, version 3 no keys in the checksums of its small buckets, version 4
// none in those of its records; they are read as they are, and become this
// version as soon as the index is open.
const formatVersion = 5

var (
	bucketMeta     = []byte("meta")
	bucketMessage  = []byte("message")
	bucketDelivery = []byte("delivery")
	bucketAttempt  = []byte("attempt")
	bucketTotals   = []byte("totals")   // where it is missing, everything is counted at start
	bucketImported = []byte("imported") // made when it is needed
)

// ErrFormat means that the index was written by another version of waypost.
var ErrFormat = errors.New("unknown queue format")

const (
	indexName   = "index.db"
	journalName = "journal"
	contentName = "content"
)

// openIndex opens the index, or makes a new one that is complete before it
// has its name: a crash during the first start leaves nothing half made. It grows
// by as much as a segment of the journal has, which is about what a checkpoint
// brings in.
func openIndex(dir string, segment int64) (*bolt.DB, error) {
	name := filepath.Join(dir, indexName)
	if err := removeFile(filepath.Join(dir, compactName)); err != nil { // of a compaction that a crash cut off
		return nil, fmt.Errorf("open queue index: %w", err)
	}
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		if err := mayBeNew(dir); err != nil {
			return nil, fmt.Errorf("open queue index %s: %w", name, err)
		}
		if err := createIndex(dir, name, segment); err != nil {
			return nil, fmt.Errorf("create queue index: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open queue index: %w", err)
	}
	if err := checkPages(name); err != nil {
		return nil, fmt.Errorf("open queue index %s: %w", name, err)
	}
	db, err := openBolt(name, boltOptions())
	if err != nil {
		return nil, fmt.Errorf("open queue index %s: %w", name, err)
	}
	err = guard(func() error {
		m, err := loadMeta(db)
		if err != nil {
			return err
		}
		return upgrade(db, m)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open queue index %s: %w", name, err), db.Close())
	}
	db.AllocSize = int(segment)
	return db, nil
}

func openBolt(name string, options *bolt.Options) (db *bolt.DB, err error) {
	err = guard(func() (err error) {
		db, err = bolt.Open(name, 0o600, options)
		return err
	})
	return db, err
}

// mayBeNew refuses to begin with an empty index where there are messages: it
// was there, then, and is lost.
func mayBeNew(dir string) error {
	journal, err := segments(filepath.Join(dir, journalName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	contents, err := readDirectory(filepath.Join(dir, contentName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(journal) > 0 || len(contents) > 0 {
		return fmt.Errorf("%w: it is missing, and there are messages", ErrDamaged)
	}
	return nil
}

// checkPages looks at the index before bbolt does: whether the file has every
// page that it says it has, and whether those make sense that lead to others.
func checkPages(name string) error {
	f, err := openRegular(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	pages, err := openPages(f, info.Size())
	if err != nil {
		return err
	}
	return pages.checkTree()
}

func boltOptions() *bolt.Options {
	return &bolt.Options{
		// The list of free pages is written at each checkpoint: finding them
		// again at start would mean to read every page.
		NoFreelistSync: false,
		FreelistType:   bolt.FreelistMapType,
		// Only address space: growing the map later would wait for readers.
		InitialMmapSize: 1 << 30,
		Timeout:         time.Second,
	}
}

func createIndex(dir, name string, segment int64) error {
	temp := name + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := newIndex(temp, segment)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(dir)
}

// newIndex makes an empty index in a file that is not there.
func newIndex(file string, segment int64) (*bolt.DB, error) {
	db, err := bolt.Open(file, 0o600, boltOptions())
	if err != nil {
		return nil, err
	}
	db.AllocSize = int(segment)
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketMessage, bucketDelivery, bucketAttempt, bucketTotals} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return errors.Join(putVersion(tx), putApplied(tx, 0), putBegun(tx, begunSegment{}))
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// deliveryKey names one delivery: in the index, the ID and the index in big
// endian, so that the deliveries of a message are together and in order.
type deliveryKey struct {
	id    ID
	index uint16
}

func (d *Delivery) key() deliveryKey { return deliveryKey{d.ID, d.Index} }

func (k deliveryKey) bytes() []byte {
	b := k.array()
	return b[:]
}

func (k deliveryKey) array() (b [10]byte) {
	binary.BigEndian.PutUint64(b[:], uint64(k.id))
	binary.BigEndian.PutUint16(b[8:], k.index)
	return b
}

func parseDeliveryKey(b []byte) (deliveryKey, bool) {
	if len(b) != 10 {
		return deliveryKey{}, false
	}
	return deliveryKey{ID(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint16(b[8:])}, true
}
