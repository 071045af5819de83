package outbound

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/smtpclient"
)

// pooled opens a session with a sink that is at 192.0.2.1.
func pooled(t *testing.T, o *Outbound, destination string) *session {
	t.Helper()
	h := hop{key: destination, route: &route.Route{}, terms: &route.Terms{TLS: route.None}}
	s, err := o.redial(t.Context(), h, "mx.example", Target{Addr: netip.MustParseAddrPort("192.0.2.1:25")})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func quits(s *relaytest.Sink) int {
	n := 0
	for _, c := range s.Commands() {
		if c.Verb == "QUIT" {
			n++
		}
	}
	return n
}

// TestPoolOrder: what was used last is warmest, and comes first; destinations
// share nothing.
func TestPoolOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		n.sink(t, "192.0.2.1")
		o := start(t, n, &zone{}, nil)
		first, second, other := pooled(t, o, "a"), pooled(t, o, "a"), pooled(t, o, "b")
		o.pool().put(first)
		o.pool().put(other)
		o.pool().put(second)
		for i, want := range []*session{second, first, nil} {
			if got := o.pool().take("a"); got != want {
				t.Errorf("take %d: %p, want %p", i, got, want)
			}
		}
		if got := o.pool().take("b"); got != other {
			t.Errorf("of another destination: %p, want %p", got, other)
		}
		if len(o.pool().idle) != 0 || o.pool().count != 0 {
			t.Errorf("%d left, counted as %d", len(o.pool().idle), o.pool().count)
		}
		for _, s := range []*session{first, second, other} {
			o.pool().put(s)
		}
	})
}

// TestPoolExpiry: a connection that nobody wants ends in good order after its
// time, counted from when it was given back.
func TestPoolExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, &zone{}, nil)
		o.pool().put(pooled(t, o, "a"))
		time.Sleep(3 * time.Second)
		again := o.pool().take("a")
		o.pool().put(again)
		o.pool().put(pooled(t, o, "a"))
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		if s.Open() != 2 || quits(s) != 0 {
			t.Fatalf("%d open, %d quit before their time", s.Open(), quits(s))
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s.Open() != 0 || quits(s) != 2 {
			t.Errorf("%d open, %d quit after their time", s.Open(), quits(s))
		}
		if got := o.pool().take("a"); got != nil || len(o.pool().idle) != 0 || o.pool().count != 0 {
			t.Errorf("%p taken after its time, %d left", got, o.pool().count)
		}
		if n := testutil.ToFloat64(o.Metrics.OutboundConnections); n != 0 {
			t.Errorf("%v connections counted as open", n)
		}
	})
}

// TestPoolBounds: what the pool does not keep is ended at once, with QUIT
// (RFC 5321 §4.1.1.10).
func TestPoolBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, &zone{}, func(o *Options) { o.MaxIdle = 2 })
		for i := range 3 {
			o.pool().put(pooled(t, o, fmt.Sprint(i)))
		}
		synctest.Wait()
		if s.Open() != 2 || quits(s) != 1 || o.pool().take("2") != nil {
			t.Errorf("%d open, %d quit with room for 2", s.Open(), quits(s))
		}
		worn := o.pool().take("0")
		worn.sent = maxPerSession
		o.pool().put(worn)
		synctest.Wait()
		if s.Open() != 1 || quits(s) != 2 {
			t.Errorf("%d open, %d quit after a session carried its share", s.Open(), quits(s))
		}
		lost := o.pool().take("1")
		if err := lost.client.Close(); err != nil {
			t.Error(err)
		}
		o.pool().put(lost)
		if o.pool().take("1") != nil {
			t.Error("a dead session was kept")
		}
		synctest.Wait()
		if n := testutil.ToFloat64(o.Metrics.OutboundConnections); n != 0 {
			t.Errorf("%v connections counted as open", n)
		}
	})
}

// TestPoolTransactionLimit: a host that takes one message in a session
// (RFC 9422) hears QUIT after it.
func TestPoolTransactionLimit(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithExtensions("LIMITS MAILMAX=1"))
		o := start(t, n, &zone{mx: map[string][]string{"b.example": {"mx"}}, addresses: map[string][]string{"mx": {"192.0.2.1"}}}, nil)
		for range 2 {
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		}
		synctest.Wait()
		if s.Connections() != 2 || s.Open() != 0 || quits(s) != 2 {
			t.Errorf("%d connections, %d open, %d quit", s.Connections(), s.Open(), quits(s))
		}
	})
}

// TestPoolClose: Close ends what is idle and waits for it; what comes later is
// not kept.
func TestPoolClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, &zone{}, nil)
		late := pooled(t, o, "a")
		o.pool().put(pooled(t, o, "a"))
		o.pool().put(pooled(t, o, "b"))
		o.Close()
		if quits(s) != 2 {
			t.Errorf("%d sessions quit when Close returned", quits(s))
		}
		o.pool().put(late)
		synctest.Wait()
		if s.Open() != 0 || quits(s) != 3 || o.pool().take("a") != nil {
			t.Errorf("%d open, %d quit", s.Open(), quits(s))
		}
		o.Close()
	})
}

// TestPoolSilentGoodbye: a host that does not answer QUIT is not waited for
// longer than its limit.
func TestPoolSilentGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.On("QUIT", relaytest.Action{Silent: true, Stall: true})
		o := start(t, n, &zone{}, func(o *Options) { o.Timeouts = smtpclient.Timeouts{Quit: 2 * time.Second} })
		o.pool().put(pooled(t, o, "a"))
		began := time.Now()
		o.Close()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}
