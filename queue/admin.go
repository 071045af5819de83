package queue

import (
	"errors"
	"io"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"waypost/metrics"
)

// Filter selects messages. Its zero value selects all; what is set must all
// apply.
type Filter struct {
	// IDs selects these messages.
	IDs []ID
	// ToDomain selects messages with an open recipient in this domain.
	ToDomain string
	// From selects by reverse-path: a mailbox, a domain with or without @ in
	// front, or "<>".
	From string
	// OlderThan selects messages that arrived at least so long ago.
	OlderThan time.Duration
	// State is "queued", "deferred" or "held": a recipient must be that.
	State string
}

// Entry is a message with its deliveries, as an operator sees it.
type Entry struct {
	ID ID
	Envelope
	Deliveries []*Delivery
}

func (f *Filter) match(e *Entry) bool {
	if f.OlderThan > 0 && time.Since(e.Arrival) < f.OlderThan {
		return false
	}
	if f.From != "" && !f.matchFrom(e) {
		return false
	}
	if f.ToDomain == "" && f.State == "" {
		return true
	}
	for _, d := range e.Deliveries {
		for i := range d.Recipients {
			if f.matchRecipient(d, &d.Recipients[i]) {
				return true
			}
		}
	}
	return false
}

func (f *Filter) matchFrom(e *Entry) bool {
	switch path := e.ReversePath; {
	case f.From == "<>":
		return path.IsNull()
	case path.IsNull():
		return false
	case strings.LastIndexByte(f.From, '@') > 0:
		return strings.EqualFold(path.String(), f.From)
	default:
		return strings.EqualFold(path.DomainKey(), strings.TrimPrefix(f.From, "@"))
	}
}

func (f *Filter) matchRecipient(d *Delivery, r *Recipient) bool {
	if !r.State.Open() {
		return false
	}
	if f.ToDomain != "" && !strings.EqualFold(r.Path.DomainKey(), f.ToDomain) {
		return false
	}
	switch f.State {
	case "":
		return true
	case "held":
		return d.Held
	default:
		return !d.Held && r.State.String() == f.State
	}
}

// List returns up to limit messages after the given ID, oldest first, and
// whether there may be more.
func (q *Queue) List(f Filter, after ID, limit int) (entries []Entry, more bool, err error) {
	err = q.db.View(func(tx *bolt.Tx) error {
		if len(f.IDs) > 0 {
			return q.listIDs(tx, f, after, func(e Entry) { entries = append(entries, e) })
		}
		c := tx.Bucket(bucketDelivery).Cursor()
		key, _ := c.Seek((after + 1).key())
		for key != nil {
			k, ok := parseDeliveryKey(key)
			if !ok {
				return ErrDamaged
			}
			if len(entries) == limit {
				more = true
				return nil
			}
			if f.OlderThan > 0 && time.Since(k.id.Arrived()) < f.OlderThan {
				return nil // only younger ones follow
			}
			e, err := q.entry(tx, k.id)
			if err == nil && f.match(&e) {
				entries = append(entries, e)
			}
			key, _ = c.Seek((k.id + 1).key())
		}
		return nil
	})
	return entries, more, err
}

func (q *Queue) listIDs(tx *bolt.Tx, f Filter, after ID, found func(Entry)) error {
	for _, id := range f.IDs {
		if id <= after {
			continue
		}
		e, err := q.entry(tx, id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		if f.match(&e) {
			found(e)
		}
	}
	return nil
}

// entry reads one message with its deliveries.
func (q *Queue) entry(tx *bolt.Tx, id ID) (Entry, error) {
	e := Entry{ID: id}
	c := tx.Bucket(bucketDelivery).Cursor()
	for key, value := c.Seek(id.key()); key != nil; key, value = c.Next() {
		k, ok := parseDeliveryKey(key)
		if !ok || k.id != id {
			break
		}
		d, err := decodeDelivery(k, value)
		if err != nil {
			return e, err
		}
		e.Deliveries = append(e.Deliveries, d)
	}
	record := tx.Bucket(bucketMessage).Get(id.key())
	if record == nil || len(e.Deliveries) == 0 {
		return e, ErrUnknown
	}
	m, err := decodeMessage(id, record)
	if err == nil {
		e.Envelope = m.Envelope
	}
	return e, err
}

// Show returns one message, or ErrUnknown.
func (q *Queue) Show(id ID) (e Entry, err error) {
	err = q.db.View(func(tx *bolt.Tx) error {
		e, err = q.entry(tx, id)
		return err
	})
	return e, err
}

// Content opens the content of a message, or returns ErrUnknown.
func (q *Queue) Content(id ID) (io.ReadCloser, error) {
	var m *Message
	err := q.db.View(func(tx *bolt.Tx) (err error) {
		if tx.Bucket(bucketMessage).Get(id.key()) == nil {
			return ErrUnknown
		}
		m, err = q.readMessage(tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.Content()
}

// WaitsUntil returns when d will be attempted: when it is due, or when its
// destination is tried again.
func (q *Queue) WaitsUntil(d *Delivery) time.Time {
	if paused := q.sched.pausedUntil(d.Destination); paused.After(d.Next) {
		return paused
	}
	return d.Next
}

// Stats returns one view of the queue.
func (q *Queue) Stats() metrics.QueueStats {
	sum := q.totals.get()
	stats := metrics.QueueStats{
		Messages: sum.messages, Queued: sum.queued, Deferred: sum.deferred, Held: sum.held, Bytes: sum.bytes,
	}
	stats.Destinations, stats.Waiting = q.sched.count()
	if free, _, err := q.room.look(); err == nil {
		stats.DiskFree = free
	}
	if oldest := q.oldest(); oldest != 0 {
		stats.OldestAge = max(time.Since(oldest.Arrived()), 0)
	}
	return stats
}

func (q *Queue) oldest() (id ID) {
	// A queue that is being closed has no oldest message.
	_ = q.db.View(func(tx *bolt.Tx) error {
		if key, _ := tx.Bucket(bucketDelivery).Cursor().First(); key != nil {
			k, _ := parseDeliveryKey(key)
			id = k.id
		}
		return nil
	})
	return id
}
