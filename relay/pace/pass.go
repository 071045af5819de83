package pace

import "time"

// Pass lets one attempt run. A nil Pass is that of an attempt that nobody counts:
// its methods do nothing. A Pass belongs to one goroutine.
type Pass struct {
	pacer       *Pacer
	destination string
	site        *site
	began       time.Time
	reserved    []int64 // the part in each of the site's meters of messages
	sent        bool    // a message, so that what is reserved was used
	ended       bool
}

// reserve counts the message before it is sent, so that those who begin beside
// each other do not exceed a rate.
func (p *Pass) reserve(now time.Time) {
	p.sent, p.reserved = false, p.reserved[:0]
	for i := range p.site.messages {
		p.reserved = append(p.reserved, p.site.messages[i].add(now, 1))
	}
}

// unreserve takes that back where no message was sent.
func (p *Pass) unreserve() {
	for i := range p.reserved {
		if !p.sent {
			p.site.messages[i].remove(p.reserved[i], 1)
		}
	}
	p.reserved = p.reserved[:0]
}

// Move is called when it is known where the attempt leads, before it connects. It
// reports whether the attempt may go on; if not, it is over, and its destination
// waits for that site from now on.
func (p *Pass) Move(h Hop) bool {
	if p == nil {
		return true
	}
	now := time.Now()
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	rule, _ := p.pacer.place(h)
	to := p.pacer.siteOf(rule, h)
	if to == p.site && !p.ended {
		return true
	}
	// Who comes from elsewhere stands behind those in line.
	free := to.line.length() == 0 && to.limited(now, len(to.invited)).word == ""
	p.leave(now)
	p.pacer.rehome(p.destination, to, now)
	if !free {
		return false
	}
	to.enter(now)
	p.site, p.ended = to, false
	p.reserve(now)
	return true
}

// Rests reports whether the site of a hop is left alone for now, since no host there
// took a session of late: who has another way need not wait for it.
func (p *Pass) Rests(h Hop) bool {
	if p == nil {
		return false
	}
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	_, key := p.pacer.place(h)
	s := p.pacer.sites[key]
	return s != nil && time.Now().Before(s.restTill)
}

// Again asks for another attempt at the same destination. It is refused when
// others wait for the place.
func (p *Pass) Again() bool {
	if p == nil {
		return true
	}
	now := time.Now()
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	s := p.site
	others := s.line.length()
	if s.line.has(p.destination) {
		others--
	}
	if p.ended || others > 0 {
		return false
	}
	p.unreserve()
	s.used--
	ok := s.limited(now, len(s.invited)).word == ""
	s.used++
	if ok {
		p.began = now
		p.reserve(now)
		s.touched = now
	}
	return ok
}

// End gives the place back. It may be called more than once.
func (p *Pass) End() {
	if p == nil {
		return
	}
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	p.leave(time.Now())
}

func (p *Pass) leave(now time.Time) {
	if p.ended {
		return
	}
	p.ended = true
	p.unreserve()
	p.site.leave(now)
}

// Sent notes that a transaction has begun.
func (p *Pass) Sent(recipients int) {
	if p == nil {
		return
	}
	now := time.Now()
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	if p.sent {
		for i := range p.site.messages {
			p.site.messages[i].add(now, 1)
		}
	}
	p.sent = true
	for i := range p.site.others {
		p.site.others[i].add(now, int64(recipients))
	}
}

// Succeed notes that a host took a session and answered.
func (p *Pass) Succeed() {
	p.judge(func(now time.Time) { p.site.grow(now) })
}

// Fail notes that no host could be used.
func (p *Pass) Fail(why string) {
	p.judge(func(now time.Time) { p.site.shrink(p.began, now, why) })
}

// Slow notes that a host had too much from us.
func (p *Pass) Slow(why string) {
	p.judge(func(now time.Time) { p.site.slow(now, why) })
}

func (p *Pass) judge(f func(now time.Time)) {
	if p == nil || p.ended {
		return
	}
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	now := time.Now()
	f(now)
	p.site.call(now)
}

// Bounds returns what holds for the site.
func (p *Pass) Bounds() Bounds {
	if p == nil {
		return Bounds{}.withDefaults()
	}
	return p.site.bounds // never changes
}

// Site returns a key of the site; "" for a nil Pass.
func (p *Pass) Site() string {
	if p == nil {
		return ""
	}
	return p.site.key
}

// Room returns how many connections may be open at the site besides those of
// attempts that run.
func (p *Pass) Room() int {
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	return max(int(p.site.window)-p.site.used, 0)
}

// Alone reports whether no other attempt runs at the site.
func (p *Pass) Alone() bool {
	if p == nil {
		return true
	}
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	return p.site.used <= 1
}
