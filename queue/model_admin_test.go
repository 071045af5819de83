package queue

import (
	"maps"
	"slices"

	"pgregory.net/rapid"
)

// What operators do to the model.

// filter draws what an operator selects.
func (m *machine) filter() (f Filter) {
	switch rapid.IntRange(0, 4).Draw(m.T, "select by") {
	case 0:
		if len(m.messages) > 0 {
			f.IDs = []ID{rapid.SampledFrom(slices.Sorted(maps.Keys(m.messages))).Draw(m.T, "message")}
		}
	case 1:
		f.Destination = m.destination()
	case 2:
		f.ToDomain = rapid.SampledFrom(modelDomains).Draw(m.T, "domain")
	case 3:
		f.State = rapid.SampledFrom([]string{"queued", "deferred", "held"}).Draw(m.T, "state")
	}
	return f
}

// selects reports whether an operator's filter applies to a recipient.
func (m *machine) selects(f Filter, d *modelDelivery, r *Recipient) bool {
	held := d.Held || m.held[d.Destination]
	return r.State.Open() &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID)) &&
		(f.Destination == "" || f.Destination == d.Destination) &&
		(f.ToDomain == "" || f.ToDomain == r.Path.Domain) &&
		(f.State == "" || f.State == "held" && held || !held && f.State == r.State.String())
}

// change applies what an operator does to the model, and compares how many
// messages the queue says that it changed.
func (m *machine) change(f Filter, ask func(Filter) (int, error), how func(*modelMessage, *modelDelivery) bool) {
	want := 0
	for _, message := range m.messages {
		changed := false
		for _, d := range message.deliveries {
			if !slices.ContainsFunc(d.Recipients, func(r Recipient) bool { return m.selects(f, d, &r) }) || !how(message, d) {
				continue
			}
			changed = true
		}
		if changed {
			want++
		}
	}
	if n, err := ask(f); n != want || err != nil {
		m.Fatalf("%d messages changed, %v; want %d", n, err, want)
	}
	m.settle()
}

// wake ends the pause of a destination for what may be attempted there: at once, or
// a moment after the wish before.
func (m *machine) wake(d *modelDelivery) {
	p, paused := m.paused[d.Destination]
	if !paused || d.Held || d.Open() == 0 {
		return
	}
	if again := m.woken[d.Destination].Add(wakeAgain); m.now().Before(again) {
		m.paused[d.Destination] = modelPause{p.since, again}
		return
	}
	delete(m.paused, d.Destination)
	m.woken[d.Destination] = m.now()
}

func (m *machine) hold(*rapid.T) {
	m.change(m.filter(), m.queue.Hold, func(_ *modelMessage, d *modelDelivery) bool {
		was := d.Held
		d.Held = true
		return !was
	})
}

func (m *machine) release(*rapid.T) { m.releaseSome(m.filter()) }

func (m *machine) freeAll() { m.releaseSome(Filter{}) }

func (m *machine) releaseSome(f Filter) {
	m.change(f, m.queue.Release, func(_ *modelMessage, d *modelDelivery) bool {
		was := d.Held
		if d.Held = false; was {
			d.freed = m.now()
			m.wake(d)
		}
		return was
	})
}

func (m *machine) retryNow(*rapid.T) {
	m.change(m.filter(), m.queue.RetryNow, func(_ *modelMessage, d *modelDelivery) bool {
		if d.Held || d.HoldUntil.After(m.now()) {
			return false
		}
		d.Next = m.now()
		m.wake(d)
		return true
	})
}

func (m *machine) remove(*rapid.T) {
	f := m.filter()
	m.change(f, m.queue.Remove, func(_ *modelMessage, d *modelDelivery) bool {
		// What it says of each recipient it says of all at once.
		selected := slices.Clone(d.Recipients)
		for i := range d.Recipients {
			if m.selects(f, d, &selected[i]) {
				d.Recipients[i].State = Removed
			}
		}
		m.wake(d)
		return true
	})
}

func (m *machine) bounce(*rapid.T) {
	f := m.filter()
	m.change(f, func(f Filter) (int, error) { return m.queue.Bounce(f, "an operator's wish") }, func(message *modelMessage, d *modelDelivery) bool {
		out := Outcome{Interrupted: true}
		for i := range d.Recipients {
			switch r := &d.Recipients[i]; {
			case m.selects(f, d, r):
				out.Results = append(out.Results, Result{State: Failed})
			case r.State.Open():
				out.Results = append(out.Results, Result{State: Deferred})
			}
		}
		m.report(message.conclude(d, m.policy(d.Class), m.now(), out, false))
		return true
	})
}

func (m *machine) holdDestination(*rapid.T) {
	name := m.destination()
	_, changed, err := m.queue.HoldDestination(name)
	if err != nil || changed == m.held[name] {
		m.Fatalf("hold %s: %v, %v; it was on hold: %v", name, changed, err, m.held[name])
	}
	m.held[name] = true
	m.settle()
}

func (m *machine) releaseDestination(*rapid.T) {
	name := m.destination()
	if m.held[name] {
		m.freed[name] = m.now()
	}
	was := m.held[name]
	delete(m.held, name)
	if _, changed, err := m.queue.ReleaseDestination(name); err != nil || changed != was {
		m.Fatalf("release %s: %v, %v; it was on hold: %v", name, changed, err, was)
	}
	m.settle()
}

// retryDestination has everything tried that waits for a destination.
func (m *machine) retryDestination(*rapid.T) {
	name := m.destination()
	now := m.now()
	delete(m.paused, name)
	wanted := map[*modelDelivery]int{}
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			if d.Destination == name && d.Open() > 0 {
				d.wanted = true
				if !d.Held && !m.held[name] && !d.HoldUntil.After(now) && d.lastAttempt().Before(now) {
					wanted[d] = d.Attempts
				}
			}
		}
	}
	m.queue.RetryDestination(name)
	m.settle()
	for d, before := range wanted {
		// Behind a dead destination one attempt tells enough.
		if d.Attempts == before && m.world.weather[name] != "dead" {
			m.Fatalf("%s was not attempted at once: %s", d.ID, d.text())
		}
	}
}
