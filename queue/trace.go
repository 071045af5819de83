package queue

import (
	"cmp"
	"slices"
	"time"
)

// Trace returns the stories of the messages that go by key: a queue ID of ours,
// a Message-ID, a sender, a recipient, or the ID that a next hop gave the
// message; those in the queue, and those in the history. It returns the newest
// up to limit, oldest first, and whether there are more.
func (q *Queue) Trace(key string, limit int) (stories []Story, more bool, err error) {
	k := newTraceKey(key)
	found := &traces{limit: limit, seen: map[ID]bool{}}
	if k.id != 0 {
		if err := q.traceOne(k.id, found); err != nil {
			return nil, false, err
		}
	}
	if len(found.stories) == 0 {
		if err := q.traceQueued(&k, found); err != nil {
			return nil, false, err
		}
	}
	queued, now := len(found.stories), time.Now()
	q.traceLeft(&k, func(s *Story) bool {
		if !k.matches(&s.Entry) || q.store.history.tooOld(s.Left.UnixMilli(), now) {
			return true
		}
		found.add(*s)
		return len(found.stories)-queued <= limit
	})
	stories, more = found.newest()
	return stories, more, nil
}

// GoesBy reports whether a message goes by a key, as Trace has it.
func GoesBy(key string, e *Entry) bool {
	k := newTraceKey(key)
	return k.matches(e)
}

// traces gathers stories, each once: one that is being moved into the history
// may be found in two places.
type traces struct {
	limit   int
	seen    map[ID]bool
	stories []Story
	dropped bool
}

func (t *traces) add(s Story) {
	if !t.seen[s.ID] {
		t.seen[s.ID] = true
		t.stories = append(t.stories, s)
	}
}

// bound keeps the newest while more are found.
func (t *traces) bound() {
	if len(t.stories) > 2*t.limit {
		t.stories, _ = t.newest()
		t.dropped = true
	}
}

func (t *traces) newest() ([]Story, bool) {
	slices.SortFunc(t.stories, func(a, b Story) int { return cmp.Compare(a.ID, b.ID) })
	over := max(len(t.stories)-t.limit, 0)
	return t.stories[over:], over > 0 || t.dropped
}

// traceOne finds a message in the queue by its ID.
func (q *Queue) traceOne(id ID, found *traces) error {
	return q.store.view(func(v *view) error {
		if e, err := q.entry(v, id); err == nil {
			e.Attempts = decodeAttempts(id, v.attempts(id))
			found.add(Story{Entry: e})
		}
		return nil
	})
}

// traceQueued looks at every message in the queue, and lets changes through now
// and then.
func (q *Queue) traceQueued(k *traceKey, found *traces) error {
	var recent []ID
	for next := ID(1); next != 0; {
		err := q.store.view(func(v *view) error {
			from, scanned := next, 0
			if from == 1 {
				recent = v.recent(from)
			}
			next = 0
			return v.eachOf(recent, from, func(id ID, rows []deliveryRow) bool {
				if scanned++; scanned > maxRead {
					next = id
					return false
				}
				// What cannot be read cannot be found either.
				if e, err := entryOf(v, id, rows); err == nil && k.matches(&e) {
					e.Attempts = decodeAttempts(id, v.attempts(id))
					found.add(Story{Entry: e})
				}
				return true
			})
		})
		if err != nil {
			return err
		}
		found.bound()
	}
	return nil
}

// traceLeft calls found with the stories that may be meant, the newest first,
// until it returns false: those on their way to the history, and the history.
func (q *Queue) traceLeft(k *traceKey, found func(*Story) bool) {
	hashes := k.hashes()
	for _, all := range q.store.pendingStories() {
		for i := range slices.Backward(all) {
			s := &all[i]
			if !slices.ContainsFunc(hashes, func(h uint64) bool { return slices.Contains(s.keys, h) }) {
				continue
			}
			if story, err := decodeStory(s.record); err == nil && !found(story) {
				return
			}
		}
	}
	q.store.history.find(hashes, found)
}

// pendingStories returns the stories that are not in the history yet, of the
// newest overlay first. They are only added to, so this is safe to read.
func (s *store) pendingStories() (all [][]story) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all = append(all, s.active.stories)
	if s.frozen != nil {
		all = append(all, s.frozen.stories)
	}
	return all
}
