package route

import (
	"cmp"
	"math"
	"slices"
)

// Order returns the order in which a message tries the legs: that of the list, but
// for neighbours that have a weight. They are of equal rank, and among them the
// order is drawn by lot: each comes first as often as its weight is of theirs, and
// where one cannot be used its share goes to the others as their weights are.
//
// The lot is a number that differs between messages. A message has the same order
// at each attempt, as a host that has deferred it may wait for it to come back from
// the same address; and where a weight changes, few messages change their leg.
func (r *Route) Order(lot uint64) []int {
	order := make([]int, len(r.Via))
	for i := range order {
		order[i] = i
	}
	for begin := 0; begin < len(order); {
		end := r.rank(begin)
		slices.SortFunc(order[begin:end], func(a, b int) int { return cmp.Compare(r.arrival(a, lot), r.arrival(b, lot)) })
		begin = end
	}
	return order
}

// rank returns the end of the legs that are of equal rank with one, the first of
// them.
func (r *Route) rank(first int) (end int) {
	end = first + 1
	for r.Via[first].Weight > 0 && end < len(r.Via) && r.Via[end].Weight > 0 {
		end++
	}
	return end
}

// Share is the part of messages for which a leg is the first of its rank: 1 where it
// has no weight.
func (r *Route) Share(leg int) float64 {
	for first := 0; first < len(r.Via); {
		end := r.rank(first)
		if leg >= end || end == first+1 {
			first = end
			continue
		}
		sum := 0
		for _, l := range r.Via[first:end] {
			sum += l.Weight
		}
		return float64(r.Via[leg].Weight) / float64(sum)
	}
	return 1
}

// Drawn reports whether the order of legs depends on the lot.
func (r *Route) Drawn() bool {
	for i := range r.Via {
		if r.rank(i) > i+1 {
			return true
		}
	}
	return false
}

// arrival is when a leg comes in a race that each wins as often as its weight is of
// the sum: the time of an exponential distribution with the weight as its rate.
func (r *Route) arrival(leg int, lot uint64) float64 {
	drawn := float64(mix(lot+uint64(leg)*0x9e3779b97f4a7c15)>>11+1) / (1 << 53) // over 0, up to 1
	return -math.Log(drawn) / float64(r.Via[leg].Weight)
}

// mix spreads each bit of x over all of them (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
