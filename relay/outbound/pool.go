package outbound

import (
	"slices"
	"sync"
	"time"
)

// maxPerSession is how many messages one connection carries, so that load
// moves when a next hop adds hosts.
const maxPerSession = 1000

// pool keeps connections that may carry more mail, by the leg that they belong
// to and by the site.
type pool struct {
	keep   time.Duration
	max    int
	mu     sync.Mutex
	idle   map[string][]*session
	sites  map[string][]*session // the same, but for those that nobody counts
	count  int
	closed bool
	// ending is how many sessions say goodbye; quiet is told of each that has. No
	// WaitGroup, for attempts may give sessions back while close waits.
	ending int
	quiet  *sync.Cond
}

func newPool(keep time.Duration, limit int) *pool {
	p := &pool{keep: keep, max: limit, idle: map[string][]*session{}, sites: map[string][]*session{}}
	p.quiet = sync.NewCond(&p.mu)
	return p
}

// take returns the connection that was used last, or nil.
func (p *pool) take(key string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLast(p.idle[key], func(*session) bool { return true })
}

// takeShared returns the connection to a site that was used last, of those that
// will do, or nil.
func (p *pool) takeShared(site string, will func(*session) bool) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLast(p.sites[site], will)
}

func (p *pool) takeLast(list []*session, will func(*session) bool) *session {
	for _, s := range slices.Backward(slices.Clone(list)) {
		if !will(s) {
			continue
		}
		p.remove(s)
		if s.expires.Stop() {
			return s
		}
		// Its time is up, and expire will find that it is not here.
		p.quit(s)
	}
	return nil
}

// makeRoom ends the connections to a site that were not used for longest, until so
// many are left. It returns when they have ended.
func (p *pool) makeRoom(site string, room int) {
	p.mu.Lock()
	var surplus []*session
	for len(p.sites[site]) > room {
		s := p.sites[site][0]
		p.remove(s)
		s.expires.Stop()
		surplus = append(surplus, s)
	}
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, s := range surplus {
		ending.Go(func() {
			s.client.Quit()
			s.ended()
		})
	}
	ending.Wait()
}

// remove takes a connection out, and reports whether it was there.
func (p *pool) remove(s *session) bool {
	if !removeFrom(p.idle, s.key, s) {
		return false
	}
	removeFrom(p.sites, s.site, s)
	p.count--
	return true
}

func removeFrom(lists map[string][]*session, key string, s *session) bool {
	at := slices.Index(lists[key], s)
	if at < 0 {
		return false
	}
	if lists[key] = slices.Delete(lists[key], at, at+1); len(lists[key]) == 0 {
		delete(lists, key)
	}
	return true
}

// put takes a connection back, to keep or to end it.
func (p *pool) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.client.Reusable() || p.closed || p.count >= p.max || s.worn() {
		p.quit(s)
		return
	}
	p.idle[s.key] = append(p.idle[s.key], s)
	if s.site != "" {
		p.sites[s.site] = append(p.sites[s.site], s)
	}
	p.count++
	s.expires = time.AfterFunc(p.keep, func() { p.expire(s) })
}

// expire ends a connection that nobody wanted.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.remove(s) {
		p.quit(s)
	}
}

// quit ends a session, in good order if it has not failed (RFC 5321
// §4.1.1.10), without anybody waiting for its goodbye. The caller holds mu.
func (p *pool) quit(s *session) {
	p.ending++
	go func() {
		s.client.Quit()
		s.ended()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ending--
		p.quiet.Broadcast()
	}()
}

// close ends every connection, and waits for that. What comes back later is ended
// without anybody waiting.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, s := range list {
			s.expires.Stop()
			p.quit(s)
		}
	}
	p.idle, p.sites, p.count = map[string][]*session{}, map[string][]*session{}, 0
	for p.ending > 0 {
		p.quiet.Wait()
	}
}
