package queue

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// scanTime is how long a scan looks at messages before it lets changes through,
	// and maxScan how many it looks at, at most. maxRead is the same for who reads all
	// of each message.
	scanTime = time.Millisecond
	maxScan  = 1000
	maxRead  = 200
	// scanPause is how long it then leaves the queue alone when mail comes in
	// meanwhile, and so do all other scans: they take turns. Each operation of a
	// commit takes the lock for itself: without a pause each of them would wait for
	// a piece of a scan.
	scanPause = 8 * time.Millisecond
)

// Scanned is what a Scan came to.
type Scanned struct {
	// Looked is how many messages were looked at.
	Looked int
	// Next is the ID after which the next Scan goes on; 0 when there is no more.
	Next ID
}

// Scan looks at up to looks messages after the given ID, oldest first, and
// calls found with those that f selects until it returns false. So a long look
// through the queue is cut into pieces between which whoever asked may stop.
// found must not call anything else of the queue that reads messages.
// Messages that came after Scan began may be left out.
func (q *Queue) Scan(ctx context.Context, f Filter, after ID, looks int, found func(*Entry) bool) (Scanned, error) {
	return q.scan(ctx, &scan{queue: q, filter: q.filter(f), looks: looks, found: found, keep: true}, after)
}

// Skim is Scan for who looks at many messages and keeps none: the entry that found is
// given is used again for the next one. Unless whole is set, or f asks for a
// reverse-path, nothing is known of the envelope but arrival, size and class: the records
// of the deliveries have that, and those of messages, with the contents, are not read.
func (q *Queue) Skim(ctx context.Context, f Filter, after ID, looks int, whole bool, found func(*Entry) bool) (Scanned, error) {
	return q.scan(ctx, &scan{queue: q, filter: q.filter(f), looks: looks, found: found, whole: whole}, after)
}

func (q *Queue) scan(ctx context.Context, s *scan, after ID) (Scanned, error) {
	f := &s.filter
	if len(f.IDs) > 0 {
		err := q.store.view(func(v *view) error { return s.ids(v, after) })
		return s.done, err
	}
	newest := q.ids.newest()
	for next := max(after, f.first()); ; next = s.done.Next {
		now := q.ids.newest()
		busy := now != newest
		if newest = now; busy {
			q.scanning <- struct{}{}
			time.Sleep(scanPause)
		}
		err := q.store.view(func(v *view) error { return s.some(v, next) })
		if busy {
			<-q.scanning
		}
		if err == nil && s.done.Next != 0 && !s.over {
			err = ctx.Err()
		}
		if err != nil || s.done.Next == 0 || s.over {
			return s.done, err
		}
	}
}

// first returns an ID before all that f selects, as far as that is known.
func (f *Filter) first() ID {
	if f.YoungerThan == 0 {
		return 0
	}
	// The clock may have gone back by a little between two messages.
	from := time.Now().Add(-f.YoungerThan - time.Minute).UnixMilli()
	return ID(max(from, 0)) << counterBits
}

// past reports whether f selects neither a message nor any later one.
func (f *Filter) past(id ID) bool {
	return f.UpTo != 0 && id > f.UpTo || f.OlderThan > 0 && time.Since(id.Arrived()) < f.OlderThan
}

// scan is one under way.
type scan struct {
	queue  *Queue
	filter Filter
	looks  int
	found  func(*Entry) bool
	keep   bool // found keeps what it is given
	whole  bool // it wants the envelope
	skim   skim
	recent []ID
	over   bool // no more is wanted
	done   Scanned
}

// some looks at some messages within one view, and sets done.Next unless they
// were the last ones.
func (s *scan) some(v *view, after ID) error {
	if s.done.Looked == 0 {
		s.recent = v.recent(after + 1)
	}
	s.done.Next = 0
	last, looked, begun := after, 0, time.Now()
	return v.eachOf(s.recent, after+1, func(id ID, rows []deliveryRow) bool {
		if s.filter.past(id) {
			return false
		}
		s.over = s.over || s.done.Looked >= s.looks
		if s.over || looked == maxScan || looked%10 == 9 && time.Since(begun) > scanTime {
			s.done.Next = last
			return false
		}
		looked, last = looked+1, id
		s.look(v, id, rows)
		return true
	})
}

// ids looks at messages by their IDs.
func (s *scan) ids(v *view, after ID) error {
	ids := slices.Clone(s.filter.IDs)
	slices.Sort(ids)
	last := after
	for _, id := range slices.Compact(ids) {
		if id <= after || s.filter.UpTo != 0 && id > s.filter.UpTo {
			continue
		}
		if s.over || s.done.Looked >= s.looks {
			s.done.Next = last
			return nil
		}
		last = id
		s.look(v, id, v.deliveries(id))
	}
	return nil
}

// look looks at one message.
func (s *scan) look(v *view, id ID, rows []deliveryRow) {
	s.done.Looked++
	e, err := s.skim.read(v, id, rows, s.whole || s.filter.From != "")
	if err == nil && !s.filter.match(e) {
		return
	}
	if err == nil && s.keep {
		var kept Entry
		kept, err = entryOf(v, id, rows)
		e = &kept
	}
	if errors.Is(err, ErrDamaged) && (len(s.filter.IDs) > 0 || !s.filter.byContent()) {
		kept := damaged(id)
		e, err = &kept, nil
	}
	if err == nil {
		s.over = !s.found(e)
	}
}

// List returns up to limit messages after the given ID, oldest first, and
// whether there may be more.
func (q *Queue) List(f Filter, after ID, limit int) (entries []Entry, more bool, err error) {
	if limit <= 0 {
		return nil, true, nil
	}
	done, err := q.Scan(context.Background(), f, after, 1<<62, func(e *Entry) bool {
		entries = append(entries, *e)
		return len(entries) < limit
	})
	return entries, done.Next != 0, err
}

// Newest returns the last ID that was given to a message.
func (q *Queue) Newest() ID { return q.ids.newest() }
