package queue

import (
	"cmp"
	"container/list"
	"slices"
	"time"
)

// Standings of a destination.
const (
	unproven = iota // nothing is known of it
	proven          // it answered within slowAfter
	suspect         // no host took a session, or it is slow
	standings
)

// destination is a next hop and what waits for it.
type destination struct {
	name      string
	flows     []*flow // the highest class and priority first; most have one
	workers   int
	lined     int // flows in line
	standing  int
	answered  time.Time // when an attempt last ended within slowAfter
	heldSince time.Time // zero when it is not on hold
	// pausedSince, in Unix milliseconds, is when no host took a session, or when
	// one asked for a pause; 0 when it is not paused. One attempt is then made at a
	// time, until one succeeds.
	pausedSince int64
	jitter      float64       // of the pause
	asked       time.Duration // how long the pause is; 0 is the first interval of each class
	why         string        // it is paused
	// woken, in Unix milliseconds, is when an operator last ended a pause, and
	// hurried says that one wants the pause of now to end as well (see wakeAgain).
	woken       int64
	hurried     bool
	probing     bool
	waits       bool          // for a pass
	urgency     int           // with which it asked for that
	called      bool          // it waited, and one pass is there now
	wanted      time.Time     // when an operator asked for everything to be tried
	wake        int64         // where it stands in timers
	position    int           // in timers; -1 when not there
	resting     *list.Element // in schedule.idle; nil when there is something to do
	restingFrom int64
}

// flow is what waits for one destination in one class with one priority.
type flow struct {
	destination *destination
	class       *class
	priority    int8 // MT-PRIORITY (RFC 6710)
	items       items
	wanted      []items // to be tried at an operator's wish, whenever they are due
	// queued and deferred are the recipients that the hints stand for.
	queued, deferred int64
	lined            bool
	passed           int // turns that went to higher flows meanwhile
}

// item is a hint that something is to be done for a delivery at a time.
type item struct {
	due    int64 // Unix milliseconds
	id     ID
	index  uint16
	warned bool
	tried  bool   // its recipients count as deferred
	open   uint16 // recipients that wait
}

// hint is an item and where it belongs.
type hint struct {
	class    *class
	priority int8
	item     item
	wanted   bool // whenever it is due
}

func (it item) key() deliveryKey { return deliveryKey{it.id, it.index} }

// maxPassed is how many turns in a row higher flows may have at a destination
// while a lower one has something due.
const maxPassed = 9

// flow returns the flow of a class and priority.
func (d *destination) flow(c *class, priority int8) *flow {
	for _, f := range d.flows {
		if f.class == c && f.priority == priority {
			return f
		}
	}
	f := &flow{destination: d, class: c, priority: priority}
	at, _ := slices.BinarySearchFunc(d.flows, f, compareFlows)
	d.flows = slices.Insert(d.flows, at, f)
	return f
}

// compareFlows puts the one first that goes first.
func compareFlows(a, b *flow) int {
	return cmp.Or(cmp.Compare(a.class.index, b.class.index), cmp.Compare(b.priority, a.priority))
}

// choose returns the flow whose turn it is: the highest one with something due,
// unless a lower one was passed over too often; nil when nothing is due.
// Flows that are in line already count only where lined is true.
func (d *destination) choose(now int64, lined bool) *flow {
	var first *flow
	for _, f := range d.flows {
		if f.lined && !lined || !f.ready(now) {
			continue
		}
		if f.passed >= maxPassed {
			return f
		}
		if first == nil {
			first = f
		}
	}
	return first
}

// pass notes that f had its turn and lower flows had not.
func (d *destination) pass(f *flow, now int64) {
	f.passed = 0
	if len(d.flows) == 1 {
		return
	}
	for _, other := range d.flows {
		if compareFlows(other, f) > 0 && other.ready(now) {
			other.passed++
		}
	}
}

// ready reports whether an attempt may be made now.
func (f *flow) ready(now int64) bool {
	at, ok := f.nextWake()
	return ok && at <= now
}

// nextWake returns when something is to be done; false is never.
func (f *flow) nextWake() (at int64, ok bool) {
	switch {
	case len(f.wanted) > 0:
		at = 0
	case len(f.items) > 0:
		at = f.items[0].due
	default:
		return 0, false
	}
	return max(at, f.pausedUntil()), true
}

// pausedUntil returns when the destination may be tried for this flow; 0 when
// it is not paused.
func (f *flow) pausedUntil() int64 { return f.destination.pausedUntil(f.class) }

func (d *destination) pausedUntil(c *class) int64 {
	if d.pausedSince == 0 {
		return 0
	}
	wait := c.Retry.interval(1, d.jitter)
	if d.asked > 0 {
		wait = c.Retry.jittered(d.asked, d.jitter)
	}
	until := d.pausedSince + wait.Milliseconds()
	if d.hurried {
		return min(until, d.woken+wakeAgain.Milliseconds())
	}
	return until
}

// next takes the first hint of a flow that has one.
func (f *flow) next() hint {
	h := hint{class: f.class, priority: f.priority, wanted: len(f.wanted) > 0}
	if h.wanted {
		h.item = f.wanted[0].pop()
		if len(f.wanted[0]) == 0 {
			f.wanted = f.wanted[1:]
		}
	} else {
		h.item = f.items.pop()
	}
	f.count(h.item, -1)
	return h
}

// count adds the recipients of a hint, or takes them away.
func (f *flow) count(it item, sign int64) {
	if it.tried {
		f.deferred += sign * int64(it.open)
	} else {
		f.queued += sign * int64(it.open)
	}
}

func (d *destination) held() bool { return !d.heldSince.IsZero() }

// wantAll makes everything that waits due now. It takes the same time however
// much that is.
func (f *flow) wantAll() {
	if len(f.items) > 0 {
		f.wanted, f.items = append(f.wanted, f.items), nil
	}
}

// length returns how many hints there are.
func (f *flow) length() int {
	n := len(f.items)
	for _, h := range f.wanted {
		n += len(h)
	}
	return n
}

// remove takes out what want selects.
func (f *flow) remove(want func(item) bool) {
	removed := func(it item) bool {
		gone := want(it)
		if gone {
			f.count(it, -1)
		}
		return gone
	}
	f.items.remove(removed)
	for i := range f.wanted {
		f.wanted[i].remove(removed)
	}
	f.wanted = slices.DeleteFunc(f.wanted, func(h items) bool { return len(h) == 0 })
}

// nextWake returns when d has something to do that is not in line.
func (d *destination) nextWake() (at int64, ok bool) {
	for _, f := range d.flows {
		if next, waits := f.nextWake(); waits && !f.lined && (!ok || next < at) {
			at, ok = next, true
		}
	}
	return at, ok
}

// empty reports whether nothing waits for d.
func (d *destination) empty() bool {
	for _, f := range d.flows {
		if len(f.items) > 0 || len(f.wanted) > 0 {
			return false
		}
	}
	return true
}

const (
	// maxIdle is how many destinations with nothing to do are remembered for
	// their standing, and idleFor how long.
	maxIdle = 100_000
	idleFor = time.Hour
)

// rest remembers the standing of a destination that has nothing to do.
func (s *schedule) rest(d *destination) {
	if d.workers > 0 || d.lined > 0 || d.held() || d.resting != nil || !d.empty() {
		return
	}
	d.flows = nil
	if d.standing == unproven {
		delete(s.destinations, d.name)
		return
	}
	d.restingFrom = s.nowMillis()
	d.resting = s.idle.PushBack(d)
	s.forget(d.restingFrom)
}

// forget drops destinations that have had nothing to do for long.
func (s *schedule) forget(now int64) {
	for e := s.idle.Front(); e != nil; e = s.idle.Front() {
		d := e.Value.(*destination)
		if s.idle.Len() <= maxIdle && now < d.restingFrom+idleFor.Milliseconds() {
			return
		}
		s.idle.Remove(e)
		delete(s.destinations, d.name)
	}
}
