package queue

import "time"

// holding is the one hint that holds for a delivery, and where; the zero value is
// none.
type holding struct {
	flow *flow
	item item
}

// tidyAfter is how long nothing was superseded before what is void is looked for.
const tidyAfter = time.Second

// leastSuperseded is how many hints may have to be dropped before they are looked
// for, however few there are.
const leastSuperseded = 1000

// supersede makes void what the schedule has for a delivery: it was changed, or
// somebody has claimed it who will say when it is due next. What is void is dropped
// when it comes up, or by tidy, for that may be never: behind a destination that is
// dead a hint would stay for each time that an operator has everything tried. Who
// changes a million messages does so page by page, so tidy waits for an end of it.
func (s *schedule) supersede(key deliveryKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.supersedeLocked(key)
}

func (s *schedule) supersedeLocked(key deliveryKey) {
	if len(s.superseded) == 0 {
		s.signal() // the dispatcher has to tidy
	}
	s.superseded[key], s.supersededAt = holding{}, s.now()
	if len(s.superseded) > s.tidyAt {
		s.tidyLocked()
		s.superseded[key] = holding{}
	}
}

// replace has one hint for a delivery that was changed, or none.
func (s *schedule) replace(key deliveryKey, name string, h *hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.supersedeLocked(key)
	if h != nil {
		s.pushLocked(name, *h)
	}
}

// void reports whether a hint of f does not hold any more.
func (s *schedule) void(f *flow, it item) bool {
	holds, known := s.superseded[it.key()]
	return known && holds != holding{f, it}
}

// taken notes that a hint is not waiting any more. Others that are the same are void.
func (s *schedule) taken(it item) {
	if _, known := s.superseded[it.key()]; known {
		s.superseded[it.key()] = holding{}
	}
}

// tidy drops what is void when nothing was superseded for a while, and returns when
// to look again. It takes some milliseconds for each 100,000 that wait.
func (s *schedule) tidy(wait time.Duration) time.Duration {
	if len(s.superseded) == 0 || s.loading {
		return wait
	}
	if since := s.now().Sub(s.supersededAt); since >= 0 && since < tidyAfter {
		return min(wait, tidyAfter-since)
	}
	s.tidyLocked()
	return wait
}

func (s *schedule) tidyLocked() {
	if len(s.superseded) == 0 || s.loading {
		return
	}
	left := 0
	for _, d := range s.destinations {
		before, after := 0, 0
		for _, f := range d.flows {
			before += f.length()
			f.remove(func(it item) bool {
				if s.void(f, it) {
					return true
				}
				s.taken(it) // of several that are the same one is enough
				return false
			})
			after += f.length()
		}
		if left += after; after < before {
			s.place(d)
		}
	}
	clear(s.superseded)
	if s.tidyAt > 4*leastSuperseded { // it was large, and a cleared map keeps its size
		s.superseded = map[deliveryKey]holding{}
	}
	// So each hint is looked at a few times for each that is superseded.
	s.tidyAt = max(leastSuperseded, left/4)
}

// restore adds a hint of the start, unless its delivery was changed since.
func (s *schedule) restore(name string, h hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.superseded[h.item.key()]; !known {
		s.pushLocked(name, h)
	}
}

// loaded notes that all have come in that were there at the start.
func (s *schedule) loaded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading = false
	s.tidyLocked()
}
