package queue

import (
	"context"
	"sync"
	"time"
)

// The end of a by-time (RFC 2852) does not wait for the destination: what is to
// be returned then, or its sender told, is settled at that moment, also while no
// attempt may be made there. Only messages that have a by-time pay for it.

// setDeadline gives d the by-time of its message. A time that was over when the
// message came is not ours to report: whoever had it when it ended did that.
func (d *Delivery) setDeadline(e *Envelope) {
	if by := e.DeliverBy; by.Return || by.Deadline.After(e.Arrival) {
		d.Deadline, d.Return = by.Deadline, by.Return
	}
}

// awaitsDeadline reports whether something is to be done when the by-time ends.
func (d *Delivery) awaitsDeadline() bool {
	return !d.Deadline.IsZero() && d.Open() > 0 && (d.Return || !d.Warned)
}

// late reports whether d is to be given up because its by-time is over.
func (d *Delivery) late(now time.Time) bool { return d.Return && !now.Before(d.Deadline) }

// within returns the end of a lifetime, which a by-time may shorten.
func (d *Delivery) within(end time.Time) time.Time {
	if d.Return && d.Deadline.Before(end) {
		return d.Deadline
	}
	return end
}

// leastHaste is how soon a message is tried again at the soonest, whatever its
// by-time.
const leastHaste = 5 * time.Minute

// hasten brings the next attempt forward for a message that is given up before
// long: each wait takes no more than half of the time that is left.
func (d *Delivery) hasten(next, now time.Time) time.Time {
	if !d.Return {
		return next
	}
	if sooner := now.Add(max(d.Deadline.Sub(now)/2, leastHaste)); sooner.Before(next) {
		return sooner
	}
	return next
}

// lateResult is the last word on a recipient whose time is over.
func (r *Recipient) lateResult() Result {
	if r.LastAttempt.IsZero() {
		return Result{State: Deferred, Reason: "its time was over before it could be tried"}
	}
	result := r.Last
	result.State = Deferred
	return result
}

// deadlines are what ends when.
type deadlines struct {
	mu    sync.Mutex
	items items
	armed map[deliveryKey]struct{}
	wake  chan struct{} // holds one token when there is an earlier one
}

func newDeadlines() deadlines {
	return deadlines{armed: map[deliveryKey]struct{}{}, wake: make(chan struct{}, 1)}
}

// add has a delivery looked at when its time ends. One that is there already
// stays where it is.
func (l *deadlines) add(at time.Time, key deliveryKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.armed[key]; there {
		return
	}
	l.armed[key] = struct{}{}
	l.items.push(item{due: at.UnixMilli(), id: key.id, index: key.index})
	if l.items[0].key() == key {
		l.signal()
	}
}

func (l *deadlines) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// leastForgotten is how many entries may stand for nothing any more before they are
// looked for.
const leastForgotten = 100

// forget drops a delivery that is done with: senders may name a time in thirty years
// (RFC 2852 §4), and most mail leaves at once.
func (l *deadlines) forget(key deliveryKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.armed, key)
	if len(l.items) > 2*len(l.armed)+leastForgotten {
		l.items.remove(func(it item) bool {
			_, there := l.armed[it.key()]
			return !there
		})
	}
}

// clear forgets them all.
func (l *deadlines) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = nil
	clear(l.armed)
}

// next takes out a delivery whose time has ended, or returns how long there is
// none.
func (l *deadlines) next(now time.Time) (key deliveryKey, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.items) > 0 {
		if wait = time.UnixMilli(l.items[0].due).Sub(now); wait > 0 {
			return key, min(wait, time.Hour)
		}
		key = l.items.pop().key()
		if _, there := l.armed[key]; there {
			delete(l.armed, key)
			return key, 0
		}
	}
	return key, time.Hour
}

// watchDeadlines settles what is not delivered when its time ends.
func (q *Queue) watchDeadlines(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		key, wait := q.ends.next(q.now())
		if wait == 0 && ctx.Err() == nil {
			if again := q.endOf(key); again > 0 {
				q.ends.add(q.now().Add(again), key)
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.ends.wake:
		case <-timer.C:
		}
	}
}

// When the end of a by-time is looked at again: while an attempt is under way,
// which may yet succeed, and while the destination is on hold.
const (
	againBusy = time.Second
	againHeld = time.Minute
)

// endOf settles a delivery whose by-time has ended, or returns when to look at
// it again. One that is on hold comes back when it is released.
func (q *Queue) endOf(key deliveryKey) (again time.Duration) {
	q.opts.turn("deadline", key)
	_, d, err := q.read(key)
	switch {
	case err != nil || d.Held || !d.awaitsDeadline():
		return 0
	case q.sched.isHeld(d.Destination):
		return againHeld
	case !q.sched.claim(key):
		return againBusy
	}
	m, d, err := q.read(key) // as it is now that nobody else changes it
	if err == nil {
		q.sched.supersede(key)
	}
	now := q.now()
	switch {
	case err != nil:
		q.sched.done(key, "", nil) // it has left, or an attempt says what is wrong
	case d.Held || !d.awaitsDeadline():
		q.sched.done(key, d.Destination, q.hint(d))
	case now.Before(d.Deadline): // the clock has gone back
		q.sched.done(key, d.Destination, q.hint(d))
		return d.Deadline.Sub(now)
	default:
		q.settle(&destination{name: d.Destination}, m, d, Outcome{late: d.Return, Interrupted: !d.Return})
	}
	return 0
}
