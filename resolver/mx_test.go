package resolver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"waypost/resolver/dnstest"
)

// chiSquare returns how far counts are from being equal.
func chiSquare(counts []int) float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	expected := float64(total) / float64(len(counts))
	sum := 0.0
	for _, n := range counts {
		d := float64(n) - expected
		sum += d * d / expected
	}
	return sum
}

// TestEqualPreferenceIsUniform: each order of three equal hosts is as frequent as
// any other, and the host of a higher number stays behind them.
func TestEqualPreferenceIsUniform(t *testing.T) {
	s := dnstest.New(t, "d.example. 300 IN MX 10 a.example.", "d.example. 300 IN MX 10 b.example.",
		"d.example. 300 IN MX 10 c.example.", "d.example. 300 IN MX 20 z.example.")
	var mu sync.Mutex
	seeded := rand.New(rand.NewPCG(1, 2))
	for title, row := range map[string]struct {
		shuffle func(int, func(i, j int))
		bound   float64 // of chi-square with five degrees of freedom
	}{
		// With a fixed seed the outcome is fixed too, so p > 0.01 may be asked for.
		"N-14 5321-5.1-g seeded": {bound: 15.09, shuffle: func(n int, swap func(i, j int)) {
			mu.Lock()
			defer mu.Unlock()
			seeded.Shuffle(n, swap)
		}},
		// Real randomness exceeds this bound less than once in 10^9 runs.
		"N-14 5321-5.1-g default": {bound: 52},
	} {
		t.Run(title, func(t *testing.T) {
			r := newResolver(t, s, Options{Shuffle: row.shuffle})
			orders := make(map[string]int)
			for range 10_000 {
				got, err := r.Hosts(t.Context(), "d.example")
				if err != nil || len(got.List) != 4 || got.List[3].Name != "z.example" {
					t.Fatalf("hosts are %v, %v", got.List, err)
				}
				orders[fmt.Sprint(got.List[:3])]++
			}
			var counts []int
			for _, n := range orders {
				counts = append(counts, n)
			}
			if x := chiSquare(counts); len(counts) != 6 || x > row.bound {
				t.Errorf("orders %v: chi-square is %.1f, want at most %.1f", orders, x, row.bound)
			}
		})
	}
}

// TestFullListKeepsByChance: when there are more equal hosts than are kept, which
// of them are kept is random, so that none is never used.
func TestFullListKeepsByChance(t *testing.T) {
	r := newResolver(t, nil, Options{Servers: []string{"192.0.2.1"}, MaxHosts: 3})
	var records []dns.RR
	for i := range 10 {
		records = append(records, &dns.MX{Preference: 10, Mx: fmt.Sprintf("m%d.example.", i)})
	}
	seen := make(map[string]bool)
	for range 500 { // a host is missed with a probability of 0.7^500
		hosts, err := r.selectHosts("d.example", slices.Clone(records))
		if err != nil || len(hosts) != 3 {
			t.Fatalf("hosts are %v, %v, want three", hosts, err)
		}
		for _, h := range hosts {
			seen[h.Name] = true
		}
	}
	if len(seen) != len(records) {
		t.Errorf("%d of %d hosts were ever kept", len(seen), len(records))
	}
}

// TestSelectHostsProperties: whatever the records, the list is sorted, bounded,
// without repetition, and better than ourselves.
func TestSelectHostsProperties(t *testing.T) {
	r := newResolver(t, nil, Options{Servers: []string{"192.0.2.1"}, Hostname: "h0.example", MaxHosts: 4})
	rapid.Check(t, func(t *rapid.T) {
		type pair struct {
			host       int
			preference uint16
		}
		pairs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) pair {
			return pair{rapid.IntRange(-2, 8).Draw(t, "host"), uint16(rapid.IntRange(0, 4).Draw(t, "preference"))}
		}), 1, 20).Draw(t, "records")
		var records []dns.RR
		null, usable, limit := 0, 0, 1<<16
		for _, p := range pairs {
			name := fmt.Sprintf("h%d.example.", p.host)
			switch p.host {
			case -1:
				name = "."
				null++
			case -2:
				name = "192.0.2.1."
			case 0:
				limit = min(limit, int(p.preference))
				usable++
			default:
				usable++
			}
			records = append(records, &dns.MX{Preference: p.preference, Mx: name})
		}
		hosts, err := r.selectHosts("d.example", records)
		seen := make(map[string]bool)
		for i, h := range hosts {
			if seen[h.Name] || h.Name == "" || int(h.Preference) >= limit || i > 0 && hosts[i-1].Preference > h.Preference {
				t.Fatalf("%v: hosts are %v", pairs, hosts)
			}
			seen[h.Name] = true
		}
		switch {
		case len(hosts) > 4, (len(hosts) == 0) == (err == nil):
			t.Fatalf("%v: hosts are %v, %v", pairs, hosts, err)
		case err == nil:
		case null == len(pairs) && err.Kind != NullMX,
			null < len(pairs) && usable == 0 && err.Kind != NoAddress,
			usable > 0 && err.Kind != Loop:
			t.Fatalf("%v: error is %v", pairs, err)
		}
	})
}
