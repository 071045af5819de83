package queue

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"

	bolt "go.etcd.io/bbolt"
)

// identity tells one queue from every other. It is made at random when the
// index is, and stays with it.
type identity [16]byte

// String returns the identity as it stands in archives.
func (i identity) String() string { return hex.EncodeToString(i[:]) }

func parseIdentity(s string) (i identity, ok bool) {
	b, err := hex.DecodeString(s)
	ok = err == nil && len(b) == len(i)
	copy(i[:], b)
	return i, ok
}

// identify gives the index an identity when it has none.
func (s *store) identify() error {
	if s.identity != (identity{}) {
		return nil
	}
	_, _ = rand.Read(s.identity[:]) // it never fails
	return s.db.Update(func(tx *bolt.Tx) error { return putMeta(tx, keyIdentity, s.identity[:]) })
}

// origin names a message in the queue that it was exported from.
type origin struct {
	queue identity
	id    ID
}

func (o origin) bytes() []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 24), o.queue[:]...), uint64(o.id))
}

// importsKept is for how many days at least it is known what was imported.
const importsKept = 30

// day counts days from 1970, in UTC.
func day(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / (24 * 60 * 60)) }

// imported says what became of a message with an origin.
type imported struct {
	id  ID     // its ID here
	day uint32 // when it was taken
}

func appendImport(b []byte, o origin, as imported) []byte {
	b = append(append(b, changeImport), o.bytes()...)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(as.id)), as.day)
}

func (d *decoder) imported() (o origin, as imported) {
	copy(o.queue[:], d.take(uint64(len(o.queue))))
	o.id, as.id, as.day = d.id(), d.id(), d.sum()
	return o, as
}

// imported remembers that a message with this origin is here, in the same
// commit as the message.
func (b *batch) imported(o origin, as imported) {
	b.store.active.imports[o] = as
	b.changes = appendImport(b.changes, o, as)
}

// importedKey is where the memory of a message stands in the index: behind its
// day, so that what is old comes first.
func importedKey(day uint32, o origin) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, importedKeyLength), day), o.bytes()...)
}

const importedKeyLength = 4 + 16 + 8

// forgetMost bounds what is forgotten in one checkpoint.
const forgetMost = 5000

// bringInImports writes what was imported into the index, and forgets what was
// long ago.
func bringInImports(tx *bolt.Tx, changes *overlay, today uint32) error {
	bucket := tx.Bucket(bucketImported)
	if bucket == nil {
		if len(changes.imports) == 0 {
			return nil
		}
		var err error
		if bucket, err = tx.CreateBucket(bucketImported); err != nil {
			return err
		}
	}
	for o, as := range changes.imports {
		key := importedKey(as.day, o)
		if err := bucket.Put(key, seal(key, as.id.key())); err != nil {
			return err
		}
	}
	var old [][]byte
	c := bucket.Cursor()
	for key, _ := c.First(); len(key) >= 4 && binary.BigEndian.Uint32(key)+importsKept < today && len(old) < forgetMost; key, _ = c.Next() {
		old = append(old, bytes.Clone(key))
	}
	for _, key := range old {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// hasOrigin reports whether the message with this origin was imported here,
// be it still in the queue or not, or has never left this queue.
func (v *view) hasOrigin(o origin) bool {
	if record, _ := v.message(o.id); record != nil && o.queue == v.store.identity {
		return true
	}
	for _, changes := range []*overlay{v.store.active, v.store.frozen} {
		if changes == nil {
			continue
		}
		if _, ok := changes.imports[o]; ok {
			return true
		}
	}
	return v.index() != nil && isImported(v.tx.Bucket(bucketImported), o)
}

// isImported looks at each day that the index remembers.
func isImported(bucket *bolt.Bucket, o origin) bool {
	if bucket == nil {
		return false
	}
	c := bucket.Cursor()
	for key, _ := c.First(); len(key) >= 4; {
		day := binary.BigEndian.Uint32(key)
		record := importedKey(day, o)
		if checkImported(formatVersion, record, bucket.Get(record)) == nil {
			return true
		}
		key, _ = c.Seek(binary.BigEndian.AppendUint32(nil, day+1))
	}
	return false
}
