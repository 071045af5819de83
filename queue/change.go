package queue

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// changePage is how many messages one change touches in one commit, so that
// acceptance and delivery go on between the commits of a long one.
const changePage = 200

// RetryNow makes the selected deliveries due at once, and tries their
// destinations again. Held ones stay held, and so do those for a future
// release (RFC 4865). It returns the number of messages.
func (q *Queue) RetryNow(f Filter) (int, error) {
	how := func(d *Delivery, _ func(*Recipient) bool) bool {
		now := q.now()
		if d.Held || d.HoldUntil.After(now) {
			return false
		}
		d.Next = now
		return true
	}
	waiting, known := q.waitingFor(&f)
	if !known {
		return q.change(f, how)
	}
	changed := 0
	for page := range slices.Chunk(waiting, changePage) {
		f.IDs = page
		n, err := q.change(f, how)
		if changed += n; err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// waitingFor returns messages, in order, among which are all that f selects and
// that wait to be attempted. It does not know them where f names neither
// destination nor domain, and in the first seconds after a start.
func (q *Queue) waitingFor(f *Filter) (ids []ID, known bool) {
	if len(f.IDs) > 0 || f.Destination == "" && f.ToDomain == "" {
		return nil, false
	}
	select {
	case <-q.loaded:
	default:
		return nil, false
	}
	ids = q.sched.waitingAt(func(name string) bool {
		if f.Destination != "" && name != f.Destination {
			return false
		}
		domain, _, _ := strings.Cut(name, " ")
		return f.ToDomain == "" || strings.Contains(name, ":") || f.matchDomain(domain)
	})
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// Hold keeps the selected deliveries from being attempted until Release. An
// attempt that is under way is not interrupted.
func (q *Queue) Hold(f Filter) (int, error) {
	return q.change(f, func(d *Delivery, _ func(*Recipient) bool) bool {
		was := d.Held
		d.Held = true
		return !was
	})
}

// Release ends a hold. What became due meanwhile is attempted at once.
func (q *Queue) Release(f Filter) (int, error) {
	return q.change(f, func(d *Delivery, _ func(*Recipient) bool) bool {
		was := d.Held
		d.Held = false
		return was
	})
}

// Remove takes the selected recipients out of the queue, without a report. A
// message goes when it has no recipient left that waits.
func (q *Queue) Remove(f Filter) (int, error) {
	reason := "removed by " + cmp.Or(f.By, "an operator")
	return q.change(f, func(d *Delivery, selected func(*Recipient) bool) bool {
		changed, now := false, q.now()
		for i := range d.Recipients {
			if r := &d.Recipients[i]; r.State.Open() && selected(r) {
				changed = true
				r.State, r.LastAttempt = Removed, now
				r.Last = Result{State: Removed, Reason: reason}
			}
		}
		return changed
	})
}

// alter changes a delivery, and reports whether it did.
type alter func(d *Delivery, selected func(*Recipient) bool) bool

// change applies a change to every delivery with a selected recipient.
func (q *Queue) change(f Filter, how alter) (int, error) {
	changed := 0
	f = q.filter(f)
	var after ID
	for {
		entries, more, err := q.List(f, after, changePage)
		if err != nil {
			return changed, err
		}
		n, err := q.changeEntries(f, entries, how)
		changed += n
		if err != nil || !more || len(entries) == 0 {
			return changed, err
		}
		after = entries[len(entries)-1].ID
	}
}

// changed is what one commit of a change did.
type changed struct {
	deliveries []*Delivery
	gone       []*Message
	messages   int
}

func (q *Queue) changeEntries(f Filter, entries []Entry, how alter) (int, error) {
	q.changes.Lock()
	defer q.changes.Unlock()
	var done changed
	err := q.commit(func(b *batch) error {
		for _, e := range entries {
			if err := q.changeEntry(b, f, e.ID, how, &done); err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrDamaged) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, m := range done.gone {
		q.log.Info("removed", "queue_id", m.ID.String(), "by", f.By)
		q.removeContent(m)
	}
	wished := map[string]bool{} // one wish for all of them, however soon the first attempt ends
	for _, d := range done.deliveries {
		h := q.reviewed(d)
		if h != nil {
			wished[d.Destination] = true
		}
	}
	for name := range wished {
		q.sched.wakeUp(name)
	}
	return done.messages, nil
}

// reviewed has the schedule know a delivery as it is since it was changed, and
// returns what that knows. The lock keeps the order of changes.
func (q *Queue) reviewed(d *Delivery) *hint {
	switch {
	case d.Deadline.IsZero() || d.Held:
	case d.awaitsDeadline():
		q.ends.add(d.Deadline, d.key()) // which may have been while it was on hold
	default:
		q.ends.forget(d.key())
	}
	h := q.hint(d)
	q.sched.replace(d.key(), d.Destination, h)
	return h
}

// changeEntry changes one message as it is now, which may not be as it was
// listed.
func (q *Queue) changeEntry(b *batch, f Filter, id ID, how alter, done *changed) error {
	e, err := q.entry(&b.view, id)
	if err != nil {
		return err
	}
	touched, open := false, 0
	for _, d := range e.Deliveries {
		selected := func(r *Recipient) bool { return f.matchRecipient(d, r) }
		before := tallyOf(d)
		if slices.ContainsFunc(d.Recipients, func(r Recipient) bool { return selected(&r) }) && how(d, selected) {
			touched = true
			b.put(d.key(), encodeDelivery(d))
			b.count(e.Class, tallyOf(d).minus(before))
			done.deliveries = append(done.deliveries, d)
		}
		open += d.Open()
	}
	if !touched {
		return nil
	}
	done.messages++
	if open > 0 {
		return nil
	}
	m, err := q.readMessage(&b.view, id)
	if err != nil {
		return err
	}
	done.gone = append(done.gone, m)
	b.leave(m, storyKeys(m, e.Deliveries...), b.deliveries(id), b.attempts(id))
	b.count(m.Class, tally{messages: -1, bytes: -m.Size})
	return nil
}
