package outbound

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// tripping is a connection by which we trip over a reply: it stands for a mistake
// in what reads it.
type tripping struct{ net.Conn }

func (c tripping) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], []byte("banana skin")) {
		panic("the reply was a banana skin")
	}
	return n, err
}

// L-10: a fault that a host may have led to.
//
// A fault of ours in an attempt ends the attempt: its mail waits, what was
// delivered before stays so, and the session is used by nobody any more.
func TestFaultEndsOneAttempt(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for name, row := range map[string]struct {
		to      []string
		states  string
		newOnes int // connections for the next message
	}{
		"alone":              {[]string{"skin@b.example"}, "deferred", 1},
		"behind others":      {[]string{"r@b.example", "skin@b.example", "q@b.example"}, "delivered deferred deferred", 1},
		"in a kept session":  {[]string{"r@b.example"}, "delivered", 0},
		"before any of them": {[]string{"skin@b.example", "r@b.example"}, "deferred deferred", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				s := relaytest.NewSink(t, "", relaytest.WithExtensions("LIMITS RCPTMAX=1"))
				s.OnRcpt("skin@b.example", "250 banana skin")
				n.put("192.0.2.1", func(context.Context) (net.Conn, error) { return tripping{s.Pipe()}, nil })
				z := &zone{addresses: map[string][]string{"smart": {"192.0.2.1"}}}
				o := start(t, n, z, via(route.Route{Via: []route.Leg{hostLeg("smart")}}))
				out := deliver(t, t.Context(), o, m, row.to...)
				var states []string
				for _, r := range out.Results {
					states = append(states, r.State.String())
					if r.State == queue.Deferred {
						want(t, r, queue.Deferred, "4.3.0", "a fault of the program")
					}
				}
				if got := strings.Join(states, " "); got != row.states || out.Unreachable || out.Interrupted {
					t.Errorf("%s; unreachable %v, interrupted %v", got, out.Unreachable, out.Interrupted)
				}
				faults := strings.Count(row.states, "deferred")
				if got := testutil.ToFloat64(o.Metrics.AttemptPanics); got != float64(min(faults, 1)) {
					t.Errorf("%v faults were counted", got)
				}
				before := s.Connections()
				delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
				if got := s.Connections() - before; got != row.newOnes {
					t.Errorf("the next message took %d new connections, want %d", got, row.newOnes)
				}
				o.Close()
				synctest.Wait()
				if got := testutil.ToFloat64(o.Metrics.OutboundConnections); got != 0 {
					t.Errorf("%v connections are counted still", got)
				}
			})
		})
	}
}

// It is the same with a session that does not come about.
func TestFaultInGreeting(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := relaytest.NewSink(t, "")
		s.On("CONNECT", relaytest.Action{Reply: "220 banana skin"})
		n.put("192.0.2.1", func(context.Context) (net.Conn, error) { return tripping{s.Pipe()}, nil })
		n.sink(t, "192.0.2.2")
		z := &zone{addresses: map[string][]string{"one": {"192.0.2.1"}, "two": {"192.0.2.2"}}}
		o := start(t, n, z, via(route.Route{Via: []route.Leg{hostLeg("one"), hostLeg("two")}}))
		for range breakAfter + 1 {
			out := deliver(t, t.Context(), o, m, "r@b.example")
			want(t, out.Results[0], queue.Deferred, "4.3.0", "a fault of the program")
		}
		if got := testutil.ToFloat64(o.Metrics.OutboundConnections); got != 0 {
			t.Errorf("%v connections are counted still", got)
		}
		if got := n.tried(); len(got) != breakAfter+1 {
			t.Errorf("%q were tried", got)
		}
	})
}
