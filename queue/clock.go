package queue

import (
	"context"
	"slices"
	"time"
)

// When the clock has gone back, what was deferred before stands far ahead. It
// must not wait longer than it would have waited for the clock as it is now. When
// it has gone ahead, more is due than the timers know, which do not follow it.

// clockCheck is how often the clock is looked at, and clockStep how far it has
// to go to matter.
const (
	clockCheck = 30 * time.Second
	clockStep  = 10 * time.Second
)

// longest returns the greatest wait between two attempts.
func (p *RetryPolicy) longest() time.Duration {
	wait := slices.Max(p.Intervals)
	return wait + time.Duration(p.Jitter*float64(wait))
}

// tooFar returns when a delivery is due at the latest, and whether its record
// says later than that. What is held for a future release begins then.
func (q *Queue) tooFar(d *Delivery, now time.Time) (limit time.Time, late bool) {
	if d.Open() == 0 {
		return time.Time{}, false
	}
	limit = later(now, d.HoldUntil)
	if d.Attempts > 0 {
		limit = limit.Add(q.retry(d.Class).longest())
	}
	return limit, d.Next.After(limit)
}

// watchClock notices when the clock goes back or ahead, by the time that has
// passed meanwhile, until ctx ends.
func (q *Queue) watchClock(ctx context.Context) {
	tick := time.NewTicker(clockCheck)
	defer tick.Stop()
	for last, lastSaid := time.Now(), q.now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, said := time.Now(), q.now()
		// Without its monotonic part a time is what the clock said.
		switch back := now.Sub(last) - said.Round(0).Sub(lastSaid.Round(0)); {
		case back > clockStep:
			q.log.Warn("the clock went back", "by", back.Round(time.Second).String())
			q.clockWasSet()
		case back < -clockStep:
			q.log.Warn("the clock went ahead", "by", (-back).Round(time.Second).String())
			q.clockWasSet() // what it says now may be right, and what it said was not
			q.sched.signal()
			q.ends.signal()
		}
		last, lastSaid = now, said
	}
}

// clockWasSet bounds what everything in the queue waits for, and has the ends
// of by-times looked at when they are now.
func (q *Queue) clockWasSet() {
	q.sched.clockWasSet()
	q.ends.clear()
	for next := ID(1); next != 0; {
		var late []deliveryKey
		err := q.store.view(func(v *view) error {
			from, scanned, now := next, 0, q.now()
			next = 0
			return v.each(from, func(id ID, rows []deliveryRow) bool {
				if scanned++; scanned > maxRead {
					next = id
					return false
				}
				for _, d := range decodeDeliveries(id, rows) {
					if _, yes := q.tooFar(d, now); yes {
						late = append(late, d.key())
					}
					if d.awaitsDeadline() {
						q.ends.add(d.Deadline, d.key())
					}
				}
				return true
			})
		})
		if err != nil || !q.boundWaits(late) {
			return // the queue is being closed, and looks again when it is opened
		}
	}
}

// boundWaits lets deliveries be due in time, page by page. It reports whether
// the queue took the changes.
func (q *Queue) boundWaits(late []deliveryKey) bool {
	for page := range slices.Chunk(late, changePage) {
		if !q.boundPage(page) {
			return false
		}
	}
	return true
}

func (q *Queue) boundPage(page []deliveryKey) bool {
	q.changes.Lock()
	defer q.changes.Unlock()
	var bounded []*Delivery
	err := q.commit(func(b *batch) error {
		now := q.now()
		for _, key := range page {
			// It may have changed, or left.
			d, err := decodeDelivery(key, b.delivery(key))
			if err != nil {
				continue
			}
			if limit, yes := q.tooFar(d, now); yes {
				d.Next = limit
				b.put(key, encodeDelivery(d))
				bounded = append(bounded, d)
			}
		}
		return nil
	})
	if err != nil {
		return false
	}
	for _, d := range bounded {
		q.reviewed(d)
	}
	return true
}

// clockWasSet lets no pause begin, and no wish to end one be made, in what is the
// future now.
func (s *schedule) clockWasSet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.nowMillis()
	for _, d := range s.destinations {
		d.pausedSince, d.woken = min(d.pausedSince, now), min(d.woken, now)
		if d.resting == nil {
			s.place(d)
		}
	}
}
