package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// repairBatch is how much is written in one transaction, in octets.
const repairBatch = 16 << 20

// reachable copies what the index has, as far as something leads to it.
func (r *repair) reachable() error {
	if r.pages == nil {
		return nil
	}
	w := treeWalk{file: r.pages, seen: newPageSet(r.pages.meta.pages), damaged: func(string, uint64, error) {}}
	w.leaf = func(bucket string, elements []element) error {
		for _, e := range elements {
			if err := r.keep(bucket, e); err != nil {
				return err
			}
		}
		return r.ctx.Err()
	}
	return w.buckets()
}

// keep writes one element of the old index, if it is good.
func (r *repair) keep(bucket string, e element) error {
	switch {
	case bucket == string(bucketMeta) && bytes.Equal(e.key, keyIdentity) && checkMeta(e.key, e.value) == nil:
		return r.tx.Bucket(bucketMeta).Put(e.key, e.value)
	case bucket == string(bucketImported) && checkImported(e.key, e.value) == nil:
		memory, err := r.tx.CreateBucketIfNotExists(bucketImported)
		if err != nil {
			return err
		}
		return memory.Put(e.key, e.value)
	case bucket == string(bucketHold):
		if _, _, err := parseHold(e.key, e.value); err != nil {
			return nil // it was named, and what it held is tried again
		}
		holds, err := r.tx.CreateBucketIfNotExists(bucketHold)
		if err != nil {
			return err
		}
		return holds.Put(e.key, e.value)
	case goodRecord(e.key, e.value): // which tells by itself where it belongs, should the bucket's name be damaged
		return r.put(e.key, e.value)
	}
	return nil
}

// bucketOf tells by its length where a key belongs.
func bucketOf(key []byte) string {
	switch len(key) {
	case 8:
		return string(bucketMessage)
	case 10:
		return string(bucketDelivery)
	case 14:
		return string(bucketAttempt)
	}
	return ""
}

// goodRecord reports whether a record, and a content in it, match their
// checksums.
func goodRecord(key, value []byte) bool {
	var err error
	switch bucketOf(key) {
	case string(bucketMessage):
		var m *Message
		if m, err = decodeMessage(ID(binary.BigEndian.Uint64(key)), value); err == nil && !m.file {
			return int64(len(m.inline)) == m.Size && checksum(m.inline) == m.sum
		}
	case string(bucketDelivery):
		k, _ := parseDeliveryKey(key)
		_, err = decodeDelivery(k, value)
	case string(bucketAttempt):
		k, _ := parseAttemptKey(key)
		_, err = decodeAttempt(k, value)
	default:
		return false
	}
	return err == nil
}

// put writes a record, and begins another transaction now and then.
func (r *repair) put(key, value []byte) error {
	if err := r.tx.Bucket([]byte(bucketOf(key))).Put(key, value); err != nil {
		return err
	}
	return r.progress(len(key) + len(value))
}

func (r *repair) progress(written int) (err error) {
	if r.written += written; r.written < repairBatch {
		return nil
	}
	r.written = 0
	if err = r.tx.Commit(); err == nil {
		r.tx, err = r.db.Begin(true)
	}
	return err
}

// unreachable looks for records on pages that nothing leads to any more, if
// something did: those that are neither in use nor free, or all of them when
// nobody can say.
func (r *repair) unreachable() error {
	f, err := os.Open(filepath.Join(r.dir, indexName))
	if errors.Is(err, fs.ErrNotExist) || !r.broken {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	pages := r.pages
	if pages == nil {
		pages = &pageFile{r: f, meta: pageMeta{pageSize: os.Getpagesize(), pages: uint64(info.Size()) / uint64(os.Getpagesize())}}
	}
	for id := uint64(2); id < pages.meta.pages; id++ {
		if r.pages != nil && !r.lost[id] && (r.used.has(id) || r.free.has(id) && !r.older) {
			continue
		}
		if err := r.loose(pages, id); err != nil {
			return err
		}
	}
	return nil
}

// loose takes the records of one such page, whatever else is wrong with it.
func (r *repair) loose(pages *pageFile, id uint64) error {
	p, err := pages.page(id)
	if err != nil || p.kind != pageLeaf {
		return r.ctx.Err() // no leaf, or nothing of it is where it should be
	}
	for i := range p.elements {
		e, ok := p.element(i)
		if !ok || e.bucket || !goodRecord(e.key, e.value) || hidden(r.layers, bucketOf(e.key), e.key) {
			continue
		}
		b := r.tx.Bucket([]byte(bucketOf(e.key)))
		if old := b.Get(e.key); old != nil && !newer(e.key, old, e.value) {
			continue
		}
		r.outside[ID(binary.BigEndian.Uint64(e.key))] = true
		if err := r.put(e.key, e.value); err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

// newer reports whether one version of a delivery is later than another: more
// attempts were made, or fewer recipients are open. Other records never change.
func newer(key, old, other []byte) bool {
	k, ok := parseDeliveryKey(key)
	if !ok {
		return false
	}
	a, err := decodeDelivery(k, old)
	b, wrong := decodeDelivery(k, other)
	if err != nil || wrong != nil {
		return wrong == nil
	}
	return b.Attempts > a.Attempts || b.Attempts == a.Attempts && b.Open() < a.Open()
}

// bringIn writes what the journal has of a message. Records in it that are
// damaged were set aside.
func (r *repair) bringIn(id ID, row *row) error {
	good := *row
	if good.message != nil && !goodRecord(id.key(), good.message) {
		good.message = nil
	}
	good.deliveries = slices.DeleteFunc(slices.Clone(row.deliveries), func(d deliveryRow) bool {
		return !goodRecord(deliveryKey{id, d.index}.bytes(), d.record)
	})
	good.attempts = slices.DeleteFunc(slices.Clone(row.attempts), func(a attemptRow) bool {
		return !goodRecord(attemptKey{deliveryKey{id, a.index}, a.number}.bytes(), a.record)
	})
	if row.fresh || row.gone {
		if err := removeFromIndex(r.tx, id); err != nil {
			return err
		}
	}
	if row.gone {
		return nil
	}
	if err := bringInRow(r.tx, id, &good); err != nil {
		return err
	}
	return r.progress(len(good.message) + 256*len(good.deliveries))
}
