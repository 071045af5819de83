package outbound

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/queue"
	"waypost/relay/relaytest"
)

// TestReuse: messages for one destination follow each other on one connection,
// after a refused transaction too.
func TestReuse(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.OnRcpt("never@b.example", "550 5.1.1 no such user")
		o := start(t, n, two(), nil)
		for range 3 {
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
			want(t, deliver(t, t.Context(), o, m, "never@b.example").Results[0], queue.Failed, "5.1.1", "no such user")
		}
		if s.Connections() != 1 || s.Count() != 3 {
			t.Errorf("%d messages over %d connections", s.Count(), s.Connections())
		}
		if opened := testutil.ToFloat64(o.Metrics.OutboundOpened); opened != 1 {
			t.Errorf("%v connections counted", opened)
		}
	})
}

// TestDeadPooledConnection: a connection that died in the pool says nothing
// about the host. However many there are, the message goes over a new one.
func TestDeadPooledConnection(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for name, kill := range map[string]func(*relaytest.Sink){
		"closed": func(s *relaytest.Sink) { s.DropAll() },
		"421 to MAIL": func(s *relaytest.Sink) {
			s.Add(relaytest.Rule{Verb: "MAIL", Last: 2, Action: relaytest.Action{Reply: "421 4.4.2 idle", Drop: true}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				s := n.sink(t, "192.0.2.1")
				o := start(t, n, two(), nil)
				for range 2 {
					o.pool().put(pooled(t, o, "b.example"))
				}
				kill(s)
				synctest.Wait()
				out := deliver(t, t.Context(), o, m, "r@b.example")
				delivered(t, out)
				if s.Count() != 1 || s.Connections() != 3 || out.Results[0].Host != "mx1[192.0.2.1]:25" {
					t.Errorf("%d messages over %d connections to %s", s.Count(), s.Connections(), out.Results[0].Host)
				}
			})
		})
	}
}

// TestPooledConnectionUnfit: a pooled connection whose host lacks what the
// message needs is not asked again and again, and is kept for other mail.
func TestPooledConnectionUnfit(t *testing.T) {
	utf8, _ := message(t, queue.Envelope{UTF8: true, EightBit: true}, strings.Replace(short, "short", "k\u00fcrz", 1))
	ascii, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		first := n.sink(t, "192.0.2.1", relaytest.WithExtensions("PIPELINING", "8BITMIME"))
		second := n.sink(t, "192.0.2.2")
		o := start(t, n, two(), nil)
		s := pooled(t, o, "b.example")
		o.pool().put(s)
		delivered(t, deliver(t, t.Context(), o, utf8, "r@b.example"))
		if second.Count() != 1 || s.sent > 1 {
			t.Errorf("%d messages came to the second host, %d transactions on the first's connection", second.Count(), s.sent)
		}
		if kept := o.pool().idle["b.example"]; !slices.Contains(kept, s) {
			t.Error("the connection was not kept")
		}
		delivered(t, deliver(t, t.Context(), o, ascii, "r@b.example"))
		if got := first.Count() + second.Count(); got != 2 {
			t.Errorf("%d messages came", got)
		}
	})
}

// TestDeadPooledConnectionToDeadHost: that there was a connection once does not
// make a host reachable.
func TestDeadPooledConnectionToDeadHost(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, two(), nil)
		o.pool().put(pooled(t, o, "b.example"))
		s.DropAll()
		synctest.Wait()
		n.put("192.0.2.1", nil)
		out := deliver(t, t.Context(), o, m, "r@b.example")
		want(t, out.Results[0], queue.Deferred, "4.4.1", "refused")
		if !out.Unreachable {
			t.Error("the destination is not called unreachable")
		}
	})
}
