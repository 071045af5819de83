package queue

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// schedule knows what is due where. Deliveries wait by destination; a
// destination with something due stands in line for a worker, one that has to
// wait stands in a heap of timers. Destinations are served in turn, so that a
// long backlog at one never delays another, and one that does not answer
// costs a single attempt per interval however much waits behind it.
//
// What stands here is a hint: the record in the index decides, and a hint
// that does not match its record is dropped (see Queue.attempt). So nothing
// needs to be searched here when an operator changes a record.
type schedule struct {
	mu           sync.Mutex
	destinations map[string]*destination
	ready        []*destination // in line for a worker, oldest first
	timers       timers
	inFlight     map[deliveryKey]struct{}
	workers      int
	maxWorkers   int
	perDest      int
	stopping     bool
	wake         chan struct{} // holds one token when something changed
}

// destination is a next hop and what waits for it.
type destination struct {
	name    string
	items   items
	workers int
	ready   bool
	// pausedUntil, in Unix milliseconds, is set when no host took a session.
	// One attempt is then made at a time, until one succeeds.
	pausedUntil int64
	probing     bool
	wake        int64 // where it stands in timers
	position    int   // in timers; -1 when not there
}

// item is a hint that something is to be done for a delivery at a time.
type item struct {
	due    int64 // Unix milliseconds
	id     ID
	index  uint16
	warned bool
}

func (it item) key() deliveryKey { return deliveryKey{it.id, it.index} }

func newSchedule(maxWorkers, perDest int) *schedule {
	return &schedule{
		destinations: map[string]*destination{}, inFlight: map[deliveryKey]struct{}{},
		maxWorkers: maxWorkers, perDest: perDest, wake: make(chan struct{}, 1),
	}
}

func nowMillis() int64 { return time.Now().UnixMilli() }

// push adds a hint.
func (s *schedule) push(name string, it item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushLocked(name, it)
}

func (s *schedule) pushLocked(name string, it item) {
	d := s.destinations[name]
	if d == nil {
		d = &destination{name: name, position: -1}
		s.destinations[name] = d
	}
	heap.Push(&d.items, it)
	s.place(d)
}

// place puts d where it belongs now: in line, among the timers, or nowhere.
func (s *schedule) place(d *destination) {
	if d.ready {
		return
	}
	at, waits := d.nextWake()
	switch {
	case !waits:
		s.removeTimer(d)
		if d.workers == 0 && len(d.items) == 0 && d.pausedUntil == 0 {
			delete(s.destinations, d.name)
		}
	case d.workers >= s.limit(d):
		s.removeTimer(d) // a worker that ends places it anew
	case at <= nowMillis():
		s.removeTimer(d)
		d.ready = true
		s.ready = append(s.ready, d)
		s.signal()
	default:
		s.setTimer(d, at)
	}
}

// nextWake returns when d has something to do. A pause ends by itself, also
// when nothing waits any more.
func (d *destination) nextWake() (at int64, ok bool) {
	if len(d.items) == 0 {
		return d.pausedUntil, d.pausedUntil != 0 && d.workers == 0
	}
	return max(d.items[0].due, d.pausedUntil), true
}

func (s *schedule) limit(d *destination) int {
	if d.probing {
		return 1
	}
	return s.perDest
}

func (s *schedule) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run starts workers as long as ctx lasts. start must not block.
func (s *schedule) run(ctx context.Context, start func(*destination)) {
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
func (s *schedule) dispatch(start func(*destination)) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := nowMillis()
	for len(s.timers) > 0 && s.timers[0].wake <= now {
		s.place(s.timers[0])
	}
	for len(s.ready) > 0 && s.workers < s.maxWorkers {
		d := s.ready[0]
		s.ready = s.ready[1:]
		d.ready = false
		s.endPause(d, now)
		if at, waits := d.nextWake(); waits && at <= now && len(d.items) > 0 && d.workers < s.limit(d) {
			d.workers++
			s.workers++
			start(d)
		}
		s.place(d) // to the end of the line, if more is due
	}
	if len(s.timers) == 0 {
		return time.Hour
	}
	return time.Duration(max(s.timers[0].wake-now, 1)) * time.Millisecond
}

// endPause lets one attempt through when the pause is over.
func (s *schedule) endPause(d *destination, now int64) {
	if d.pausedUntil != 0 && d.pausedUntil <= now {
		d.pausedUntil = 0
	}
}

// take gives a worker of d the next delivery that is due. When there is none,
// or it is another destination's turn, the worker has ended.
func (s *schedule) take(d *destination, first bool) (deliveryKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := nowMillis()
	turnOver := !first && s.workers >= s.maxWorkers && len(s.ready) > 0
	if !s.stopping && !turnOver && d.pausedUntil <= now && d.workers <= s.limit(d) {
		for len(d.items) > 0 && d.items[0].due <= now {
			it := heap.Pop(&d.items).(item)
			if _, busy := s.inFlight[it.key()]; !busy {
				s.inFlight[it.key()] = struct{}{}
				return it.key(), true
			}
		}
	}
	d.workers--
	s.workers--
	s.place(d)
	s.signal()
	return deliveryKey{}, false
}

// done ends the flight of a delivery, and says when it is due again unless it
// is over.
func (s *schedule) done(key deliveryKey, name string, again *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, key)
	if again != nil {
		s.pushLocked(name, *again)
	}
}

// pause keeps d from being tried before until. Attempts that were under way
// when the first of them failed do not lengthen the pause.
func (s *schedule) pause(d *destination, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.probing = true
	if d.pausedUntil <= nowMillis() {
		d.pausedUntil = until.UnixMilli()
	}
}

// reached opens d again after a host took a session.
func (s *schedule) reached(d *destination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.pausedUntil, d.probing = 0, false
}

// wakeUp ends the pause of a destination at an operator's wish.
func (s *schedule) wakeUp(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.destinations[name]; d != nil && d.pausedUntil != 0 {
		d.pausedUntil = nowMillis()
		s.place(d)
	}
}

// pausedUntil returns until when a destination is not tried; zero when it is.
func (s *schedule) pausedUntil(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.destinations[name]; d != nil && d.pausedUntil > nowMillis() {
		return time.UnixMilli(d.pausedUntil)
	}
	return time.Time{}
}

// count returns how many destinations have something waiting or in flight, and
// how many of them are not tried before some later time.
func (s *schedule) count() (all, paused int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := nowMillis()
	for _, d := range s.destinations {
		if d.pausedUntil > now {
			paused++
		}
	}
	return int64(len(s.destinations)), paused
}

// overdue takes out of the line what waits for d and that want selects.
func (s *schedule) overdue(d *destination, want func(item) bool) []deliveryKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []deliveryKey
	kept := d.items[:0]
	for _, it := range d.items {
		if _, busy := s.inFlight[it.key()]; !busy && want(it) {
			s.inFlight[it.key()] = struct{}{}
			keys = append(keys, it.key())
		} else {
			kept = append(kept, it)
		}
	}
	d.items = kept
	heap.Init(&d.items)
	return keys
}

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

// items is a heap of hints, the earliest first; what is due together leaves
// in the order of its arrival.
type items []item

func (h items) Len() int { return len(h) }
func (h items) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].id < h[j].id
}
func (h items) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *items) Push(x any)   { *h = append(*h, x.(item)) }
func (h *items) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// timers is a heap of waiting destinations, the earliest first.
type timers []*destination

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].wake < h[j].wake }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}
func (h *timers) Push(x any) {
	d := x.(*destination)
	d.position = len(*h)
	*h = append(*h, d)
}
func (h *timers) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	d.position = -1
	return d
}
