package policy

import (
	"fmt"
	"strings"
	"time"

	"waypost/relay/rate"
	"waypost/relay/smtp"
)

// Subject is who is limited.
type Subject uint8

// The subjects. IPv6 clients are taken together by /64, which is what one
// customer has.
const (
	ByClient Subject = iota
	ByLogin
	BySender
)

// Unit is what is counted.
type Unit uint8

// The units: transactions begun, recipients accepted, octets of content taken.
const (
	Messages Unit = iota
	Recipients
	Bytes
)

// maxSubjects bounds how many subjects each limit remembers.
const maxSubjects = 50_000

// Limit is how much a subject may send within a window that slides.
type Limit struct {
	Subject Subject
	Unit    Unit
	Max     int64
	Window  time.Duration
	// Key is where it is configured: "limits.messages_per_login".
	Key string
}

// Limiter counts. It is safe for concurrent use, and nil limits nothing.
type Limiter struct {
	limits []Limit
	tables []*rate.Table
}

// NewLimiter returns a limiter. What old, which may be nil, has counted for
// limits with the same subject, unit and window is kept.
func NewLimiter(limits []Limit, old *Limiter) *Limiter {
	l := &Limiter{limits: limits}
	for _, limit := range limits {
		l.tables = append(l.tables, old.table(limit))
	}
	return l
}

// table returns the counts for a limit, or new ones.
func (l *Limiter) table(limit Limit) *rate.Table {
	if l != nil {
		for i, other := range l.limits {
			if other.Subject == limit.Subject && other.Unit == limit.Unit && other.Window == limit.Window {
				return l.tables[i]
			}
		}
	}
	return rate.NewTable(limit.Window, maxSubjects)
}

// Take decides whether a client may send n more of a unit as sender, and counts
// them if so. Clients that ask at the same moment may get one too many.
func (r *Rules) Take(client Client, sender smtp.Path, unit Unit, n int64, now time.Time) Decision {
	d := r.Room(client, sender, unit, n, now)
	if d.Allowed {
		r.Count(client, sender, unit, n, now)
	}
	return d
}

// Room decides the same for what is announced only, and counts nothing.
func (r *Rules) Room(client Client, sender smtp.Path, unit Unit, n int64, now time.Time) Decision {
	return r.limit(client, sender, unit, now, func(t *rate.Table, key string, most int64) bool { return t.Count(key, now)+n <= most })
}

// Count counts what was taken already, whatever the limits.
func (r *Rules) Count(client Client, sender smtp.Path, unit Unit, n int64, now time.Time) {
	r.limit(client, sender, unit, now, func(t *rate.Table, key string, _ int64) bool { t.Add(key, n, now); return true })
}

func (r *Rules) limit(client Client, sender smtp.Path, unit Unit, now time.Time, ask func(t *rate.Table, key string, most int64) bool) Decision {
	if r.Limiter == nil || len(r.Limiter.limits) == 0 || r.Allow.client(client.Addr) >= 0 {
		return r.yes("", "no limit")
	}
	for i, limit := range r.Limiter.limits {
		key := limit.Subject.key(client, sender)
		if limit.Unit != unit || key == "" || ask(r.Limiter.tables[i], key, limit.Max) {
			continue
		}
		return r.no(overLimit[unit], limit.Key, fmt.Sprintf("%s %d in %v", limit.Key, limit.Max, limit.Window))
	}
	return r.yes("", "within the limits")
}

// overLimit are the replies: all of them ask for patience (RFC 5321 §4.2.1).
var overLimit = map[Unit]smtp.Reply{
	Messages:   {Code: 450, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{"Too many messages, try again later"}},
	Recipients: {Code: 452, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{"Too many recipients, try again later"}},
	Bytes:      {Code: 452, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{"Too much mail, try again later"}},
}

// key is what a subject is counted by; "" is nobody.
func (s Subject) key(client Client, sender smtp.Path) string {
	switch s {
	case ByLogin:
		return client.Login
	case BySender:
		return strings.ToLower(sender.String())
	}
	addr := client.Addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
