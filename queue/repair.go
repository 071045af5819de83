package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	// SetAside are those that could not be kept. What there is of them is in
	// the directory Aside.
	SetAside []ID
	// Index is where the old index is now, and Aside the file with what was
	// damaged, if there is any; relative to the data directory.
	Index, Aside string
}

// RepairDir makes a queue of what can be read of the one in dir, which must be
// stopped. It writes a new index beside the old one, and gives it its name at
// the end: a repair that is cut off has changed nothing, and can be begun
// again. Nothing that is damaged is thrown away: see README.md.
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
	if err != nil || r.Damages == 0 {
		r.Repair.Messages = r.Verification.Messages
		return &r.Repair, err
	}
	if err := r.rebuild(last); err != nil {
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

// repairBatch is how much is written in one transaction, in octets.
const repairBatch = 16 << 20

func (r *repair) rebuild(last uint64) error {
	name := filepath.Join(r.dir, indexName)
	temp := name + ".repaired"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	if r.db, err = newIndex(temp); err != nil {
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
	if err := r.tx.Bucket(bucketMeta).Put(keyApplied, binary.BigEndian.AppendUint64(nil, last)); err != nil {
		return err
	}
	err, r.tx = r.tx.Commit(), nil
	return err
}

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

// trailers completes messages by what their content files say: those of which
// something is damaged, and all when messages may be missing.
func (r *repair) trailers() error {
	entries, err := os.ReadDir(filepath.Join(r.dir, contentName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		id, err := ParseID(e.Name())
		if err != nil || !r.broken && !r.known[id].damaged || r.leftByJournal(id) {
			continue
		}
		if err := r.trailer(id); err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

// leftByJournal reports whether the journal says that a message has left.
func (r *repair) leftByJournal(id ID) bool {
	return slices.ContainsFunc(r.layers, func(o *overlay) bool { return o.rows[id] != nil && o.rows[id].gone })
}

func (r *repair) trailer(id ID) error {
	f, err := os.Open(filepath.Join(r.dir, contentPath(id)))
	if err != nil {
		return err
	}
	defer f.Close()
	row, owner, _, err := readTrailer(f)
	if err != nil || owner != id || !goodRecord(id.key(), row.message) {
		return nil // it was said, or it is one that a crash left behind
	}
	if r.tx.Bucket(bucketMessage).Get(id.key()) == nil {
		r.outside[id] = true
		if err := r.put(id.key(), row.message); err != nil {
			return err
		}
	}
	there, present := r.deliveries(id)
	missing := slices.DeleteFunc(row.deliveries, func(d deliveryRow) bool { return there[d.index] })
	for _, d := range missing {
		if err := r.restoreDelivery(deliveryKey{id, d.index}, d.record, present); err != nil {
			return err
		}
	}
	return nil
}

// deliveries returns what is there of a message: the deliveries, and the
// recipients in them.
func (r *repair) deliveries(id ID) (there map[uint16]bool, present map[string]bool) {
	there, present = map[uint16]bool{}, map[string]bool{}
	c := r.tx.Bucket(bucketDelivery).Cursor()
	for key, record := c.Seek(id.key()); key != nil; key, record = c.Next() {
		k, ok := parseDeliveryKey(key)
		if !ok || k.id != id {
			break
		}
		there[k.index] = true
		if d, err := decodeDelivery(k, record); err == nil {
			for i := range d.Recipients {
				present[d.Recipients[i].Path.String()] = true
			}
		}
	}
	return there, present
}

// restoreDelivery writes a delivery as it was at first, without the recipients
// that are in another one by now.
func (r *repair) restoreDelivery(key deliveryKey, record []byte, present map[string]bool) error {
	d, err := decodeDelivery(key, record)
	if err != nil {
		return nil
	}
	d.Recipients = slices.DeleteFunc(d.Recipients, func(r Recipient) bool { return present[r.Path.String()] })
	if len(d.Recipients) == 0 {
		return nil
	}
	r.outside[key.id] = true
	return r.put(key.bytes(), encodeDelivery(d))
}

// whole takes out what does not make a whole message, and sets it aside.
func (r *repair) whole() error {
	ids := map[ID]bool{}
	for _, name := range [][]byte{bucketMessage, bucketDelivery, bucketAttempt} {
		c := r.tx.Bucket(name).Cursor()
		for key, _ := c.First(); key != nil; key, _ = c.Next() {
			ids[ID(binary.BigEndian.Uint64(key))] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		reason, err := r.unfit(id)
		if err != nil {
			return err
		}
		if reason == "" {
			r.Repair.Messages++
			if r.outside[id] {
				r.Recovered = append(r.Recovered, id)
			}
			continue
		}
		if err := r.setAside(id, reason); err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

// unfit says why a message cannot be kept; empty when it can.
func (r *repair) unfit(id ID) (string, error) {
	record := r.tx.Bucket(bucketMessage).Get(id.key())
	if record == nil {
		return "its envelope is missing", nil
	}
	m, err := decodeMessage(id, record)
	if err != nil {
		return err.Error(), nil
	}
	if key, _ := r.tx.Bucket(bucketDelivery).Cursor().Seek(id.key()); len(key) < 8 || ID(binary.BigEndian.Uint64(key)) != id {
		return "its recipients are missing", nil
	}
	if !m.file {
		return "", nil
	}
	probe := newInspection(r.ctx, r.dir, func(Damage) {})
	err = probe.content(id, known{size: m.Size, sum: m.sum})
	if errors.Is(err, fs.ErrNotExist) {
		return "the file of its content is missing", nil
	}
	if probe.known[id].damaged {
		return "its content is damaged", nil
	}
	return "", err
}

// setAside takes a message out of the new index and keeps what there is of it.
func (r *repair) setAside(id ID, reason string) error {
	known := false
	for _, name := range [][]byte{bucketMessage, bucketDelivery, bucketAttempt} {
		c := r.tx.Bucket(name).Cursor()
		for key, value := c.Seek(id.key()); len(key) >= 8 && ID(binary.BigEndian.Uint64(key)) == id; key, value = c.Next() {
			known = known || string(name) != string(bucketAttempt)
			r.aside.record(asideHead{ID: id.String(), Bucket: string(name), Key: fmt.Sprintf("%x", key), Reason: reason}, value)
		}
	}
	if known {
		r.SetAside = append(r.SetAside, id)
	}
	return removeFromIndex(r.tx, id)
}

// lastSegment makes the segment that was brought in last, where it is missing.
func (r *repair) lastSegment(number uint64) error {
	dir := filepath.Join(r.dir, journalName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, segmentName(number)), os.O_WRONLY|os.O_CREATE, 0o600)
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
	if err := errors.Join(r.lastSegment(last), os.Rename(temp, name), syncDir(r.dir)); err != nil {
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
	if !r.appliedKnown || len(r.layers[0].stories) == 0 {
		return nil
	}
	h, err := openHistory(r.dir, r.applied, keepHistory, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	h.add(r.layers[0].stories, r.applied, last)
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
