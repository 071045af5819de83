package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Damage is one thing that is wrong with a queue on disk.
type Damage struct {
	// ID is the message's; 0 where it is about no single message, or nobody
	// knows.
	ID ID
	// File is where it is, relative to the data directory.
	File string
	// Reason says what is wrong.
	Reason string
}

// Verification is what a look at everything in a queue came to.
type Verification struct {
	Messages, Deliveries, Attempts, Pages, Segments, Contents int64
	// ContentBytes is the size of all contents that were compared with their
	// checksum, in octets.
	ContentBytes int64
	// Orphans are content files without a message: what a crash leaves. They
	// are removed when they are 36 hours old.
	Orphans int64
	// Stories are those of messages that have left, in whole blocks of the
	// history, and HistoryFiles the files that it has.
	Stories, HistoryFiles int64
	// Damages is how many things are wrong.
	Damages int64
}

// inspection looks at everything that a directory holds. What it reads does not
// change meanwhile: either the queue is stopped, or it reads a snapshot.
type inspection struct {
	dir    string
	ctx    context.Context
	pages  *pageFile  // nil when there is no index to read
	layers []*overlay // what the journal has, the newest first
	// found is told of each damage; aside, where it is set, gets what is
	// damaged as it is on disk.
	found func(Damage)
	aside func(d Damage, raw []byte)
	// gone asks whether a message has left meanwhile; nil when it cannot.
	gone func(ID) bool

	Verification
	known map[ID]known
	lost  map[uint64]bool // pages of the index that cannot be read in order
	// faulty are the buckets that such a page belongs to; "" is all of them.
	faulty map[string]bool
	// broken says that messages may be missing without a trace of which, older
	// that the newest meta page cannot be read, perhaps.
	broken, older bool
	meta          indexMeta        // as far as it can be read
	totals        map[string]tally // as they are counted
	stored        map[string]tally // as they are written; nil when they are not
	free          pageSet          // pages that are in the list of free ones
	used          pageSet
	last          map[string][]byte // the last key of each bucket
	// pending are stories that the journal of a stopped queue has for the
	// history, spoilt the files of the history with something wrong in them, and
	// historyDamages how many of the damages these are.
	pending        []story
	spoilt         []historyExtent
	historyDamages int64
	noHistory      bool     // it is no directory, or cannot be read
	odd            []string // what is in the place of a file, or a directory
}

// known is what is known of one message.
type known struct {
	size       int64
	sum        uint32
	deliveries uint16
	message    bool
	file       bool
	damaged    bool
}

func newInspection(ctx context.Context, dir string, found func(Damage)) *inspection {
	return &inspection{
		dir: dir, ctx: ctx, found: found, aside: func(Damage, []byte) {}, gone: func(ID) bool { return false },
		known: map[ID]known{}, lost: map[uint64]bool{}, faulty: map[string]bool{}, totals: map[string]tally{}, last: map[string][]byte{},
	}
}

// damage notes what is wrong. raw is what stands there, where that is known.
func (in *inspection) damage(d Damage, raw []byte) {
	in.Damages++
	in.found(d)
	in.aside(d, raw)
}

// condemn notes what makes a message unfit to be delivered.
func (in *inspection) condemn(d Damage, raw []byte) {
	k := in.known[d.ID]
	k.damaged = true
	in.known[d.ID] = k
	in.damage(d, raw)
}

// records looks at the records, of the index and of the journal.
func (in *inspection) records() error {
	if in.pages != nil {
		if err := in.tree(); err != nil {
			return err
		}
	}
	for i, layer := range in.layers {
		if err := in.layer(layer, in.layers[:i]); err != nil {
			return err
		}
	}
	return nil
}

func (in *inspection) tree() error {
	in.used, in.free = newPageSet(in.pages.meta.pages), newPageSet(in.pages.meta.pages)
	w := treeWalk{file: in.pages, seen: in.used, leaf: in.leaf, damaged: in.page}
	if err := w.buckets(); err != nil {
		return err
	}
	in.Pages += int64(in.pages.meta.pages)
	for _, name := range [][]byte{bucketMeta, bucketMessage, bucketDelivery} {
		if !in.faulty[""] && !slices.Contains(w.names, string(name)) {
			in.page(string(name), in.pages.meta.root, fmt.Errorf("page %d is %w: it does not list a bucket", in.pages.meta.root, ErrDamaged))
		}
	}
	if err := w.free(); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		in.page("", in.pages.meta.freeList, err)
		return nil
	}
	free, err := in.pages.freePages()
	for _, id := range free {
		in.free.add(id)
	}
	unused := 0
	for id := uint64(2); id < in.pages.meta.pages; id++ {
		if !in.used.has(id) && !in.free.has(id) {
			unused++
		}
	}
	if unused > 0 && len(in.lost) == 0 {
		in.broken = true
		in.damage(Damage{File: indexName, Reason: fmt.Sprintf("%d pages are neither in use nor free", unused)}, nil)
	}
	return err
}

// page is told of a page that cannot be read.
func (in *inspection) page(bucket string, id uint64, err error) {
	in.broken, in.lost[id], in.faulty[bucket] = true, true, true
	reason := err.Error()
	if bucket != "" {
		reason += ", in the bucket " + bucket
	}
	in.damage(Damage{File: indexName, Reason: reason}, nil)
}

// leaf looks at the records of one leaf that do not stand in the journal anew.
func (in *inspection) leaf(bucket string, elements []element) error {
	if bucket == string(bucketTotals) && in.stored == nil {
		in.stored = map[string]tally{}
	}
	for _, e := range elements {
		if bytes.Compare(e.key, in.last[bucket]) <= 0 {
			in.broken = true
			in.damage(Damage{File: indexName, Reason: fmt.Sprintf("key %x of the bucket %s is out of order", e.key, bucket)}, e.value)
		}
		if in.last[bucket] = e.key; !hidden(in.layers, bucket, e.key) {
			in.record(indexName, bucket, e.key, e.value)
		}
	}
	return in.ctx.Err()
}

// hidden reports whether a record of the index is not the newest, or is of a
// message that has left.
func hidden(layers []*overlay, bucket string, key []byte) bool {
	if len(key) < 8 {
		return false
	}
	for _, layer := range layers {
		r := layer.rows[ID(binary.BigEndian.Uint64(key))]
		switch {
		case r == nil:
		case r.gone || r.fresh:
			return true
		case bucket == string(bucketMessage) && r.message != nil:
			return true
		case bucket == string(bucketDelivery):
			if k, ok := parseDeliveryKey(key); ok && slices.ContainsFunc(r.deliveries, func(d deliveryRow) bool { return d.index == k.index }) {
				return true
			}
		case bucket == string(bucketAttempt):
			if k, ok := parseAttemptKey(key); ok && r.supersedes(k) {
				return true
			}
		}
	}
	return false
}

// supersedes reports whether an attempt stands in r, or is not kept for one
// that does.
func (r *row) supersedes(k attemptKey) bool {
	return slices.ContainsFunc(r.attempts, func(a attemptRow) bool {
		return a.index == k.index && (a.number == k.number || k.number > 1 && k.number <= superseded(a.number))
	})
}

// layer looks at the records of the journal that newer ones do not hide.
func (in *inspection) layer(o *overlay, newer []*overlay) error {
	return o.each(func(bucket string, key, record []byte) error {
		if !hidden(newer, bucket, key) {
			in.record(journalName, bucket, key, record)
		}
		return in.ctx.Err()
	})
}

// each calls f with every record of an overlay as the index would have it,
// message by message.
func (o *overlay) each(f func(bucket string, key, record []byte) error) error {
	for _, id := range o.ids(0) {
		r := o.rows[id]
		var err error
		if r.message != nil {
			err = f(string(bucketMessage), id.key(), r.message)
		}
		for _, d := range r.deliveries {
			err = errors.Join(err, f(string(bucketDelivery), deliveryKey{id, d.index}.bytes(), d.record))
		}
		for _, a := range r.attempts {
			err = errors.Join(err, f(string(bucketAttempt), attemptKey{deliveryKey{id, a.index}, a.number}.bytes(), a.record))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// record looks at one record.
func (in *inspection) record(file, bucket string, key, value []byte) {
	id, err := ID(0), error(nil)
	if len(key) >= 8 {
		id = ID(binary.BigEndian.Uint64(key))
	}
	switch bucket {
	case string(bucketMessage):
		err = in.message(key, value)
	case string(bucketDelivery):
		err = in.delivery(key, value)
	case string(bucketAttempt):
		k, ok := parseAttemptKey(key)
		if _, err = decodeAttempt(k, value); !ok {
			err = errKey
		}
		in.Attempts++
	case string(bucketTotals):
		err, id = in.total(key, value), 0
	case string(bucketImported):
		err, id = checkImported(in.meta.version, key, value), 0
	case string(bucketHold):
		_, _, err = parseHold(in.meta.version, key, value)
		id = 0
	case string(bucketMeta):
		return // it was read before all others
	default:
		err, id = fmt.Errorf("bucket %q is none of ours", bucket), 0
	}
	if err != nil {
		if key := mendedKey(key, value); key != nil {
			id = ID(binary.BigEndian.Uint64(key))
			err = fmt.Errorf("message %s: the key of a record is %w", id, ErrDamaged)
		}
	}
	switch {
	case err == nil:
	case bucket == string(bucketMessage) || bucket == string(bucketDelivery):
		in.condemn(Damage{ID: id, File: file, Reason: err.Error()}, value)
	default:
		in.damage(Damage{ID: id, File: file, Reason: err.Error()}, value)
	}
}

var errKey = fmt.Errorf("the key of a record is %w", ErrDamaged)

// checkImported looks at the memory of one message that was imported.
func checkImported(version uint32, key, record []byte) error {
	if value, ok := unseal(version, key, record); !ok || len(value) != 8 || len(key) != importedKeyLength {
		return fmt.Errorf("what is known of an imported message is %w", ErrDamaged)
	}
	return nil
}

func (in *inspection) message(key, value []byte) error {
	if len(key) != 8 {
		return errKey
	}
	id := ID(binary.BigEndian.Uint64(key))
	m, err := decodeMessage(id, value)
	if err != nil {
		return err
	}
	in.Messages++
	k := in.known[id]
	k.message, k.file, k.size, k.sum = true, m.file, m.Size, m.sum
	in.known[id] = k
	if m.file {
		return nil
	}
	in.ContentBytes += int64(len(m.inline))
	if int64(len(m.inline)) != m.Size || checksum(m.inline) != m.sum {
		return fmt.Errorf("message %s: content is %w", id, ErrDamaged)
	}
	return nil
}

func (in *inspection) delivery(key, value []byte) error {
	k, ok := parseDeliveryKey(key)
	if !ok {
		return errKey
	}
	d, err := decodeDelivery(k, value)
	if err != nil {
		return err
	}
	in.Deliveries++
	of := in.known[k.id]
	change := tallyOf(d)
	if of.deliveries == 0 {
		change.messages, change.bytes = 1, d.Size
	}
	of.deliveries++
	in.known[k.id] = of
	in.totals[d.Class] = in.totals[d.Class].plus(change)
	return nil
}

func (in *inspection) total(key, value []byte) error {
	class, t, ok := parseTotals(in.meta.version, key, value)
	if !ok {
		return fmt.Errorf("the totals of class %q are %w", key, ErrDamaged)
	}
	in.stored[class] = t
	return nil
}

// together looks at whether the records fit together.
func (in *inspection) together() {
	for _, id := range slices.Sorted(maps.Keys(in.known)) {
		k := in.known[id]
		switch {
		case k.damaged:
		case !k.message:
			in.condemn(Damage{ID: id, File: indexName, Reason: fmt.Sprintf("message %s: its envelope is missing", id)}, nil)
		case k.deliveries == 0:
			in.condemn(Damage{ID: id, File: indexName, Reason: fmt.Sprintf("message %s: its recipients are missing", id)}, nil)
		}
	}
	for i := len(in.layers) - 1; i >= 0; i-- {
		if in.stored == nil && len(in.layers[i].totals) > 0 {
			in.stored = map[string]tally{}
		}
		maps.Copy(in.stored, in.layers[i].totals)
	}
	if in.stored == nil || in.Damages > 0 {
		return // they are counted at the next start, or cannot be right
	}
	classes := slices.Sorted(maps.Keys(in.stored))
	for class := range in.totals {
		if _, ok := in.stored[class]; !ok {
			classes = append(classes, class) // what is not written is zero
		}
	}
	for _, class := range classes {
		if in.stored[class] != in.totals[class] {
			in.damage(Damage{File: indexName, Reason: fmt.Sprintf("the totals of class %q are not those of its messages: %+v, counted %+v", class, in.stored[class], in.totals[class])}, nil)
		}
	}
}
