package queue

import (
	"time"
)

// RetryPolicy says when a delivery is attempted again, when its sender is
// warned, and when it is given up.
type RetryPolicy struct {
	// Intervals are the waits after the first, second, … attempt; the last
	// repeats. Empty means 30 minutes, 1, 2 and then every 3 hours: at least
	// half an hour after a failure, twice in the first hour, then every two
	// to three hours (RFC 5321 §4.5.4.1).
	Intervals []time.Duration
	// Jitter lengthens each wait by up to this fraction of itself, so that
	// what failed together is not tried together for ever. 0 means none.
	Jitter float64
	// Lifetime is how long a message is tried; 0 means 5 days (RFC 5321
	// §4.5.4.1: at least 4 to 5 days).
	Lifetime time.Duration
	// WarnAfter is the age at which a sender hears of a delay; 0 means never.
	WarnAfter time.Duration
}

func (p *RetryPolicy) setDefaults() {
	if len(p.Intervals) == 0 {
		p.Intervals = []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour}
	}
	if p.Lifetime == 0 {
		p.Lifetime = 5 * 24 * time.Hour
	}
}

// interval returns the wait after the given number of attempts.
func (p *RetryPolicy) interval(attempts int, random float64) time.Duration {
	return p.jittered(p.Intervals[min(max(attempts, 1), len(p.Intervals))-1], random)
}

// jittered lengthens a wait by its part of the jitter.
func (p *RetryPolicy) jittered(wait time.Duration, random float64) time.Duration {
	return wait + time.Duration(p.Jitter*random*float64(wait))
}

// expiry returns when a message is given up whose lifetime began then.
func (p *RetryPolicy) expiry(begin time.Time) time.Time { return begin.Add(p.Lifetime) }

// next returns when to try again after a wait. The last attempt is made when the lifetime
// ends, not one interval before: nothing expires without having been tried
// after its time.
func (p *RetryPolicy) next(begin time.Time, wait time.Duration, now time.Time) time.Time {
	next := now.Add(wait)
	if end := p.expiry(begin); next.After(end) && now.Before(end) {
		return end
	}
	return next
}

// warnAt returns when the sender of a message whose lifetime began then is
// warned of d; zero when never. Who named a time wants to hear of it then.
func (p *RetryPolicy) warnAt(d *Delivery, begin time.Time) time.Time {
	switch {
	case !d.Deadline.IsZero() && !d.Return:
		return d.Deadline
	case p.WarnAfter == 0:
		return time.Time{}
	}
	return begin.Add(p.WarnAfter)
}

// due returns when something is to be done for d: an attempt or a warning.
func (p *RetryPolicy) due(d *Delivery) time.Time {
	if warn := p.warnAt(d, d.begin()); !d.Warned && !warn.IsZero() && warn.Before(d.Next) {
		return warn
	}
	return d.Next
}
