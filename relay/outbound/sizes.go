package outbound

import (
	"sync"
	"time"
)

const (
	// maxSizes bounds how many destinations' limits are remembered, and sizesFor
	// how long each is.
	maxSizes = 10_000
	sizesFor = time.Hour
)

// sizes remembers how large a message the hosts of a destination take. Only where
// all of them have said so it is known: another host is tried where one is too small.
type sizes struct {
	mu  sync.Mutex
	all map[string]sizeLimits
}

// sizeLimits are what the hosts of a destination, of which there are so many, have
// said.
type sizeLimits struct {
	of    int
	hosts map[string]sizeLimit
}

type sizeLimit struct {
	most  int64 // 0 is no limit
	until time.Time
}

func newSizes() *sizes { return &sizes{all: map[string]sizeLimits{}} }

// note remembers what one host said, of so many; 0 is that it has no limit. Where
// it is not known how many there are nothing follows from it.
func (s *sizes) note(destination, host string, of int, most int64, now time.Time) {
	if of == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, known := s.all[destination]
	if !known && len(s.all) >= maxSizes {
		for other := range s.all { // any: they are as good as each other
			delete(s.all, other)
			break
		}
	}
	_, heard := d.hosts[host]
	if d.of != of || !heard && len(d.hosts) == of { // they are others than before
		d = sizeLimits{of: of, hosts: map[string]sizeLimit{}}
	}
	d.hosts[host] = sizeLimit{most, now.Add(sizesFor)}
	s.all[destination] = d
}

// get returns the limit of a destination, if it is known that there is one.
func (s *sizes) get(destination string, now time.Time) (most int64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.all[destination]
	if len(d.hosts) != d.of {
		return 0, false
	}
	for _, limit := range d.hosts {
		if limit.most == 0 || !now.Before(limit.until) {
			return 0, false
		}
		most = max(most, limit.most)
	}
	return most, most > 0
}
