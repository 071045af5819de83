package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"waypost/metrics"
)

// work makes attempts for one destination until nothing more is due there, or
// others wait for the place.
func (q *Queue) work(ctx context.Context, w *worker) {
	if w.review {
		q.review(w.destination)
		return
	}
	for c, ok := w.first, true; ok; c, ok = q.sched.take(w) {
		q.attempt(ctx, w, c)
	}
}

// attempt does what is due for one delivery. The record in the index says
// what that is; what the schedule said is only a hint.
func (q *Queue) attempt(ctx context.Context, w *worker, c claim) {
	to, key := w.destination, c.key
	q.opts.turn("attempt", key)
	m, d, err := q.read(key)
	switch {
	case errors.Is(err, ErrUnknown):
		q.sched.done(key, to.name, nil)
		return
	case err != nil:
		// It stays on disk as it is, for repair.
		q.log.Error("message set aside", "queue_id", key.id.String(), "error", err.Error())
		q.sched.done(key, to.name, nil)
		return
	}
	now := q.now()
	// Once the clock has gone back, the last attempt can seem to be still to come.
	last := d.lastAttempt()
	wanted := c.wanted.After(last) || !c.wanted.IsZero() && last.After(now)
	switch {
	case d.Held || d.Open() == 0:
		q.sched.done(key, to.name, nil) // another hint says when it is released, if ever
	case d.Destination != to.name:
		q.sched.done(key, d.Destination, q.hint(d)) // it was rerouted meanwhile
	case !wanted && q.retry(d.Class).due(d).After(now):
		// It was put off meanwhile, or all were wanted at once, or the clock was set.
		q.sched.done(key, to.name, q.hint(d))
	case d.HoldUntil.After(now):
		q.sched.done(key, to.name, q.hint(d)) // not even when an operator wants it
	case d.late(now):
		q.settle(to, m, d, Outcome{late: true})
	case d.Next.After(now) && !wanted: // only the warning is due
		if warn := q.retry(d.Class).warnAt(d, m.begin()); warn.After(now) {
			// The ID is as old as the draft, and a content can take its time.
			again := q.hint(d)
			again.item.due = min(warn.UnixMilli(), d.Next.UnixMilli())
			q.sched.done(key, to.name, again)
			return
		}
		q.settle(to, m, d, Outcome{Interrupted: true})
	case q.rerouted(m, d):
		q.resort(to, m, d)
	default:
		q.deliver(ctx, w, m, d, !c.wanted.IsZero())
	}
}

// deliver makes an attempt. One that was put off before it came to anything
// leaves no trace.
func (q *Queue) deliver(ctx context.Context, w *worker, m *Message, d *Delivery, wanted bool) {
	start := time.Now()
	ctx, cancel := context.WithCancel(q.sched.withReached(ctx, w))
	defer cancel()
	q.sched.begin(w, cancel)
	out := q.opts.Deliverer.Deliver(ctx, m, d)
	if q.sched.finish(w) && out.Interrupted && !slices.ContainsFunc(out.Results, func(r Result) bool { return r.State != Deferred }) {
		again := q.hint(d)
		again.wanted = wanted
		q.sched.done(d.key(), w.destination.name, again)
		return
	}
	if out.Waits {
		again := q.hint(d)
		again.wanted = wanted
		q.sched.done(d.key(), w.destination.name, again)
		return
	}
	label := outcomeLabel(out)
	q.metrics.Attempts.WithLabelValues(label).Inc()
	q.metrics.ClassAttempts.WithLabelValues(q.classes.of(m.Class).Name, label).Inc()
	q.metrics.AttemptDuration.Observe(time.Since(start).Seconds())
	q.conclude(w, m, d, out)
}

// conclude settles an attempt and draws what it says about the destination.
func (q *Queue) conclude(w *worker, m *Message, d *Delivery, out Outcome) {
	to := w.destination
	if !out.Interrupted {
		q.sched.judge(w, out, q.opts.Rand)
	}
	q.settle(to, m, d, out)
	if !out.pauses() {
		return
	}
	if at := slices.IndexFunc(out.Results, func(r Result) bool { return r.State == Deferred }); at >= 0 {
		q.settleWaiting(to, out.Results[at])
	}
}

// settleWaiting expires or warns about what waits behind a failed attempt and
// is due for that, page by page. The attempt counts as theirs: it was made at
// the destination that all of them wait for.
func (q *Queue) settleWaiting(to *destination, result Result) {
	now := q.now()
	picked := q.sched.pick(to, func(c *class, it item) bool {
		_, late := overdue(&c.Retry, &Delivery{Warned: it.warned}, it.id.Arrived(), now)
		return late && it.due <= now.UnixMilli()
	})
	for _, p := range picked {
		for page := range slices.Chunk(p.items, changePage) {
			q.settlePage(to.name, q.sched.claimAll(to.name, p, page), result, now)
		}
	}
}

// overdue reports whether the lifetime of a delivery, or its by-time, is over, and
// whether that or its warning is due.
func overdue(p *RetryPolicy, d *Delivery, begin, now time.Time) (expired, any bool) {
	expired = !now.Before(d.within(p.expiry(begin)))
	warn := p.warnAt(d, begin)
	return expired, expired || !d.Warned && !warn.IsZero() && !now.Before(warn)
}

func (q *Queue) settlePage(to string, keys []deliveryKey, result Result, now time.Time) {
	var page []*settlement
	for _, key := range keys {
		m, d, err := q.read(key)
		if err != nil || d.Held || d.Open() == 0 {
			q.sched.done(key, to, nil)
			continue
		}
		expired, late := overdue(q.retry(d.Class), d, d.begin(), now)
		if !late || d.Destination != to {
			// It was held for a later release, its sender named a time for the
			// warning, or it was rerouted.
			q.sched.done(key, d.Destination, q.hint(d))
			continue
		}
		page = append(page, q.conclusion(m, d, Outcome{Results: slices.Repeat([]Result{result}, d.Open()), Interrupted: !expired}))
	}
	if len(page) > 0 {
		q.settleAll(to, page)
	}
}

func outcomeLabel(out Outcome) string {
	if out.Unreachable {
		return metrics.AttemptUnreachable
	}
	label := metrics.AttemptDeferred
	for _, r := range out.Results {
		switch r.State {
		case Delivered:
			return metrics.AttemptSent
		case Failed:
			label = metrics.AttemptBounced
		}
	}
	return label
}

// ErrUnknown means that there is no such message in the queue.
var ErrUnknown = errors.New("no such message")

// read returns a delivery with its message.
func (q *Queue) read(key deliveryKey) (m *Message, d *Delivery, err error) {
	err = q.store.view(func(v *view) error {
		record := v.delivery(key)
		if record == nil {
			return ErrUnknown
		}
		if d, err = decodeDelivery(key, record); err != nil {
			return err
		}
		m, err = q.readMessage(v, key.id)
		return err
	})
	return m, d, err
}

// readMessage returns a message that may be kept.
func (q *Queue) readMessage(v *view, id ID) (*Message, error) {
	record, lasting := v.message(id)
	if record == nil {
		return nil, fmt.Errorf("message %s: %w: its record is missing", id, ErrDamaged)
	}
	m, err := decodeMessage(id, record)
	if err != nil {
		return nil, err
	}
	m.queue = q
	if !lasting {
		m.inline = slices.Clone(m.inline)
	}
	return m, nil
}

// rerouted reports whether the routes lead an open recipient elsewhere by now.
func (q *Queue) rerouted(m *Message, d *Delivery) bool {
	for i := range d.Recipients {
		r := &d.Recipients[i]
		if r.State.Open() && q.opts.Router.Destination(&m.Envelope, r) != d.Destination {
			return true
		}
	}
	return false
}

// resort replaces a delivery by deliveries along today's routes. They are due
// at once: what happened at the old destination says nothing about the new.
func (q *Queue) resort(to *destination, m *Message, d *Delivery) {
	var open, final []Recipient
	for _, r := range d.Recipients {
		if r.State.Open() {
			open = append(open, r)
		} else {
			final = append(final, r)
		}
	}
	parts := q.sort(m, open)
	err := q.commit(func(b *batch) error {
		if recordSum(b.delivery(d.key())) != d.sum {
			return errChanged // and who did that says when it is due
		}
		rows := b.deliveries(d.ID)
		index := rows[len(rows)-1].index
		for i, part := range parts {
			part.Index = d.Index // the first takes the old one's place
			if i > 0 {
				index++
				part.Index = index
			} else {
				part.Recipients = append(part.Recipients, final...)
			}
			part.Attempts, part.Notices, part.Warned, part.Next = d.Attempts, d.Notices, d.Warned, later(q.now(), d.HoldUntil)
			b.put(part.key(), encodeDelivery(part))
		}
		return nil
	})
	q.sched.done(d.key(), to.name, nil)
	if err != nil {
		return
	}
	q.log.Info("rerouted", "queue_id", d.ID.String(), "from", d.Destination, "next_hop", parts[0].Destination)
	for _, part := range parts {
		q.reschedule(part)
	}
}
