package queue

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"waypost/metrics"
)

// What attempts and operators say about destinations.

// judge draws what an attempt says about its destination, all at once: between
// what opens the destination and what pauses it again, nothing may start.
func (s *schedule) judge(w *worker, out Outcome, random func() float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if out.Unreachable {
		w.destination.standing = suspect
	} else {
		w.destination.answer(w.since, now)
	}
	if out.pauses() {
		w.destination.pause(w.since, now, out, random())
	}
	s.place(w.destination)
}

// answer notes that a host took a session in an attempt that began at since. That
// opens the destination again, unless a host asked for the pause after that.
func (d *destination) answer(since, now time.Time) {
	if d.asked == 0 || d.pausedSince < since.UnixMilli() {
		d.pausedSince, d.asked, d.why, d.probing, d.hurried = 0, 0, "", false, false
	}
	switch {
	case now.Sub(since) < slowAfter:
		d.standing, d.answered = proven, now
	case d.answered.Before(since):
		d.standing = suspect
	}
}

// pause leaves the destination alone, for no host took a session or one asked for
// that. Attempts that were under way when the first of them failed do not lengthen
// the pause.
func (d *destination) pause(since, now time.Time, out Outcome, jitter float64) {
	d.probing = true
	if d.pausedSince < since.UnixMilli() {
		d.pausedSince, d.jitter, d.asked, d.why, d.hurried = now.UnixMilli(), jitter, out.Pause, out.why(), false
	}
}

// maxWhy bounds what is kept of why a destination is paused: there may be many.
const maxWhy = 200

// why is what an attempt that came to nothing says of that, in short.
func (o Outcome) why() string {
	at := slices.IndexFunc(o.Results, func(r Result) bool { return r.State == Deferred })
	if at < 0 {
		return ""
	}
	text := o.Results[at].Text()
	if len(text) > maxWhy {
		text = strings.ToValidUTF8(text[:maxWhy], "") + "…"
	}
	return strings.Clone(text)
}

// missed is a hint whose turn came while its delivery was in flight, by the
// name of its destination.
type missed struct {
	name string
	hint hint
}

// done ends the flight of a delivery, and says when it is due again; nil when
// it is over, or another hint says so. That one may have been missed meanwhile.
func (s *schedule) done(key deliveryKey, name string, again *hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.inFlight[key]
	delete(s.inFlight, key)
	switch {
	case again != nil:
		s.pushLocked(name, *again)
	case was != nil:
		s.pushLocked(was.name, was.hint)
	}
}

// wakeAgain is how soon after one wish of an operator's the next one ends a pause. Who
// acts on a million messages wishes it for each page of them: were every wish an
// attempt, each that fails would look through all that waits.
const wakeAgain = time.Second

// wakeUp ends the pause of a destination at an operator's wish: at once, or a moment
// after the wish before.
func (s *schedule) wakeUp(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destinations[name]
	if d == nil || d.pausedSince == 0 {
		return
	}
	if now := s.nowMillis(); now >= d.woken && now < d.woken+wakeAgain.Milliseconds() {
		d.hurried = true
	} else {
		d.pausedSince, d.asked, d.why, d.hurried, d.woken = 0, 0, "", false, now
	}
	s.place(d)
}

// pausedUntil returns until when a destination is not tried for a class, and why;
// zero when it is.
func (s *schedule) pausedUntil(name string, c *class) (until time.Time, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.destinations[name]; d != nil && d.pausedUntil(c) > s.nowMillis() {
		return time.UnixMilli(d.pausedUntil(c)), d.why
	}
	return time.Time{}, ""
}

// scheduleStats says how the schedule stands.
type scheduleStats struct {
	destinations, paused int64 // with something waiting or in flight, and how many of them are not tried now
	fast, slow           int64 // attempts in each lane
	top                  []metrics.DestinationStats
	other                metrics.DestinationStats
}

// stats looks at every destination, and names those for which the most waits.
func (s *schedule) stats(named int) scheduleStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := scheduleStats{
		destinations: int64(len(s.destinations) - s.idle.Len()), fast: int64(s.fast.used), slow: int64(s.slow.used),
	}
	now := s.nowMillis()
	for _, d := range s.destinations {
		if d.resting != nil {
			continue
		}
		one := d.stats()
		if at, waits := d.nextWake(); d.pausedSince != 0 && waits && at > now {
			one.Waiting = 1
			stats.paused++
		}
		stats.rank(one, named)
	}
	return stats
}

// stats counts what waits for d, and the attempts that run.
func (d *destination) stats() metrics.DestinationStats {
	one := metrics.DestinationStats{Name: d.name, Attempts: int64(d.workers)}
	for _, f := range d.flows {
		one.Queued, one.Deferred = one.Queued+f.queued, one.Deferred+f.deferred
	}
	return one
}

// names returns destinations whose names begin with prefix: as many as limit, of
// those for which the most waits.
func (s *schedule) names(prefix string, limit int) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found scheduleStats
	for name, d := range s.destinations {
		if strings.HasPrefix(name, prefix) {
			found.rank(d.stats(), limit)
		}
	}
	for _, d := range found.top {
		all = append(all, d.Name)
	}
	return all
}

// rank puts a destination where it belongs among those that are named, and adds
// to the others the one that has no place there.
func (s *scheduleStats) rank(d metrics.DestinationStats, named int) {
	more := func(a, b metrics.DestinationStats) int {
		return cmp.Or(cmp.Compare(b.Queued+b.Deferred, a.Queued+a.Deferred), cmp.Compare(b.Attempts, a.Attempts), strings.Compare(a.Name, b.Name))
	}
	if last := len(s.top) - 1; last+1 < named || last >= 0 && more(d, s.top[last]) < 0 {
		at, _ := slices.BinarySearchFunc(s.top, d, more)
		s.top = slices.Insert(s.top, at, d)
		if len(s.top) <= named {
			return
		}
		d, s.top = s.top[named], s.top[:named]
	}
	o := &s.other
	o.Queued, o.Deferred, o.Attempts, o.Waiting = o.Queued+d.Queued, o.Deferred+d.Deferred, o.Attempts+d.Attempts, o.Waiting+d.Waiting
}

// picked is what was taken out of one flow.
type picked struct {
	flow  *flow
	items []item
}

// pick takes out of the line what waits for d and that want selects; nothing where
// d is on hold.
func (s *schedule) pick(d *destination, want func(*class, item) bool) (all []picked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.held() {
		return nil
	}
	for _, f := range d.flows {
		p := picked{flow: f}
		f.remove(func(it item) bool {
			if s.void(f, it) {
				return true
			}
			if !want(f.class, it) {
				return false
			}
			s.taken(it)
			p.items = append(p.items, it)
			return true
		})
		if len(p.items) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// claimAll begins the flight of a page of what was picked. What is in flight
// already is left to that, and everything to the next start when the queue stops.
// Where the destination has been put on hold meanwhile it waits again.
func (s *schedule) claimAll(name string, p picked, page []item) (keys []deliveryKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range page {
		key := it.key()
		if s.stopping {
			return keys
		}
		if s.held[name] != nil {
			s.pushLocked(name, hint{class: p.flow.class, priority: p.flow.priority, item: it})
			continue
		}
		if _, busy := s.inFlight[key]; busy {
			s.inFlight[key] = &missed{name, hint{class: p.flow.class, priority: p.flow.priority, item: it}}
			continue
		}
		s.inFlight[key] = nil
		keys = append(keys, key)
	}
	return keys
}
