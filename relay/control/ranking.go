package control

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"waypost/queue"
)

// rank is what an order compares, numbers before texts.
type rank struct {
	number int64
	text   string
	id     queue.ID
}

// orders are the orders of a sorted list, each with the direction that people
// mean by it: the oldest, the largest, the most often tried first.
var orders = map[string]func(e *queue.Entry, q adminQueue) rank{
	"age":      func(*queue.Entry, adminQueue) rank { return rank{} }, // by ID
	"size":     func(e *queue.Entry, _ adminQueue) rank { return rank{number: -e.Size} },
	"attempts": func(e *queue.Entry, _ adminQueue) rank { return rank{number: -attemptsOf(e)} },
	"next":     func(e *queue.Entry, q adminQueue) rank { return rank{number: nextOf(e, q).UnixMilli()} },
	"from":     func(e *queue.Entry, _ adminQueue) rank { return rank{text: e.ReversePath.String()} },
	"to": func(e *queue.Entry, _ adminQueue) rank {
		if d, i := firstOpen(e); d != nil {
			return rank{text: d.Recipients[i].Path.String()}
		}
		return rank{}
	},
	"destination": func(e *queue.Entry, _ adminQueue) rank {
		if d, _ := firstOpen(e); d != nil {
			return rank{text: d.Destination}
		}
		return rank{}
	},
	"class": func(e *queue.Entry, _ adminQueue) rank { return rank{text: e.Class} },
}

// Orders are the words for the orders of a sorted list.
func Orders() []string { return slices.Sorted(maps.Keys(orders)) }

func attemptsOf(e *queue.Entry) (most int64) {
	for _, d := range e.Deliveries {
		most = max(most, int64(d.Attempts))
	}
	return most
}

// nextOf returns when a message is tried next; what is on hold comes last.
func nextOf(e *queue.Entry, q adminQueue) time.Time {
	next := time.UnixMilli(1 << 60)
	for _, d := range e.Deliveries {
		if at := q.WaitsUntil(d); d.Open() > 0 && !d.Held && at.Before(next) && !q.DestinationHeld(d.Destination) {
			next = at
		}
	}
	return next
}

// firstOpen returns the first recipient that waits; nil when none does.
func firstOpen(e *queue.Entry) (*queue.Delivery, int) {
	for _, d := range e.Deliveries {
		for i := range d.Recipients {
			if d.Recipients[i].State.Open() {
				return d, i
			}
		}
	}
	return nil, 0
}

// ranking keeps the first messages in an order, out of any number.
type ranking struct {
	order   func(*queue.Entry, adminQueue) rank
	reverse bool
	limit   int
	queue   adminQueue
	kept    []rank
}

func (r *ranking) add(e *queue.Entry) {
	next := r.order(e, r.queue)
	next.id = e.ID
	if r.kept = append(r.kept, next); len(r.kept) >= 2*r.limit+1 {
		r.cut()
	}
}

func (r *ranking) cut() {
	slices.SortFunc(r.kept, func(a, b rank) int {
		order := cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.text, b.text), cmp.Compare(a.id, b.id))
		if r.reverse {
			return -order
		}
		return order
	})
	r.kept = r.kept[:min(len(r.kept), r.limit)]
}

// first returns the IDs of the first messages, in order.
func (r *ranking) first() (ids []queue.ID) {
	r.cut()
	for _, kept := range r.kept {
		ids = append(ids, kept.id)
	}
	return ids
}
