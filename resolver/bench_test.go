package resolver

import (
	"testing"

	"waypost/resolver/dnstest"
)

func warm(t testing.TB) *Resolver {
	t.Helper()
	s := dnstest.New(t, mxRecord, "d.example. 300 IN MX 20 b.example.", "mx.example. 300 IN A 192.0.2.1", "mx.example. 300 IN AAAA 2001:db8::1")
	r := newResolver(t, s, Options{Hostname: "relay.example"})
	if _, err := r.Hosts(t.Context(), "d.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Addresses(t.Context(), "mx.example"); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCachedAllocations bounds what a look-up in the cache costs.
func TestCachedAllocations(t *testing.T) {
	r := warm(t)
	ctx := t.Context()
	for title, lookup := range map[string]func() error{
		"Hosts":     func() error { _, err := r.Hosts(ctx, "d.example"); return err },
		"Addresses": func() error { _, err := r.Addresses(ctx, "mx.example"); return err },
	} {
		n := testing.AllocsPerRun(100, func() {
			if err := lookup(); err != nil {
				t.Fatal(err)
			}
		})
		if n > 2 {
			t.Errorf("%s: %v allocations, want at most 2", title, n)
		}
	}
}

func BenchmarkHostsCached(b *testing.B) {
	r := warm(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Hosts(ctx, "d.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAddressesCached(b *testing.B) {
	r := warm(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Addresses(ctx, "mx.example"); err != nil {
			b.Fatal(err)
		}
	}
}
