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
	var all []deliveryRow
	add := func(d deliveryRow) {
		if !slices.ContainsFunc(all, func(o deliveryRow) bool { return o.index == d.index }) {
			all = append(all, d)
		}
	}
	deeper := true
	for _, r := range v.rows(id) {
		if r != nil && deeper {
			for _, d := range r.deliveries {
				add(d)
			}
			deeper = !r.gone && !r.fresh
		}
	}
	if deeper && v.index() != nil {
		c := v.tx.Bucket(bucketDelivery).Cursor()
		for key, record := c.Seek(id.key()); key != nil; key, record = c.Next() {
			k, ok := parseDeliveryKey(key)
			if !ok || k.id != id {
				break
			}
			add(deliveryRow{k.index, record})
		}
	}
	slices.SortFunc(all, func(a, b deliveryRow) int { return int(a.index) - int(b.index) })
	return all
}

// each calls f with the messages from one on, oldest first, until f returns
// false.
func (v *view) each(from ID, f func(ID) bool) error {
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
func (v *view) eachOf(recent []ID, from ID, f func(ID) bool) error {
	at, _ := slices.BinarySearch(recent, from)
	recent = recent[at:]
	tx := v.index()
	if tx == nil {
		return v.err
	}
	c := tx.Bucket(bucketDelivery).Cursor()
	stored := nextStored(c, from)
	for {
		next := stored
		if len(recent) > 0 && (next == 0 || recent[0] <= next) {
			next = recent[0]
			recent = recent[1:]
		}
		if next == 0 {
			return nil
		}
		if next == stored {
			stored = nextStored(c, stored+1)
		}
		if !v.gone(next) && !f(next) {
			return nil
		}
	}
}

// nextStored returns the first message in the index from one on, 0 when there
// is none. A damaged key that is out of order is passed over: it must not lead
// back.
func nextStored(c *bolt.Cursor, from ID) ID {
	for key, _ := c.Seek(from.key()); key != nil; key, _ = c.Next() {
		if k, ok := parseDeliveryKey(key); ok && k.id >= max(from, 1) {
			return k.id
		}
	}
	return 0
}

func (v *view) gone(id ID) bool {
	for _, r := range v.rows(id) {
		if r != nil {
			return r.gone
		}
	}
	return false
}
