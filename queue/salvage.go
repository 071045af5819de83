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

// keep writes one element of the old index, if it is good. A record tells by
// itself where it belongs, should the name of its bucket be damaged.
func (r *repair) keep(bucket string, e element) error {
	switch {
	case bucket == string(bucketMeta) || bucket == string(bucketTotals):
		return nil // they are made anew
	case goodRecord(e.key, e.value):
		return r.put(e.key, e.value)
	}
	if key := mendedKey(e.key, e.value); key != nil {
		return r.put(key, e.value)
	}
	_, err := r.keepSmall(e)
	return err
}

// keepSmall writes the hold of a destination, or the memory of a message that
// was imported. Of two holds of one destination the later one counts. What is
// neither was named, or is none of ours.
func (r *repair) keepSmall(e element) (hold string, err error) {
	if name, since, err := parseHold(r.meta.version, e.key, e.value); err == nil {
		bucket, err := r.tx.CreateBucketIfNotExists(bucketHold)
		if err != nil {
			return "", err
		}
		if _, other, err := parseHold(formatVersion, e.key, bucket.Get(e.key)); err == nil && !since.After(other) {
			return "", nil
		}
		return name, putHold(bucket, name, since)
	}
	if checkImported(r.meta.version, e.key, e.value) != nil {
		return "", nil
	}
	bucket, err := r.tx.CreateBucketIfNotExists(bucketImported)
	if err != nil {
		return "", err
	}
	return "", bucket.Put(e.key, seal(e.key, e.value[:8]))
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

// mendedKey returns the key that a record was written under, where one bit of
// the one that it stands under is wrong; nil where that is not what is wrong.
func mendedKey(key, value []byte) []byte {
	mended := bytes.Clone(key)
	for i := range 8 * len(key) {
		flip := byte(1) << (i % 8)
		if mended[i/8] ^= flip; goodRecord(mended, value) {
			return mended
		}
		mended[i/8] ^= flip
	}
	return nil
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
	if !r.broken {
		return nil
	}
	f, err := openRegular(filepath.Join(r.dir, indexName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
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
	if err != nil {
		return r.ctx.Err() // nothing of it is where it should be
	}
	return errors.Join(r.looseElements(p), r.ctx.Err())
}

func (r *repair) looseElements(p *page) error {
	if p.kind != pageLeaf {
		return nil
	}
	for i := range p.elements {
		e, ok := p.element(i)
		var err error
		switch {
		case !ok:
		case e.bucket: // a small one is a page within the value
			if inner := inlinePage(p.id, e.value); inner != nil {
				err = r.looseElements(inner)
			}
		case goodRecord(e.key, e.value):
			err = r.looseRecord(e)
		default:
			if key := mendedKey(e.key, e.value); key != nil {
				e.key = key
				err = r.looseRecord(e)
			} else {
				err = r.looseSmall(e)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// looseRecord takes one record, if it is newer than what there is.
func (r *repair) looseRecord(e element) error {
	if hidden(r.layers, bucketOf(e.key), e.key) {
		return nil
	}
	b := r.tx.Bucket([]byte(bucketOf(e.key)))
	if old := b.Get(e.key); old != nil && !newer(e.key, old, e.value) {
		return nil
	}
	r.outside[ID(binary.BigEndian.Uint64(e.key))] = true
	return r.put(e.key, e.value)
}

// looseSmall takes what else is kept, where its bucket cannot be read: what is
// not in one that can be read has ended.
func (r *repair) looseSmall(e element) error {
	lost := func(bucket []byte) bool { return r.pages == nil || r.faulty[""] || r.faulty[string(bucket)] }
	_, _, noHold := parseHold(r.meta.version, e.key, e.value)
	switch {
	case noHold == nil && !lost(bucketHold), noHold != nil && len(e.key) == importedKeyLength && !lost(bucketImported):
		return nil
	case bytes.Equal(e.key, keyIdentity) && lost(bucketMeta) && r.meta.identity == identity{}:
		if value, ok := unseal(formatSealed, e.key, e.value); ok && len(value) == len(r.meta.identity) {
			copy(r.meta.identity[:], value)
		}
		return nil
	}
	name, err := r.keepSmall(e)
	if name != "" && !slices.Contains(r.Holds, name) {
		r.Holds = append(r.Holds, name)
	}
	return err
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
