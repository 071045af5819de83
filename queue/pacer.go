package queue

import (
	"context"
	"time"

	"waypost/relay/smtp"
)

// Pacer is a Deliverer that says when attempts may start.
type Pacer interface {
	// Admit asks for an attempt at a destination to start, among others with the
	// highest urgency first. When it may not, again is called with the destination's
	// name, from another goroutine, once it is worth asking anew. It reports whether
	// somebody will. Who has become more urgent may ask before.
	Admit(destination string, urgency int, again func(destination string) bool) (Pass, bool)
	// Why says what a destination waits for that was not admitted.
	Why(destination string) string
}

// Pass lets attempts run at a destination, one after the other. An attempt finds
// its own by [PassOf].
type Pass interface {
	// Again reports whether another attempt may follow.
	Again() bool
	// End ends the pass.
	End()
}

// passKey is that of the pass of an attempt.
type passKey struct{}

// PassOf returns the pass of the attempt whose context this is; nil where there
// is none.
func PassOf(ctx context.Context) Pass {
	p, _ := ctx.Value(passKey{}).(Pass)
	return p
}

// WithPass returns a context for an attempt that has a pass.
func WithPass(ctx context.Context, p Pass) context.Context {
	return context.WithValue(ctx, passKey{}, p)
}

// reviewAfter is how often what waits for a pass is looked through for what is to
// be warned about or given up.
const reviewAfter = 10 * time.Minute

// admit asks for a pass for a destination, which waits until it is called again
// when there is none.
func (s *schedule) admit(d *destination, f *flow) (Pass, bool) {
	if s.pacer == nil {
		return nil, true
	}
	pass, ok := s.pacer.Admit(d.name, f.urgency(), s.readmit)
	if !ok {
		d.waits, d.urgency = true, f.urgency()
	}
	return pass, ok
}

// priorities is how many there are (RFC 6710 §4).
const priorities = 19

// urgency is a number for what a flow has to do: greater for a higher class, and
// within it for a higher priority.
func (f *flow) urgency() int { return f.class.Rank*priorities + int(f.priority) }

// readmit has a destination ask again, and reports whether it will: what waited may
// have gone by another pass.
func (s *schedule) readmit(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destinations[name]
	if d == nil {
		return false
	}
	if d.waits {
		d.waits, d.called = false, true
		s.place(d)
	}
	return d.lined > 0
}

// review warns about, and gives up, what waits for a pass for so long. No attempt
// is made for that.
func (q *Queue) review(d *destination) {
	q.settleWaiting(d, Result{State: Deferred, Reason: q.sched.pacer.Why(d.name), Status: smtp.EnhancedCode{4, 4, 5}})
}
