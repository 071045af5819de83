package pace

import (
	"time"

	"waypost/metrics"
)

const (
	// firstWindow is the window of a site of which nothing is known.
	firstWindow = 5
	// ceilingFor is how long a window does not grow to where a host refused.
	ceilingFor = 10 * time.Minute
	// inviteFor is how long a place is kept for who was called.
	inviteFor = time.Second
	// A site that refuses everything is left alone for as long, which doubles
	// each time up to a limit, where others wait to try the same.
	firstRest, maxRest = 30 * time.Second, 10 * time.Minute
)

// site is where attempts run. The Pacer's lock is held for all that it does.
type site struct {
	pacer    *Pacer
	key      string
	name     string
	label    string // in metrics; "" for none
	rule     string // the name of its rule; "" for none
	own      bool   // it is that of one destination, of which nothing more is known
	bounds   Bounds
	window   float64
	used     int // passes
	messages []meter
	others   []meter // of recipients

	line    line
	invited map[string]time.Time // who was called, and when
	timer   *time.Timer          // when the line is looked after; nil when it need not be

	shrunk   time.Time // when the window became smaller last
	ceiling  float64   // where it does not grow until…
	lowUntil time.Time
	failures int // in a row
	rest     time.Duration
	restTill time.Time
	trouble  string // what failed last; "" when all is well
	touched  time.Time
}

func (p *Pacer) newSite(key, name string, b Bounds) *site {
	s := &site{pacer: p, key: key, name: name, bounds: b.withDefaults()}
	s.window = float64(max(min(firstWindow, s.bounds.MaxConnections), s.bounds.MinConnections))
	for _, r := range s.bounds.Messages {
		s.messages = append(s.messages, meter{rate: r})
	}
	for _, r := range s.bounds.Recipients {
		s.others = append(s.others, meter{rate: r})
	}
	return s
}

// limit is what keeps an attempt from starting.
type limit struct {
	word  string    // as in metrics; "" is none
	until time.Time // zero where it ends with another attempt
}

// limited returns what keeps one more attempt from starting now, when so many
// places are promised.
func (s *site) limited(now time.Time, promised int) limit {
	switch {
	case now.Before(s.restTill):
		return limit{metrics.PaceRest, s.restTill}
	case s.used+promised >= int(s.window):
		return limit{word: metrics.PaceConnections}
	}
	for _, meters := range [][]meter{s.messages, s.others} {
		for i := range meters {
			if left, more := meters[i].room(now); left <= int64(promised) {
				return limit{metrics.PaceRate, later(more, now)}
			}
		}
	}
	return limit{}
}

// later is a time after now: where room is only promised to others, they are
// waited for.
func later(at, now time.Time) time.Time {
	if !at.After(now) {
		return now.Add(inviteFor)
	}
	return at
}

// admit lets a destination in, or puts it in line.
func (s *site) admit(name string, urgency int, now time.Time) bool {
	s.touched = now
	promised := len(s.invited)
	if _, called := s.invited[name]; called {
		delete(s.invited, name)
		promised--
	} else if s.line.length() > 0 {
		s.wait(name, urgency, now, limit{word: metrics.PaceConnections})
		return false
	}
	if why := s.limited(now, promised); why.word != "" {
		s.wait(name, urgency, now, why)
		return false
	}
	s.enter(now)
	return true
}

func (s *site) enter(now time.Time) {
	s.used++
	s.touched = now
	s.show()
}

// wait puts a destination in line.
func (s *site) wait(name string, urgency int, now time.Time, why limit) {
	if s.invited == nil {
		s.invited = map[string]time.Time{}
	}
	s.pacer.metrics.PaceWaits.WithLabelValues(why.word).Inc()
	if s.line.add(name, urgency) {
		s.pacer.waiting(1)
	}
	s.call(now)
}

// call calls as many of those in line as there are places, and sees to it that the
// others are called when it is time.
func (s *site) call(now time.Time) {
	var names []string
	var next time.Time
	for s.line.length() > 0 {
		why := s.limited(now, len(s.invited))
		if why.word != "" {
			next = why.until
			break
		}
		name := s.line.next()
		s.pacer.waiting(-1)
		s.invited[name] = now
		names = append(names, name)
	}
	if len(names) > 0 {
		s.pacer.callAll(s, names)
	}
	// Who does not come within inviteFor loses the place.
	if over := now.Add(inviteFor); len(s.invited) > 0 && s.line.length() > 0 && (next.IsZero() || over.Before(next)) {
		next = over
	}
	s.arm(now, next)
}

func (s *site) arm(now, at time.Time) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if at.IsZero() {
		return
	}
	s.timer = time.AfterFunc(max(at.Sub(now), time.Millisecond), func() {
		s.pacer.mu.Lock()
		defer s.pacer.mu.Unlock()
		now := time.Now()
		for name, when := range s.invited {
			if now.Sub(when) >= inviteFor {
				delete(s.invited, name)
			}
		}
		s.call(now)
	})
}

// leave gives a place back.
func (s *site) leave(now time.Time) {
	s.used--
	s.touched = now
	s.call(now)
	s.show()
	if s.own && s.idle() {
		s.pacer.forget(s)
	}
}

// grow makes the window larger where all of it is used: by one for each attempt that
// went well, and once something has failed by one for as many as it has places.
func (s *site) grow(now time.Time) {
	s.failures, s.rest, s.trouble = 0, 0, ""
	if s.used < int(s.window) {
		return
	}
	most := float64(s.bounds.MaxConnections)
	if now.Before(s.lowUntil) {
		most = min(most, s.ceiling)
	}
	step := 1.0
	if !s.shrunk.IsZero() {
		step = 1 / s.window
	}
	s.window = max(min(s.window+step, most), s.window)
	s.show()
}

// shrink halves the window after an attempt that began at a time. Those that ran
// beside each other when something went wrong count once.
func (s *site) shrink(began, now time.Time, why string) {
	s.trouble = why
	if !began.After(s.shrunk) && !s.shrunk.IsZero() {
		return
	}
	s.failures++
	if least := float64(s.bounds.MinConnections); s.window > least {
		s.window = max(s.window/2, least)
	} else if s.line.length() > 0 && s.failures > 1 {
		s.rest = min(max(2*s.rest, firstRest), maxRest)
		s.restTill = now.Add(s.rest)
	}
	s.shrunk = now
	s.show()
}

// slow makes the window smaller than what was used when a host had enough, and
// keeps it so for a while.
func (s *site) slow(now time.Time, why string) {
	s.trouble = why
	s.window = max(min(s.window, float64(s.used))-1, float64(s.bounds.MinConnections))
	s.ceiling, s.lowUntil, s.shrunk = s.window, now.Add(ceilingFor), now
	s.show()
}

// state describes the site.
func (s *site) state(now time.Time) State {
	out := State{
		Site: s.name, Rule: s.rule, Bounds: s.bounds, Known: true,
		Window: int(s.window), Used: s.used, Waiting: s.line.length(), Trouble: s.trouble,
	}
	if why := s.limited(now, 0); why.until.After(now) {
		out.Until = why.until
	}
	return out
}

// show tells the metrics.
func (s *site) show() {
	if s.label != "" {
		s.pacer.metrics.PaceWindow.WithLabelValues(s.label).Set(float64(int(s.window)))
		s.pacer.metrics.PaceAttempts.WithLabelValues(s.label).Set(float64(s.used))
	}
}

// idle reports whether nothing would be lost with the site.
func (s *site) idle() bool { return s.used == 0 && s.line.length() == 0 && len(s.invited) == 0 }
