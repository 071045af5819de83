package queue

import (
	"container/list"
	"context"
	"time"
)

// lane is a number of places for attempts, of which each class has a share.
type lane struct {
	places, used int
	byClass      []int // used, by class
}

func newLane(places int, c *classes) *lane {
	return &lane{places: places, byClass: make([]int, len(c.all))}
}

func (l *lane) free() int { return l.places - l.used }

func (l *lane) add(c *class) {
	l.used++
	l.byClass[c.index]++
}

func (l *lane) remove(c *class) {
	l.used--
	l.byClass[c.index]--
}

// line is where flows wait for a place, those of each class in the order in
// which they came.
type line struct {
	classes *classes
	flows   []fifo // by class
	length  int
}

func newLine(c *classes) line { return line{classes: c, flows: make([]fifo, len(c.all))} }

func (l *line) push(f *flow) {
	l.flows[f.class.index].push(f)
	l.length++
}

// pop takes the first flow of the class that has least of its share of the
// lane. So a class with something due gets its share at the latest when as many
// attempts have ended, and all may use what the others leave. Among equals the
// one with the higher rank goes first.
func (l *line) pop(in *lane) *flow {
	var best *class
	var least float64
	for _, c := range l.classes.all { // by rank
		if l.flows[c.index].empty() {
			continue
		}
		if used := float64(in.byClass[c.index]) / c.weight; best == nil || used < least {
			best, least = c, used
		}
	}
	l.length--
	return l.flows[best.index].pop()
}

// fifo is a line of flows.
type fifo struct {
	flows []*flow
	first int
}

func (q *fifo) empty() bool { return q.first == len(q.flows) }

func (q *fifo) push(f *flow) { q.flows = append(q.flows, f) }

func (q *fifo) pop() *flow {
	f := q.flows[q.first]
	q.flows[q.first] = nil
	if q.first++; q.empty() {
		q.flows, q.first = q.flows[:0], 0
	} else if q.first > 1024 && q.first > len(q.flows)/2 {
		n := copy(q.flows, q.flows[q.first:])
		clear(q.flows[n:])
		q.flows, q.first = q.flows[:n], 0
	}
	return f
}

// worker has a place in a lane, and makes attempts at one destination.
type worker struct {
	destination *destination
	flow        *flow
	first       claim // what it begins with
	lane        *lane
	standing    int       // of the destination, when the worker started
	since       time.Time // when the attempt began
	cancel      func()    // ends the attempt; nil when none is made
	reached     bool      // a host took a session in this attempt
	putOff      bool      // the attempt was ended, because others wait
	pass        Pass      // nil where none is needed
	review      bool      // it makes no attempt, and looks through what waits
	list        *list.List
	element     *list.Element // in list
}

func (w *worker) join(l *list.List) { w.list, w.element = l, l.PushBack(w) }

func (w *worker) leave() {
	if w.list != nil {
		w.list.Remove(w.element)
	}
	w.list, w.element = nil, nil
}

// claim is a delivery that a worker has taken.
type claim struct {
	key deliveryKey
	// wanted is when an operator asked for everything at this destination to
	// be tried; zero when the delivery came by its own time.
	wanted time.Time
}

// take gives a worker the next delivery that is due at its destination. When
// there is none, or it is another destination's turn, the worker has ended.
func (s *schedule) take(w *worker) (claim, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	goOn := s.mayGoOn(w) && (w.pass == nil || w.pass.Again())
	w.leave()
	if goOn && !s.stopping && !w.destination.held() {
		if c, ok := s.claimFor(w); ok {
			if s.watched.Len() == 1 {
				s.signal() // the dispatcher has to look after it
			}
			return c, true
		}
	}
	s.end(w)
	return claim{}, false
}

// claimFor begins the flight of the next delivery that is due at a worker's
// destination: of its own flow, as long as the others there get places, too, and else
// of the one whose turn it is.
func (s *schedule) claimFor(w *worker) (claim, bool) {
	now := s.nowMillis()
	for d := w.destination; ; {
		f := w.flow
		if d.waits || d.called || d.workers+d.lined >= s.limit(d) || !f.ready(now) {
			if f = d.choose(now, true); f == nil {
				return claim{}, false
			}
		}
		h := f.next()
		if s.void(f, h.item) {
			continue
		}
		s.taken(h.item)
		c := claim{key: h.item.key()}
		if h.wanted {
			c.wanted = d.wanted
		}
		if _, busy := s.inFlight[c.key]; busy {
			s.inFlight[c.key] = &missed{d.name, h}
			continue
		}
		s.inFlight[c.key] = nil
		d.pass(f, now)
		w.lane.remove(w.flow.class)
		w.lane.add(f.class)
		w.flow, w.since, w.reached = f, s.now(), false
		w.join(&s.watched)
		return c, true
	}
}

// mayGoOn reports whether a worker may make another attempt: it is still in
// the lane where its destination belongs, which may have as many connections,
// and nobody waits for its place.
func (s *schedule) mayGoOn(w *worker) bool {
	d := w.destination
	moved := w.lane == s.slow && w.standing == proven
	return !moved && d.standing == w.standing && d.workers <= s.limit(d) && (s.free(w.standing) > 0 || s.lines[w.standing].length == 0)
}

// begin notes that a worker makes an attempt, which cancel ends.
func (s *schedule) begin(w *worker, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.cancel = cancel
}

// finish notes that the attempt is over, and reports whether it was put off.
func (s *schedule) finish(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.leave()
	put := w.putOff
	if put {
		s.leaving[w.standing]--
	}
	w.cancel, w.putOff = nil, false
	return put
}

// reachedKey is that of the function behind Reached.
type reachedKey struct{}

// Reached says that a host has taken a session in the attempt whose context
// this is. Until then the attempt may be put off for others, and is then made
// again as if it had not begun: its context ends. A Deliverer calls it before
// the first command of a transaction.
func Reached(ctx context.Context) {
	if f, ok := ctx.Value(reachedKey{}).(func()); ok {
		f()
	}
}

func (s *schedule) withReached(ctx context.Context, w *worker) context.Context {
	if w.pass != nil {
		ctx = WithPass(ctx, w.pass)
	}
	return context.WithValue(ctx, reachedKey{}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.reached = true
	})
}

func (s *schedule) end(w *worker) {
	if w.pass != nil {
		w.pass.End()
	}
	w.lane.remove(w.flow.class)
	s.started[w.standing]--
	w.destination.workers--
	s.place(w.destination)
	s.signal()
}
