package queue

import (
	"errors"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// What time does to the model: by-times that end, and a clock that is set.

// byTime draws a BY parameter. Its end falls on half a second, where nothing else
// happens, so that one thing comes after the other.
func (m *machine) byTime() DeliverBy {
	in := rapid.SampledFrom([]time.Duration{-time.Hour, 2 * time.Minute, 20 * time.Minute, 3 * time.Hour, 30 * time.Hour}).Draw(m.T, "in")
	return DeliverBy{
		Deadline: m.now().Truncate(time.Second).Add(in + 500*time.Millisecond),
		Return:   rapid.Bool().Draw(m.T, "return"),
	}
}

// warnsAtDeadline reports whether the sender hears of the delay when the by-time
// ends, and not at its usual time.
func (d *modelDelivery) warnsAtDeadline() bool { return !d.Deadline.IsZero() && !d.Return }

// warnAt is when the sender hears of a delay; zero when never.
func (d *modelDelivery) warnAt(p RetryPolicy, begin time.Time) time.Time {
	switch {
	case d.warnsAtDeadline():
		return d.Deadline
	case p.WarnAfter == 0:
		return time.Time{}
	}
	return begin.Add(p.WarnAfter)
}

// late gives up, or warns about, what is over its by-time: at that moment.
func (m *machine) late(until time.Time) {
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			if d.isLate(until) && !m.held[d.Destination] && !m.free(d).After(d.Deadline) {
				m.tooLate(message, d, later(later(d.Deadline, message.env.Arrival), m.awake))
			}
		}
	}
}

// isLate reports whether something was to be done at the end of a by-time, and is
// not done.
func (d *modelDelivery) isLate(now time.Time) bool {
	return !d.Deadline.IsZero() && !d.Deadline.After(now) && d.Open() > 0 && (d.Return || !d.Warned) && !d.Held
}

func (m *machine) tooLate(message *modelMessage, d *modelDelivery, at time.Time) {
	out := Outcome{Interrupted: true}
	if d.Return {
		out = Outcome{Results: slices.Repeat([]Result{{State: Deferred}}, d.Open())}
	}
	m.report(message.conclude(d, m.policy(d.Class), at, out, d.Return))
}

// free is when a delivery, or its destination, was last released.
func (m *machine) free(d *modelDelivery) time.Time { return later(d.freed, m.freed[d.Destination]) }

// lateAfterHold does so up to a minute after a release, when the queue has done
// it.
func (m *machine) lateAfterHold() {
	now := m.now()
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			if !d.isLate(now) {
				continue
			}
			is := m.recordOf(d.key())
			settled := is == nil || is.Open() == 0 || d.warnsAtDeadline() && is.Warned
			switch {
			case settled && m.held[d.Destination]:
				m.Fatalf("%s was settled while its destination was on hold: %s", d.ID, d.text())
			case settled:
				m.tooLate(message, d, now)
				if is != nil {
					d.Next = is.Next // it depends on when that was
				}
			case !m.held[d.Destination] && now.Sub(m.free(d)) > 61*time.Second:
				m.Fatalf("%s is over its by-time %v at %v: %s", d.ID, d.Deadline, now, is.text())
			}
		}
	}
}

// recordOf returns what the queue has of a delivery; nil when the message has left.
func (m *machine) recordOf(key deliveryKey) *modelDelivery {
	e, err := m.queue.Show(key.id)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		m.Fatal(err)
	}
	return modelOf(&e).delivery(key.index)
}

// now is what the clock says.
func (m *machine) now() time.Time { return m.world.now() }

// step sets the clock, back or ahead; ahead only to before the next end of a
// by-time, since there is no telling what comes first of all that is then due.
func (m *machine) step() (by time.Duration) {
	by = rapid.SampledFrom([]time.Duration{0, 0, -20 * time.Hour, -5 * time.Hour, -31 * time.Minute, 31 * time.Minute, 5 * time.Hour, 60 * time.Hour}).Draw(m.T, "the clock is set by")
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			if d.Open() > 0 && d.Deadline.After(m.now()) && !d.Deadline.After(m.now().Add(by)) {
				return 0
			}
		}
	}
	m.world.ahead.Add(int64(by))
	return by
}

// clock sets the clock of a queue that runs, just before it looks at it.
func (m *machine) clock(*rapid.T) {
	const before = time.Millisecond
	time.Sleep(clockCheck - (time.Since(m.ran)+before)%clockCheck)
	m.settle()
	by := m.step()
	time.Sleep(before)
	if by != 0 {
		m.bound()
		m.awake = m.now()
	}
	m.settle()
}

// forget drops pauses and wishes of which the queue knows nothing any more, because
// they were over and nothing waits there: by a clock that went back they would not
// be over.
func (m *machine) forget() {
	s := m.queue.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := func(name string) bool { return s.destinations[name] == nil }
	maps.DeleteFunc(m.paused, func(name string, _ modelPause) bool { return gone(name) })
	maps.DeleteFunc(m.woken, func(name string, _ time.Time) bool { return gone(name) })
}

// bound is what becomes of times that are in the future, now that the clock may
// have gone back.
func (m *machine) bound() {
	now := m.now()
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			limit := later(now, d.HoldUntil)
			if d.Attempts > 0 {
				limit = limit.Add(slices.Max(m.policy(d.Class).Intervals))
			}
			if d.Open() > 0 && d.Next.After(limit) {
				d.Next = limit
			}
			d.freed = sooner(d.freed, now)
		}
	}
	for _, times := range []map[string]time.Time{m.freed, m.woken} {
		for name, at := range times {
			times[name] = sooner(at, now)
		}
	}
	for name, p := range m.paused {
		p.since = sooner(p.since, now)
		if !p.wished.IsZero() {
			p.wished = sooner(p.wished, now.Add(wakeAgain))
		}
		m.paused[name] = p
	}
	m.awake = sooner(m.awake, now)
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
