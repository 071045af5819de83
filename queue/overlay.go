package queue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"
)

// overlay holds changes that are in the journal and not in the index yet.
type overlay struct {
	rows map[ID]*row
	// fresh are the messages that came, in order, but for some of those that have
	// left since. It is for store.oldest, and not cloned.
	fresh  []ID
	totals map[string]tally // of the classes whose totals changed, as they are now
	// imports is the memory of imported messages. It stays when a message
	// leaves.
	imports map[origin]imported
	// stories are those of messages that have left, for the history. They are
	// only appended to.
	stories []story
	holds   map[string]time.Time // since when destinations are on hold; zero where that has ended
}

func newOverlay() *overlay {
	return &overlay{rows: map[ID]*row{}, totals: map[string]tally{}, imports: map[origin]imported{}, holds: map[string]time.Time{}}
}

// clone returns a copy that keeps what o has now.
func (o *overlay) clone() *overlay {
	c := &overlay{rows: make(map[ID]*row, len(o.rows)), totals: maps.Clone(o.totals), imports: maps.Clone(o.imports), holds: maps.Clone(o.holds)}
	for id, r := range o.rows {
		other := *r
		other.deliveries, other.attempts = slices.Clone(r.deliveries), slices.Clone(r.attempts)
		c.rows[id] = &other
	}
	return c
}

// row is what is known of one message in one overlay.
type row struct {
	// fresh says that what is below does not count: nothing there knows the
	// message, or, where it has come back, one of its ID that left before.
	fresh, back bool
	// gone says that it has left; what is below does not count.
	gone       bool
	message    []byte // its record; nil when it stands below
	deliveries []deliveryRow
	attempts   []attemptRow
}

type deliveryRow struct {
	index  uint16
	record []byte
}

// Changes, as a batch has them one after the other:
//
//	insert  ID 8, length, message record, number, deliveries: each index 2, length, record
//	put     ID 8, index 2, length, delivery record
//	remove  ID 8
//	attempt ID 8, index 2, number 4, length, attempt record
//	leave   ID 8, n, hashes each 8, length, story
//	totals  length, class, messages, queued, deferred, held, bytes
//	hold    length, destination, length, time crc (see hold.go)
//	import  identity of the other queue 16, ID there 8, ID here 8, day 4
const (
	changeInsert  = 1
	changePut     = 2
	changeRemove  = 3
	changeTotals  = 4
	changeAttempt = 5
	changeImport  = 6
	changeLeave   = 7
)

func (o *overlay) insert(id ID, message []byte, deliveries []deliveryRow) {
	before := o.rows[id]
	back := before != nil && (before.gone || before.back)
	o.rows[id] = &row{fresh: true, back: back, message: message, deliveries: deliveries}
	for len(o.fresh) > 0 && o.rows[o.fresh[0]] == nil {
		o.fresh = o.fresh[1:]
	}
	at, _ := slices.BinarySearch(o.fresh, id) // most often the end
	o.fresh = slices.Insert(o.fresh, at, id)
}

func (o *overlay) put(k deliveryKey, record []byte) {
	r := o.row(k.id)
	for i := range r.deliveries {
		if r.deliveries[i].index == k.index {
			r.deliveries[i].record = record
			return
		}
	}
	r.deliveries = append(r.deliveries, deliveryRow{k.index, record})
}

func (o *overlay) attempt(id ID, a attemptRow) { o.row(id).addAttempt(a) }

// row returns the row of a message, or a new one.
func (o *overlay) row(id ID) *row {
	r := o.rows[id]
	if r == nil {
		r = &row{}
		o.rows[id] = r
	}
	return r
}

func (o *overlay) remove(id ID) {
	if r := o.rows[id]; r != nil && r.fresh && !r.back {
		delete(o.rows, id) // came and went, and nobody below need know
		return
	}
	o.rows[id] = &row{gone: true}
}

// leave removes a message and keeps its story.
func (o *overlay) leave(id ID, s story) {
	o.stories = append(o.stories, s)
	o.remove(id)
}

func appendInsert(b []byte, id ID, message []byte, deliveries []deliveryRow) []byte {
	b = binary.BigEndian.AppendUint64(append(b, changeInsert), uint64(id))
	b = appendBytes(b, message)
	b = binary.AppendUvarint(b, uint64(len(deliveries)))
	for _, d := range deliveries {
		b = appendBytes(binary.BigEndian.AppendUint16(b, d.index), d.record)
	}
	return b
}

func appendPut(b []byte, k deliveryKey, record []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, changePut), uint64(k.id))
	return appendBytes(binary.BigEndian.AppendUint16(b, k.index), record)
}

func appendRemove(b []byte, id ID) []byte {
	return binary.BigEndian.AppendUint64(append(b, changeRemove), uint64(id))
}

func appendBytes(b, p []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(p))), p...) }

func appendAttempt(b []byte, id ID, a attemptRow) []byte {
	b = binary.BigEndian.AppendUint64(append(b, changeAttempt), uint64(id))
	b = binary.BigEndian.AppendUint16(b, a.index)
	return appendBytes(binary.BigEndian.AppendUint32(b, a.number), a.record)
}

func appendLeave(b []byte, id ID, s story) []byte {
	b = binary.BigEndian.AppendUint64(append(b, changeLeave), uint64(id))
	b = binary.AppendUvarint(b, uint64(len(s.keys)))
	for _, key := range s.keys {
		b = binary.BigEndian.AppendUint64(b, key)
	}
	return appendBytes(b, s.record)
}

func (d *decoder) story() (s story) {
	for range min(d.number(), uint64(len(d.b))) {
		s.keys = append(s.keys, uint64(d.id()))
	}
	s.record = d.bytes()
	return s
}

func appendTotals(b []byte, class string, t tally) []byte {
	return t.appendTo(appendString(append(b, changeTotals), class))
}

func (d *decoder) totals() (class string, t tally) { return d.string(), d.tally() }

// replay applies the changes of one batch. The records are parts of b.
func (o *overlay) replay(b []byte) error {
	d := decoder{b: b}
	for d.at < len(b) && !d.bad {
		switch kind := d.octet(); kind {
		case changeInsert:
			id, message := d.id(), d.bytes()
			rows := make([]deliveryRow, 0, 1)
			for range min(d.number(), uint64(len(b))) {
				rows = append(rows, deliveryRow{d.index(), d.bytes()})
			}
			o.insert(id, message, rows)
		case changePut:
			o.put(deliveryKey{d.id(), d.index()}, d.bytes())
		case changeRemove:
			o.remove(d.id())
		case changeLeave:
			o.leave(d.id(), d.story())
		case changeAttempt:
			o.attempt(d.id(), attemptRow{d.index(), d.sum(), d.bytes()})
		case changeTotals:
			class, t := d.totals()
			o.totals[class] = t
		case changeHold:
			name, since := d.hold()
			o.holds[name] = since
		case changeImport:
			from, as := d.imported()
			o.imports[from] = as
		default:
			return fmt.Errorf("change of kind %d is of an %w", kind, ErrFormat)
		}
	}
	if d.bad {
		return fmt.Errorf("batch is %w", ErrDamaged)
	}
	return nil
}

func (d *decoder) bytes() []byte { return d.take(d.number()) }

func (d *decoder) id() ID {
	if b := d.take(8); b != nil {
		return ID(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) index() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// ids returns the messages of an overlay, from one on, in order. A nil overlay
// has none.
func (o *overlay) ids(from ID) []ID {
	if o == nil {
		return nil
	}
	var all []ID
	for id := range o.rows {
		if id >= from {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}
