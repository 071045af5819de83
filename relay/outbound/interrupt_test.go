package outbound

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/relaytest"
)

// TestSilence: a host that says nothing costs its limit, and then the next one
// is tried.
func TestSilence(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for name, row := range map[string]struct {
		verb string
		took time.Duration
	}{
		"connection": {"", 30 * time.Second},
		"greeting":   {"CONNECT", 5 * time.Minute},
		"EHLO":       {"EHLO", 5 * time.Minute},
		"MAIL":       {"MAIL", 5 * time.Minute},
		"DATA":       {"DATA", 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				if row.verb == "" {
					n.put("192.0.2.1", func(ctx context.Context) (net.Conn, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					})
				} else {
					n.sink(t, "192.0.2.1").On(row.verb, relaytest.Action{Silent: true, Stall: true})
				}
				good := n.sink(t, "192.0.2.2")
				began := time.Now()
				out := deliver(t, t.Context(), start(t, n, two(), nil), m, "r@b.example")
				delivered(t, out)
				if took := time.Since(began); took != row.took || good.Count() != 1 {
					t.Errorf("took %v, want %v; %d messages came", took, row.took, good.Count())
				}
				if got := out.Results[0].Host; got != "mx2[192.0.2.2]:25" {
					t.Errorf("delivered to %q", got)
				}
			})
		})
	}
}

// TestInterrupted: when waypost stops, an attempt ends at once wherever it
// is, and fails nobody.
func TestInterrupted(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for _, verb := range []string{"", "CONNECT", "MAIL", "DOT"} {
		t.Run("at "+verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				if verb == "" {
					n.put("192.0.2.1", func(ctx context.Context) (net.Conn, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					})
				} else {
					n.sink(t, "192.0.2.1").On(verb, relaytest.Action{Silent: true, Stall: true})
				}
				next := n.sink(t, "192.0.2.2")
				o := start(t, n, two(), nil)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				began := time.Now()
				out := deliver(t, ctx, o, m, "r@b.example", "q@b.example")
				for _, r := range out.Results {
					want(t, r, queue.Deferred, r.Status.String(), "context canceled")
				}
				if took := time.Since(began); took != time.Second || !out.Interrupted || next.Connections() != 0 {
					t.Errorf("after %v, interrupted %v, %d connections to the next host", took, out.Interrupted, next.Connections())
				}
			})
		})
	}
}

// TestInterruptedLookup: what a look-up comes to because it was cut short must
// not fail the mail, not even after a leg that is barred for good.
func TestInterruptedLookup(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		z := &zone{errs: map[string]error{"b.example": noDomain("b.example")}}
		out := deliver(t, ctx, start(t, &network{}, z, nil), m, "r@b.example")
		if r := out.Results[0]; r.State != queue.Deferred || !out.Interrupted {
			t.Errorf("%v, interrupted %v", r, out.Interrupted)
		}
	})
}
