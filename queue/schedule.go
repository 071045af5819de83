package queue

import (
	"container/heap"
	"container/list"
	"context"
	"sync"
	"time"
)

// The schedule decides which delivery is attempted next. Its model:
//
// Deliveries wait by destination, and there by message class and priority: what
// waits together is a flow, a heap of hints ordered by when they are due. What
// stands in a hint is not the truth: the record in the index decides, and a hint
// that does not match its record is dropped (see Queue.attempt). So nothing needs
// to be searched here when an operator changes a record.
//
// Each destination has a standing, by what its last attempts came to:
//
//	proven    it answered within slowAfter
//	unproven  nothing is known of it
//	suspect   no host took a session, or it takes long to answer
//
// Attempts run in two lanes, so that destinations that cost time never take the
// places of those that do not. Proven ones start in the fast lane, all others in
// the slow one; an attempt that has run for slowAfter moves from the fast lane
// to the slow one while that has room. Of the slow lane, suspect destinations
// may use eight tenths, and these and unproven ones together nine, so that an
// unproven one finds a place among any number of dead ones, and what turns out
// to be slow can leave the fast lane. Where others wait for its place, an attempt
// at a proven or unproven destination has slowAfter to reach a host: then it is
// put off, and made again, with all the time that it may take, among the suspect
// ones. So to find out that a destination is dead costs a place for slowAfter,
// however long the time-outs are.
//
// A flow with something due stands in one of three lines, one for each
// standing, as long as its destination may have more connections; one that has
// to wait stands, by its destination, in a heap of timers. Each place goes to
// the class that has least of its share of the lane, and within the class to the
// flow that has waited longest (see line and Class). Where a destination has no
// connection left, the next one that ends goes to its highest class and priority,
// and in every tenth turn to a lower one (see destination.choose).
//
// A destination where no host took a session is left alone for the first
// interval of the retry list of what waits there, and is then tried with one
// attempt at a time until one succeeds. That costs one attempt per interval
// however much waits behind it. A destination on hold stands nowhere, and neither
// does one that the Pacer does not admit, until it is called.
type schedule struct {
	mu           sync.Mutex
	classes      *classes
	destinations map[string]*destination
	timers       timers
	inFlight     map[deliveryKey]*missed // nil where nothing was missed
	held         map[string]*destination
	// superseded has the deliveries that were changed or claimed while they waited,
	// with the one hint that holds since.
	superseded   map[deliveryKey]holding
	tidyAt       int       // how many superseded ones have tidy done
	supersededAt time.Time // the last of them
	loading      bool      // what was there at the start is coming in
	fast, slow   *lane
	started      [standings]int // attempts that started in the slow lane, by standing
	lines        [standings]line
	watched      list.List            // of *worker: attempts in order of their start, until slowAfter
	late         [standings]list.List // of *worker: older ones in the fast lane, and of unproven destinations
	leaving      [standings]int       // attempts that were put off and have not ended yet
	idle         list.List            // of *destination: nothing to do there, longest first
	perDest      int
	pacer        Pacer // nil admits all
	stopping     bool
	wake         chan struct{} // holds one token when something changed
	now          func() time.Time
}

// slowAfter is how long an attempt may take in the fast lane.
const slowAfter = 3 * time.Second

func newSchedule(c *classes, workers, slowWorkers, perDest int, now func() time.Time) *schedule {
	s := &schedule{
		classes: c, destinations: map[string]*destination{}, inFlight: map[deliveryKey]*missed{}, held: map[string]*destination{}, superseded: map[deliveryKey]holding{}, tidyAt: leastSuperseded,
		fast: newLane(workers, c), slow: newLane(slowWorkers, c), perDest: perDest, wake: make(chan struct{}, 1), now: now,
	}
	for i := range s.lines {
		s.lines[i] = newLine(c)
	}
	return s
}

func (s *schedule) nowMillis() int64 { return s.now().UnixMilli() }

// push adds a hint.
func (s *schedule) push(name string, h hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushLocked(name, h)
}

func (s *schedule) pushLocked(name string, h hint) {
	d := s.destination(name)
	f := d.flow(h.class, h.priority)
	f.count(h.item, 1)
	if _, known := s.superseded[h.item.key()]; known {
		s.superseded[h.item.key()] = holding{f, h.item}
	}
	if h.wanted {
		f.wanted = append(f.wanted, items{h.item})
	} else {
		f.items.push(h.item)
	}
	if d.waits && f.urgency() > d.urgency && f.ready(s.nowMillis()) {
		d.waits = false // it asks anew
	}
	s.place(d)
}

// destination returns the destination of that name, with something to do.
func (s *schedule) destination(name string) *destination {
	d := s.destinations[name]
	if d == nil {
		d = &destination{name: name, position: -1}
		s.destinations[name] = d
	}
	if d.resting != nil {
		s.idle.Remove(d.resting)
		d.resting = nil
	}
	return d
}

// place puts d where it belongs now: its flows in line, itself among the
// timers, or nowhere.
func (s *schedule) place(d *destination) {
	now := s.nowMillis()
	for !d.held() && !d.waits && d.workers+d.lined < s.limit(d) {
		f := d.choose(now, false)
		if f == nil {
			break
		}
		f.lined = true
		d.lined++
		s.lines[d.standing].push(f)
		s.signal()
	}
	at, waits := d.nextWake()
	switch {
	case d.waits && !d.empty() && !d.held():
		if d.position < 0 || d.wake <= now || d.wake > now+reviewAfter.Milliseconds() {
			s.setTimer(d, now+reviewAfter.Milliseconds())
		}
	case d.held() || d.workers+d.lined > 0 && d.workers+d.lined >= s.limit(d):
		s.removeTimer(d) // a worker that ends places it anew
	case waits:
		s.setTimer(d, at)
	default:
		s.removeTimer(d)
		s.rest(d)
	}
}

// limit is how many connections d may have. What is slow gets a quarter of the
// places that are still free, so that a few such destinations do not take all.
func (s *schedule) limit(d *destination) int {
	switch {
	case d.probing:
		return 1
	case d.standing == proven:
		return s.perDest
	}
	return max(1, min(s.perDest, s.free(d.standing)/4))
}

func (s *schedule) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run starts workers as long as ctx lasts. start must not block.
func (s *schedule) run(ctx context.Context, start func(*worker)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.dispatch(start))
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.stopping = true
			s.mu.Unlock()
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// dispatch starts what can be started and returns how long nothing more will
// be due by itself.
func (s *schedule) dispatch(start func(*worker)) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The clock goes on meanwhile, or is set, and what follows asks it too: with
	// an older time what was put in line or among the timers would not be due, be
	// put there again, and so on for ever.
	for len(s.timers) > 0 && s.timers[0].wake <= s.nowMillis() {
		d := s.timers[0]
		s.removeTimer(d)
		if d.waits && !d.held() {
			start(&worker{destination: d, review: true})
		}
		s.place(d)
	}
	s.sweep(s.now())
	s.forget(s.nowMillis())
	for standing := range s.lines {
		s.serve(standing, start)
	}
	wait, at := time.Hour, s.now()
	if len(s.timers) > 0 {
		wait = time.UnixMilli(s.timers[0].wake).Sub(at)
	}
	if oldest := s.watched.Front(); oldest != nil {
		wait = min(wait, slowAfter-at.Sub(oldest.Value.(*worker).since))
	}
	return s.tidy(wait)
}

// serve starts workers for one line as long as there are places.
func (s *schedule) serve(standing int, start func(*worker)) {
	line, lane := &s.lines[standing], s.slow
	if standing == proven {
		lane = s.fast
	}
	for line.length > 0 && s.free(standing) > 0 {
		f := line.pop(lane)
		d := f.destination
		f.lined = false
		d.lined--
		if d.standing == standing && !d.held() && !d.waits && d.workers < s.limit(d) && f.ready(s.nowMillis()) {
			if pass, ok := s.admit(d, f); ok {
				s.launch(&worker{destination: d, flow: f, lane: lane, standing: standing, pass: pass}, start)
				d.called = false
			}
		}
		s.place(d) // to the end of the line, if more is due
	}
}

// launch starts a worker with what it does first: were that claimed only when the
// worker runs, as many would be started for it as the destination may have.
func (s *schedule) launch(w *worker, start func(*worker)) {
	w.destination.workers++
	s.started[w.standing]++
	w.lane.add(w.flow.class)
	var ok bool
	if w.first, ok = s.claimFor(w); ok {
		start(w)
	} else {
		s.end(w) // all that was due is in flight
	}
}

// free returns how many more attempts may start for destinations of a standing.
func (s *schedule) free(standing int) int {
	switch standing {
	case proven:
		return s.fast.free()
	case suspect:
		return min(s.part(8)-s.started[suspect], s.free(unproven))
	}
	return min(s.part(9)-s.started[suspect]-s.started[unproven], s.slow.free())
}

// part returns some tenths of the slow lane, at least one place.
func (s *schedule) part(tenths int) int { return max(1, s.slow.places*tenths/10) }

// sweep looks after attempts that have run for slowAfter. Their destinations
// are known to be slow from then on, unless they answered another attempt
// meanwhile.
func (s *schedule) sweep(now time.Time) {
	for e := s.watched.Front(); e != nil && now.Sub(e.Value.(*worker).since) >= slowAfter; e = s.watched.Front() {
		w := e.Value.(*worker)
		if d := w.destination; d.answered.Before(w.since) {
			d.standing = suspect
		}
		w.leave()
		if w.standing != suspect {
			w.join(&s.late[w.standing])
		}
	}
	for late := &s.late[proven]; late.Len() > 0 && s.slow.free() > 0; {
		w := late.Front().Value.(*worker)
		w.leave()
		w.lane.remove(w.flow.class)
		w.lane = s.slow
		w.lane.add(w.flow.class)
	}
	s.putOff(proven)
	s.putOff(unproven)
}

// putOff ends as many late attempts as there are flows that wait for their
// places, but for those that have reached a host.
func (s *schedule) putOff(standing int) {
	for late := &s.late[standing]; late.Len() > 0 && s.free(standing) <= 0 && s.leaving[standing] < s.lines[standing].length; {
		w := late.Front().Value.(*worker)
		w.leave()
		if w.reached || w.cancel == nil {
			continue
		}
		w.putOff, w.destination.standing = true, suspect
		s.leaving[standing]++
		w.cancel()
	}
}

// setTimer has d placed anew at a time.
func (s *schedule) setTimer(d *destination, at int64) {
	d.wake = at
	if d.position < 0 {
		heap.Push(&s.timers, d)
	} else {
		heap.Fix(&s.timers, d.position)
	}
	if d.position == 0 {
		s.signal()
	}
}

func (s *schedule) removeTimer(d *destination) {
	if d.position >= 0 {
		heap.Remove(&s.timers, d.position)
	}
}
