package outbound

import (
	"sync"
	"time"
)

// maxPerSession is how many messages one connection carries, so that load
// moves when a next hop adds hosts.
const maxPerSession = 1000

// pool keeps connections that may carry more mail, by the leg that they belong
// to.
type pool struct {
	keep   time.Duration
	max    int
	mu     sync.Mutex
	idle   map[string][]*session
	count  int
	closed bool
	ending sync.WaitGroup
}

func newPool(keep time.Duration, limit int) *pool {
	return &pool{keep: keep, max: limit, idle: map[string][]*session{}}
}

// take returns the connection that was used last, or nil.
func (p *pool) take(key string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	for len(list) > 0 {
		s := list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
		p.setList(key, list)
		p.count--
		if s.expires.Stop() {
			return s
		}
		// Its time is up, and expire will find that it is not here.
		p.quit(s)
	}
	return nil
}

func (p *pool) setList(key string, list []*session) {
	if len(list) == 0 {
		delete(p.idle, key)
	} else {
		p.idle[key] = list
	}
}

// put takes a connection back, to keep or to end it.
func (p *pool) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.client.Reusable() || p.closed || p.count >= p.max || s.sent >= maxPerSession {
		p.quit(s)
		return
	}
	p.idle[s.key] = append(p.idle[s.key], s)
	p.count++
	s.expires = time.AfterFunc(p.keep, func() { p.expire(s) })
}

// expire ends a connection that nobody wanted.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[s.key]
	for i := range list {
		if list[i] == s {
			p.setList(s.key, append(list[:i:i], list[i+1:]...))
			p.count--
			p.quit(s)
			return
		}
	}
}

// quit ends a session, in good order if it has not failed (RFC 5321
// §4.1.1.10), without anybody waiting for its goodbye.
func (p *pool) quit(s *session) {
	p.ending.Go(func() {
		s.client.Quit()
		s.ended()
	})
}

// close ends every connection, and waits for that.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, list := range p.idle {
		for _, s := range list {
			s.expires.Stop()
			p.quit(s)
		}
	}
	p.idle, p.count = map[string][]*session{}, 0
	p.mu.Unlock()
	p.ending.Wait()
}
