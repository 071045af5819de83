package queue

import (
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// view calls f with a view of everything, committed or about to be. What f
// is given may not be changed, and not be kept but where that is said.
func (s *store) view(f func(*view) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := &view{store: s}
	return s.guard(func() error {
		defer v.end()
		return errors.Join(f(v), v.err)
	})
}

// view reads through the overlays into the index. The caller holds the lock.
type view struct {
	store *store
	tx    *bolt.Tx // begun when it is needed
	err   error
}

func (v *view) index() *bolt.Tx {
	if v.tx == nil && v.err == nil {
		v.tx, v.err = v.store.db.Begin(false)
	}
	return v.tx
}

func (v *view) end() {
	if v.tx != nil {
		_ = v.tx.Rollback() // of a transaction that only read
		v.tx = nil
	}
}

// rows returns what the overlays know of a message, the newest first; nil where
// they know nothing.
func (v *view) rows(id ID) (rows [2]*row) {
	rows[0] = v.store.active.rows[id]
	if frozen := v.store.frozen; frozen != nil {
		rows[1] = frozen.rows[id]
	}
	return rows
}

// message returns the record of a message, nil when there is none. A lasting
// one may be kept beyond the view.
func (v *view) message(id ID) (record []byte, lasting bool) {
	for _, r := range v.rows(id) {
		if r != nil && (r.gone || r.fresh || r.message != nil) {
			return r.message, true
		}
	}
	if tx := v.index(); tx != nil {
		return tx.Bucket(bucketMessage).Get(id.key()), false
	}
	return nil, false
}

// delivery returns the record of one delivery, nil when there is none.
func (v *view) delivery(k deliveryKey) []byte {
	for _, r := range v.rows(k.id) {
		if r == nil {
			continue
		}
		for _, d := range r.deliveries {
			if d.index == k.index {
				return d.record
			}
		}
		if r.gone || r.fresh {
			return nil
		}
	}
	if tx := v.index(); tx != nil {
		return tx.Bucket(bucketDelivery).Get(k.bytes())
	}
	return nil
}

// deliveries returns the records of all deliveries of a message, in order.
func (v *view) deliveries(id ID) []deliveryRow {
	rows := v.rows(id)
	if !reachesIndex(rows) || v.index() == nil {
		return merge(rows, nil)
	}
	s := storedRows{cursor: v.tx.Bucket(bucketDelivery).Cursor()}
	if s.seek(id); s.id != id {
		return merge(rows, nil)
	}
	return merge(rows, s.rows)
}

// reachesIndex reports whether what is in the index counts, too.
func reachesIndex(rows [2]*row) bool {
	for _, r := range rows {
		if r != nil && (r.gone || r.fresh) {
			return false
		}
	}
	return true
}

// merge returns the records of all deliveries of a message, in order, of which the
// index has those that are stored.
func merge(rows [2]*row, stored []deliveryRow) []deliveryRow {
	if rows == [2]*row{} {
		return stored
	}
	var all []deliveryRow
	add := func(more []deliveryRow) {
		for _, d := range more {
			if !slices.ContainsFunc(all, func(o deliveryRow) bool { return o.index == d.index }) {
				all = append(all, d)
			}
		}
	}
	for _, r := range rows {
		if r == nil {
			continue
		}
		if add(r.deliveries); r.gone || r.fresh {
			stored = nil
			break
		}
	}
	add(stored)
	slices.SortFunc(all, func(a, b deliveryRow) int { return int(a.index) - int(b.index) })
	return all
}

// each calls f with the messages from one on, oldest first, and the records of their
// deliveries, until f returns false. What f is given is used again.
func (v *view) each(from ID, f func(ID, []deliveryRow) bool) error {
	return v.eachOf(v.recent(from), from, f)
}

// recent returns the messages from one on that the overlays know of, in order.
func (v *view) recent(from ID) []ID {
	recent := slices.Concat(v.store.active.ids(from), v.store.frozen.ids(from))
	slices.Sort(recent)
	return slices.Compact(recent)
}

// eachOf is each for a look that takes many views: it needs not sort what is
// recent for every one of them. Messages that came later may be left out.
func (v *view) eachOf(recent []ID, from ID, f func(ID, []deliveryRow) bool) error {
	at, _ := slices.BinarySearch(recent, from)
	recent = recent[at:]
	tx := v.index()
	if tx == nil {
		return v.err
	}
	stored := storedRows{cursor: tx.Bucket(bucketDelivery).Cursor()}
	for stored.seek(from); ; {
		next, records := stored.id, stored.rows
		if len(recent) > 0 && (next == 0 || recent[0] <= next) {
			if recent[0] < next {
				records = nil
			}
			next, recent = recent[0], recent[1:]
		}
		if next == 0 {
			return nil
		}
		if rows := v.rows(next); !gone(rows) && !f(next, merge(rows, records)) {
			return nil
		}
		if next == stored.id {
			stored.next()
		}
	}
}

// storedRows goes through the deliveries in the index, message by message.
type storedRows struct {
	cursor *bolt.Cursor
	id     ID            // of the message; 0 when there is no more
	rows   []deliveryRow // its deliveries
	key    []byte        // what comes behind them, nil at the end
	record []byte
}

// seek goes to the first message from one on.
func (s *storedRows) seek(from ID) {
	s.key, s.record = s.cursor.Seek(from.key())
	s.read(max(from, 1))
}

// next goes to the next message.
func (s *storedRows) next() { s.read(s.id + 1) }

// read reads on to the first message from one on. A damaged key that is out of order
// is passed over: it must not lead back.
func (s *storedRows) read(from ID) {
	s.id, s.rows = 0, s.rows[:0]
	for ; s.key != nil; s.key, s.record = s.cursor.Next() {
		k, ok := parseDeliveryKey(s.key)
		if !ok || s.id == 0 && k.id < from {
			continue
		}
		if s.id == 0 {
			s.id = k.id
		}
		if k.id != s.id {
			return
		}
		s.rows = append(s.rows, deliveryRow{k.index, s.record})
	}
}

// nextStored returns the first message in the index from one on, 0 when there
// is none.
func nextStored(c *bolt.Cursor, from ID) ID {
	s := storedRows{cursor: c}
	s.seek(from)
	return s.id
}

func (v *view) gone(id ID) bool { return gone(v.rows(id)) }

// gone reports whether a message has left, as what the overlays know of it says.
func gone(rows [2]*row) bool {
	for _, r := range rows {
		if r != nil {
			return r.gone
		}
	}
	return false
}
