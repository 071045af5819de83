// Package rate counts what clients do over a sliding window, in bounded
// memory. It keeps no time of its own: whoever asks says what time it is.
package rate

import (
	"container/list"
	"sync"
	"time"
)

// Table counts by key. The count is that of a sliding window, taken to be even
// within the window before the present one: two numbers for each key, and at
// most one window's count too many or too few by how uneven that was.
//
// It holds a bounded number of keys. When one more comes, the one that was
// longest without use makes room.
type Table struct {
	window time.Duration
	max    int

	mu     sync.Mutex
	counts map[string]*list.Element
	recent list.List // of *count, the latest use in front
}

// count is what one key did.
type count struct {
	key       string
	begin     time.Time // of the present window
	now, past int64     // in the present window, and in the one before
}

// NewTable returns a table of counts over a window, of at most max keys.
func NewTable(window time.Duration, max int) *Table {
	return &Table{window: window, max: max, counts: map[string]*list.Element{}}
}

// Window returns the window's length.
func (t *Table) Window() time.Duration { return t.window }

// Count returns what key did in the window that ends at now.
func (t *Table) Count(key string, now time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.counts[key]; ok {
		c := e.Value.(*count)
		c.slide(now, t.window)
		return c.sum(now, t.window)
	}
	return 0
}

// Add counts n more and returns the new count.
func (t *Table) Add(key string, n int64, now time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.entry(key, now)
	c.now += n
	return c.sum(now, t.window)
}

// Forget drops what is known of key.
func (t *Table) Forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.counts[key]; ok {
		t.recent.Remove(e)
		delete(t.counts, key)
	}
}

// Len returns the number of keys.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.counts)
}

// entry returns the count of key, which is then the latest used.
func (t *Table) entry(key string, now time.Time) *count {
	if e, ok := t.counts[key]; ok {
		t.recent.MoveToFront(e)
		c := e.Value.(*count)
		c.slide(now, t.window)
		return c
	}
	for len(t.counts) >= t.max {
		last := t.recent.Back()
		t.recent.Remove(last)
		delete(t.counts, last.Value.(*count).key)
	}
	c := &count{key: key, begin: now}
	t.counts[key] = t.recent.PushFront(c)
	return c
}

// slide begins a new window where the present one is over.
func (c *count) slide(now time.Time, window time.Duration) {
	switch age := now.Sub(c.begin); {
	case age < window:
	case age < 2*window:
		c.begin, c.past, c.now = c.begin.Add(window), c.now, 0
	default:
		c.begin, c.past, c.now = now, 0, 0
	}
}

// sum is the present window and that part of the one before which is still
// within reach.
func (c *count) sum(now time.Time, window time.Duration) int64 {
	left := window - now.Sub(c.begin)
	return c.now + int64(float64(c.past)*float64(left)/float64(window))
}
