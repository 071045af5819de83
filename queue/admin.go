package queue

import (
	"io"
	"time"

	"waypost/metrics"
)

// Entry is a message with its deliveries, as an operator sees it.
type Entry struct {
	ID ID
	Envelope
	Deliveries []*Delivery
	// Attempts are those that were made, in the order of their time; only Show
	// has them. Of many, the first of each delivery and the newest are kept.
	Attempts []Attempt
	// Damaged says that a record of the message does not match its checksum.
	// It is not attempted, and nothing but its ID and arrival is known.
	Damaged bool
}

// damaged is the entry of a message that cannot be read.
func damaged(id ID) Entry {
	return Entry{ID: id, Envelope: Envelope{Arrival: id.Arrived()}, Damaged: true}
}

// entry reads one message with its deliveries.
func (q *Queue) entry(v *view, id ID) (Entry, error) { return entryOf(v, id, v.deliveries(id)) }

// entryOf is entry for who has the records of the deliveries.
func entryOf(v *view, id ID, rows []deliveryRow) (Entry, error) {
	e := Entry{ID: id}
	for _, row := range rows {
		d, err := decodeDelivery(deliveryKey{id, row.index}, row.record)
		if err != nil {
			return e, err
		}
		e.Deliveries = append(e.Deliveries, d)
	}
	record, _ := v.message(id)
	if record == nil || len(e.Deliveries) == 0 {
		return e, ErrUnknown
	}
	m, err := decodeMessage(id, record)
	if err == nil {
		e.Envelope = m.Envelope
	}
	return e, err
}

// Show returns one message with its attempts, or ErrUnknown.
func (q *Queue) Show(id ID) (e Entry, err error) {
	err = q.store.view(func(v *view) error {
		if e, err = q.entry(v, id); err == nil {
			e.Attempts = decodeAttempts(id, v.attempts(id))
		}
		return err
	})
	return e, err
}

// Content opens the content of a message, or returns ErrUnknown.
func (q *Queue) Content(id ID) (io.ReadCloser, error) {
	var m *Message
	err := q.store.view(func(v *view) (err error) {
		if record, _ := v.message(id); record == nil {
			return ErrUnknown
		}
		m, err = q.readMessage(v, id)
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
	if paused, _ := q.Paused(d); paused.After(d.Next) {
		return paused
	}
	return d.Next
}

// Paused returns when the destination of d is tried again that could not be
// reached, or where a host asked to be left alone, and what was said then; zero
// where it is not paused.
func (q *Queue) Paused(d *Delivery) (until time.Time, why string) {
	return q.sched.pausedUntil(d.Destination, q.classes.of(d.Class))
}

// Stats returns one view of the queue.
func (q *Queue) Stats() metrics.QueueStats {
	sum := q.store.sum()
	stats := metrics.QueueStats{Messages: sum.messages, Bytes: sum.bytes, Classes: q.classStats()}
	for _, c := range stats.Classes {
		stats.Queued, stats.Deferred, stats.Held = stats.Queued+c.Queued, stats.Deferred+c.Deferred, stats.Held+c.Held
	}
	waiting := q.sched.stats(q.opts.TopDestinations)
	stats.Destinations, stats.Waiting = waiting.destinations, waiting.paused
	stats.Top, stats.Other = waiting.top, waiting.other
	stats.FastAttempts, stats.SlowAttempts = waiting.fast, waiting.slow
	if free, _, err := q.room.look(); err == nil {
		stats.DiskFree = free
	}
	var left time.Time
	if stats.HistoryBytes, left = q.store.history.state(); !left.IsZero() {
		stats.HistoryAge = max(time.Since(left), 0)
	}
	stats.IndexBytes, stats.IndexFree = q.store.usage()
	if oldest := q.store.oldest(); oldest != 0 {
		stats.OldestAge = max(time.Since(oldest.Arrived()), 0)
	}
	return stats
}

// classStats counts by class, by rank. What is in an unknown class counts for
// the default one, and what waits for a destination on hold is held.
func (q *Queue) classStats() []metrics.ClassStats {
	stats := make([]metrics.ClassStats, len(q.classes.all))
	for i, c := range q.classes.all {
		stats[i].Name = c.Name
	}
	for name, t := range q.store.byClass() {
		s := &stats[q.classes.of(name).index]
		s.Queued, s.Deferred, s.Held = s.Queued+t.queued, s.Deferred+t.deferred, s.Held+t.held
	}
	for i, t := range q.sched.heldByClass() {
		s := &stats[i]
		// A hint can outlive what it stands for, but never counts for more.
		t.queued, t.deferred = min(t.queued, s.Queued), min(t.deferred, s.Deferred)
		s.Queued, s.Deferred, s.Held = s.Queued-t.queued, s.Deferred-t.deferred, s.Held+t.queued+t.deferred
	}
	return stats
}
