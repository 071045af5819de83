package resolver

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// answer is the outcome of a look-up, aliases followed. It is shared and never
// changed. With err nil and nothing in any list, the name exists and
// has no such record.
type answer struct {
	name          string       // where the aliases led
	hosts         []Host       // for MX: usable ones, by preference
	addresses     []netip.Addr // for A and AAAA: in the server's order
	tlsa          []TLSA
	texts         []string // for TXT
	authenticated bool
	err           *Error
	ttl           time.Duration // how long it may be remembered; 0: not at all
}

// maxRemembered is the size in octets over which an answer is not remembered:
// with as much as one reply can hold, somebody who answers for many names would
// fill the memory.
const maxRemembered = 4 << 10

// size returns how much memory an answer takes, without what is small in all.
func (a *answer) size() int {
	const record = 32 // what each has besides its data
	n := record * (len(a.texts) + len(a.tlsa))
	for _, text := range a.texts {
		n += len(text)
	}
	for _, t := range a.tlsa {
		n += len(t.Data)
	}
	return n
}

// cache remembers answers until their time is over. When it is full, the one
// that was not used for the longest time goes.
type cache struct {
	size int

	mu      sync.Mutex
	entries map[question]*list.Element // of *entry
	used    *list.List                 // the last used first
}

type entry struct {
	key     question
	answer  *answer
	expires time.Time
}

func newCache(size int) *cache {
	return &cache{size: size, entries: make(map[question]*list.Element), used: list.New()}
}

// get returns the answer to q, or nil.
func (c *cache) get(q question) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[q]
	if !ok {
		return nil
	}
	e := element.Value.(*entry)
	if !time.Now().Before(e.expires) {
		c.remove(element)
		return nil
	}
	c.used.MoveToFront(element)
	return e.answer
}

// put remembers a for as long as it says, if it is not too large.
func (c *cache) put(q question, a *answer) {
	if a.ttl <= 0 || a.size() > maxRemembered {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries[q]; ok {
		c.remove(old)
	}
	for len(c.entries) >= c.size {
		c.remove(c.used.Back())
	}
	c.entries[q] = c.used.PushFront(&entry{key: q, answer: a, expires: time.Now().Add(a.ttl)})
}

// remove forgets an entry. The caller holds the lock.
func (c *cache) remove(element *list.Element) {
	delete(c.entries, element.Value.(*entry).key)
	c.used.Remove(element)
}
