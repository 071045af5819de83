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

// sizes remembers how large a message the hosts of a destination take. Of
// several hosts the one that takes most counts, as another host is tried where
// one is too small.
type sizes struct {
	mu  sync.Mutex
	all map[string]sizeLimit
}

type sizeLimit struct {
	most  int64 // 0 is no limit
	until time.Time
}

func newSizes() *sizes { return &sizes{all: map[string]sizeLimit{}} }

// note remembers what a host said; 0 is that it has no limit.
func (s *sizes) note(destination string, most int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.all[destination]
	if known && now.Before(old.until) && (old.most == 0 || most != 0 && old.most > most) {
		most = old.most
	}
	if !known && len(s.all) >= maxSizes {
		for other := range s.all { // any: they are as good as each other
			delete(s.all, other)
			break
		}
	}
	s.all[destination] = sizeLimit{most, now.Add(sizesFor)}
}

// get returns the limit of a destination, if it is known that there is one.
func (s *sizes) get(destination string, now time.Time) (most int64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, ok := s.all[destination]
	return limit.most, ok && limit.most > 0 && now.Before(limit.until)
}
