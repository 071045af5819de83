package queue

import (
	"slices"
)

// items is a heap of hints, the earliest first; what is due together leaves
// in the order of its arrival.
type items []item

func (it item) before(other item) bool {
	if it.due != other.due {
		return it.due < other.due
	}
	return it.id < other.id
}

func (h *items) push(it item) {
	*h = append(*h, it)
	all := *h
	for i := len(all) - 1; i > 0; {
		parent := (i - 1) / 2
		if !it.before(all[parent]) {
			break
		}
		all[i], all[parent] = all[parent], it
		i = parent
	}
}

func (h *items) pop() item {
	all := *h
	first, last := all[0], len(all)-1
	all[0] = all[last]
	*h = all[:last]
	h.sink(0)
	if cap(all) > 64 && last < cap(all)/4 {
		*h = slices.Clone(*h) // a long backlog gives back its memory
	}
	return first
}

// sink moves the hint at i down to where it belongs.
func (h items) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].before(h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// remove takes out what want selects. It asks once for each hint.
func (h *items) remove(want func(item) bool) {
	before := len(*h)
	if *h = slices.DeleteFunc(*h, want); len(*h) == before {
		return
	}
	if cap(*h) > 64 && len(*h) < cap(*h)/4 {
		*h = slices.Clone(*h)
	}
	for i := len(*h)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
}

// timers is a heap of waiting destinations, the earliest first.
type timers []*destination

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].wake < h[j].wake }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}
func (h *timers) Push(x any) {
	d := x.(*destination)
	d.position = len(*h)
	*h = append(*h, d)
}
func (h *timers) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	d.position = -1
	return d
}
