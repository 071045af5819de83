package outbound

import (
	"log/slog"
	"sync"
	"time"

	"waypost/relay/route"
)

// A leg that was broken this often in a row is left alone for a while, which
// doubles each time up to a limit, where another leg can be used meanwhile.
const (
	breakAfter = 3
	firstBreak = 30 * time.Second
	maxBreak   = 5 * time.Minute
)

// breakers remember which legs are broken, so that mail flows through the next
// leg without waiting for them. When the time of a broken leg is over one
// attempt finds out whether it works again; the others follow once it does.
type breakers struct {
	log  *slog.Logger
	mu   sync.Mutex
	legs map[string]*breaker
}

type breaker struct {
	failures int
	rest     time.Duration // how long it was left alone last
	until    time.Time     // zero while it is in use
	probing  bool
}

func newBreakers(log *slog.Logger) *breakers {
	return &breakers{log: log, legs: map[string]*breaker{}}
}

// watched reports whether h has a breaker: where there is a choice, and where
// the configuration names the host, which bounds their number.
func (h hop) watched() bool {
	return len(h.route.Via) > 1 && (h.leg.Kind == route.Host || h.leg.Kind == route.MX && h.leg.Domain != "")
}

// allow reports whether a leg is to be tried in its turn. What became of that
// must be noted.
func (b *breakers) allow(h hop) bool {
	if !h.watched() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.legs[h.key]
	switch {
	case l == nil || l.until.IsZero():
		return true
	case l.probing || time.Now().Before(l.until):
		return false
	}
	l.probing = true
	return true
}

// note remembers what came of a leg that was tried.
func (b *breakers) note(h hop, v verdict) {
	if !h.watched() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.legs[h.key]
	if v == worked {
		if l != nil && !l.until.IsZero() {
			b.log.Info("next hop in use again", "next_hop", h.leg.String())
		}
		delete(b.legs, h.key)
		return
	}
	if l == nil {
		l = &breaker{}
		b.legs[h.key] = l
	}
	l.probing = false
	if v == unknown {
		return
	}
	if l.failures++; l.failures < breakAfter || time.Now().Before(l.until) {
		return
	}
	if l.until.IsZero() {
		b.log.Warn("next hop left out until it works again", "next_hop", h.leg.String(), "failures", l.failures)
	}
	l.rest = min(max(2*l.rest, firstBreak), maxBreak)
	l.until = time.Now().Add(l.rest)
}
