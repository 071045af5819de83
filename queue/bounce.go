package queue

import (
	"slices"

	"waypost/relay/smtp"
)

// Bounce fails the selected recipients now, and tells their senders so with
// the reason, as after a refusal for good. A delivery of which an attempt is
// under way is left alone. It returns the number of messages.
func (q *Queue) Bounce(f Filter, reason string) (int, error) {
	failed := Result{State: Failed, Reason: reason, Status: smtp.EnhancedCode{5, 0, 0}} // RFC 3463 §3.1: nothing else is known
	return q.settleSelected(f, func(m *Message, d *Delivery, selected func(*Recipient) bool) bool {
		out := Outcome{Interrupted: true, decided: true} // the recipients that are not selected go on as before
		for i := range d.Recipients {
			switch r := &d.Recipients[i]; {
			case !r.State.Open():
			case selected(r):
				out.Results = append(out.Results, failed)
			default:
				out.Results = append(out.Results, Result{State: Deferred})
			}
		}
		q.settle(&destination{name: d.Destination}, m, d, out)
		return true
	})
}

// Reroute sorts the selected messages by today's routes, which otherwise
// happens at their next attempt. What goes elsewhere is due at once; what is
// on hold or under way is left alone. It returns the number of messages.
func (q *Queue) Reroute(f Filter) (int, error) {
	return q.settleSelected(f, func(m *Message, d *Delivery, _ func(*Recipient) bool) bool {
		if d.Held || !q.rerouted(m, d) {
			q.sched.done(d.key(), d.Destination, q.hint(d))
			return false
		}
		q.resort(&destination{name: d.Destination}, m, d)
		return true
	})
}

// settleOne changes a delivery that no attempt can take meanwhile, ends its
// flight, and reports whether it changed it.
type settleOne func(m *Message, d *Delivery, selected func(*Recipient) bool) bool

// settleSelected calls how for every delivery with a selected recipient, and
// returns how many messages were changed.
func (q *Queue) settleSelected(f Filter, how settleOne) (changed int, err error) {
	f = q.filter(f)
	for after, more := ID(0), true; more && err == nil; {
		var entries []Entry
		if entries, more, err = q.List(f, after, changePage); err != nil {
			return changed, err
		}
		more = more && len(entries) > 0
		for i := range entries {
			after = entries[i].ID
			if q.settleEntry(f, &entries[i], how) {
				changed++
			}
			if err = q.Err(); err != nil {
				return changed, err
			}
		}
	}
	return changed, err
}

func (q *Queue) settleEntry(f Filter, e *Entry, how settleOne) (changed bool) {
	for _, listed := range e.Deliveries {
		if listed.Open() == 0 || !q.sched.claim(listed.key()) {
			continue
		}
		m, d, err := q.read(listed.key())
		if err != nil { // it has left, or whoever attempts it says what is wrong
			q.sched.done(listed.key(), listed.Destination, nil)
			continue
		}
		q.sched.supersede(listed.key())
		selected := func(r *Recipient) bool { return f.matchRecipient(d, r) }
		if !slices.ContainsFunc(d.Recipients, func(r Recipient) bool { return selected(&r) }) {
			q.sched.done(d.key(), d.Destination, q.hint(d))
		} else if how(m, d, selected) {
			changed = true
		}
	}
	return changed
}

// claim keeps a delivery from being attempted until done. It fails when an
// attempt is under way.
func (s *schedule) claim(key deliveryKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.inFlight[key]; busy {
		return false
	}
	s.inFlight[key] = nil
	return true
}
