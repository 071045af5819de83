package route

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func weighted(weights ...int) *Route {
	r := Route{To: "*"}
	for i, w := range weights {
		r.Via = append(r.Via, Leg{Kind: Host, Host: fmt.Sprintf("host%d", i+1), Port: 25, Weight: w})
	}
	return &NewTable([]Route{r}).routes[0]
}

// TestOrder: neighbours with weights are of equal rank, and nobody else changes
// place.
func TestOrder(t *testing.T) {
	for _, tc := range []struct {
		weights []int
		orders  []string
	}{
		{[]int{0}, []string{"[0]"}},
		{[]int{7}, []string{"[0]"}},
		{[]int{0, 0, 0}, []string{"[0 1 2]"}},
		{[]int{3, 1}, []string{"[0 1]", "[1 0]"}},
		{[]int{3, 1, 0}, []string{"[0 1 2]", "[1 0 2]"}},
		{[]int{0, 3, 1}, []string{"[0 1 2]", "[0 2 1]"}},
		{[]int{0, 5, 0}, []string{"[0 1 2]"}},
		{[]int{1, 2, 0, 3, 4}, []string{"[0 1 2 3 4]", "[0 1 2 4 3]", "[1 0 2 3 4]", "[1 0 2 4 3]"}},
	} {
		r := weighted(tc.weights...)
		var got []string
		for lot := range uint64(200) {
			if order := fmt.Sprint(r.Order(lot)); !slices.Contains(got, order) {
				got = append(got, order)
			}
		}
		if slices.Sort(got); !slices.Equal(got, tc.orders) {
			t.Errorf("weights %v give the orders %v, want %v", tc.weights, got, tc.orders)
		}
		if drawn := len(tc.orders) > 1; r.Drawn() != drawn {
			t.Errorf("weights %v: drawn %v", tc.weights, r.Drawn())
		}
	}
}

// TestShares: each leg is first as often as its weight says, and the share of one
// that is left out goes to the others in the same proportion.
func TestShares(t *testing.T) {
	const lots = 60_000
	weights := []int{5, 3, 2}
	r := weighted(weights...)
	near := func(what string, n, of int, want float64) {
		t.Helper()
		// Five standard deviations; the lots are always the same.
		if sigma := math.Sqrt(float64(of) * want * (1 - want)); math.Abs(float64(n)-float64(of)*want) > 5*sigma {
			t.Errorf("%s: %d of %d, want %.0f", what, n, of, float64(of)*want)
		}
	}
	first, without := [3]int{}, [3]int{}
	for lot := range uint64(lots) {
		order := r.Order(lot)
		first[order[0]]++
		if order[0] == 0 {
			without[order[1]]++
		}
	}
	for i, w := range weights {
		near(fmt.Sprintf("leg %d", i+1), first[i], lots, float64(w)/10)
	}
	near("leg 2 in the place of leg 1", without[1], first[0], 0.6)
}

// TestWeightChanges: where a weight grows, messages come to that leg, and none
// moves between the others.
func TestWeightChanges(t *testing.T) {
	before, after := weighted(5, 3, 2), weighted(5, 3, 4)
	moved := 0
	for lot := range uint64(10_000) {
		was, is := before.Order(lot)[0], after.Order(lot)[0]
		if was != is {
			if moved++; is != 2 {
				t.Fatalf("lot %d moves from leg %d to leg %d", lot, was+1, is+1)
			}
		}
	}
	if moved == 0 || moved > 2000 {
		t.Errorf("%d of 10000 messages moved", moved)
	}
}

// TestDrawnDestination: a message waits for the leg that it begins with, and only
// where that depends on the lot.
func TestDrawnDestination(t *testing.T) {
	for _, tc := range []struct {
		weights []int
		want    []string
	}{
		{[]int{3, 1}, []string{"smtp://host1:25,smtp://host2:25 (leg 1)", "smtp://host1:25,smtp://host2:25 (leg 2)"}},
		{[]int{0, 3, 1}, []string{"smtp://host1:25,smtp://host2:25,smtp://host3:25"}},
		{[]int{9}, []string{"smtp://host1:25"}},
		{[]int{9, 0}, []string{"smtp://host1:25,smtp://host2:25"}},
	} {
		r := weighted(tc.weights...)
		var got []string
		for lot := range uint64(100) {
			if name := r.Destination(path(t, "r@a.test"), lot); !slices.Contains(got, name) {
				got = append(got, name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, tc.want) {
			t.Errorf("weights %v give %v, want %v", tc.weights, got, tc.want)
		}
	}
}

// TestKeys: what is known of a named host does not depend on the recipient, and
// what is known of a domain's own hosts does.
func TestKeys(t *testing.T) {
	r := &NewTable([]Route{
		{To: "*", Via: []Leg{{Kind: Host, Host: "a", Port: 25}, {Kind: MX}, {Kind: MX, Domain: "b.test"}}},
	}).routes[0]
	for leg, want := range []string{
		"smtp://a:25,mx:,mx:b.test leg 1", "smtp://a:25,mx:r.test,mx:b.test leg 2", "smtp://a:25,mx:,mx:b.test leg 3",
	} {
		if got := r.Key(leg, path(t, "u@r.test")); got != want {
			t.Errorf("leg %d has the key %q, want %q", leg+1, got, want)
		}
	}
}
