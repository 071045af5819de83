package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// TestWays: the mail fails only when every way is barred for good. One that
// may open later keeps it in the queue, whatever its place in the order.
func TestWays(t *testing.T) {
	m, _ := message(t, queue.Envelope{EightBit: true, UTF8: true}, strings.Replace(short, "short", "k\u00fcrz", 1))
	seven := relaytest.WithExtensions("PIPELINING", "8BITMIME")
	for _, row := range []struct {
		name        string
		legs        []route.Leg
		behind      map[string]string // what is at an address: "good" or "ascii"
		errs        map[string]error
		state       queue.State
		status      string
		text        string
		unreachable bool
	}{
		{name: "5321-5.1-c no domain", legs: []route.Leg{mxLeg()}, errs: map[string]error{"b.example": noDomain("b.example")},
			state: queue.Failed, status: "5.1.2", text: "b.example"},
		{name: "5321-5.1-c N-07 no answer", legs: []route.Leg{mxLeg()}, errs: map[string]error{"b.example": noAnswer("b.example")},
			state: queue.Deferred, status: "4.4.3", text: "b.example", unreachable: true},
		{name: "5321-5.1-e N-08 no host exists", legs: []route.Leg{mxLeg()}, errs: map[string]error{"mx1": noDomain("mx1"), "mx2": noDomain("mx2")},
			state: queue.Failed, status: "5.4.4", text: "b.example"},
		{name: "N-08 one host may exist", legs: []route.Leg{mxLeg()}, errs: map[string]error{"mx1": noAnswer("mx1"), "mx2": noDomain("mx2")},
			state: queue.Deferred, status: "4.4.3", text: "mx1", unreachable: true},
		{name: "one host does not exist, one is down", legs: []route.Leg{mxLeg()}, errs: map[string]error{"mx1": noDomain("mx1")},
			state: queue.Deferred, status: "4.4.1", text: "refused", unreachable: true},
		{name: "5321-5.1-g one host does not exist, one is good", legs: []route.Leg{mxLeg()}, errs: map[string]error{"mx1": noDomain("mx1")},
			behind: map[string]string{"192.0.2.2": "good"}, state: queue.Delivered, status: "2.0.0"},

		{name: "6531-c SMTPUTF8: none takes it", legs: []route.Leg{mxLeg()}, behind: map[string]string{"192.0.2.1": "ascii", "192.0.2.2": "ascii"},
			state: queue.Failed, status: "5.6.7", text: "SMTPUTF8"},
		{name: "5321-2.2.3-a SMTPUTF8: the second takes it", legs: []route.Leg{mxLeg()}, behind: map[string]string{"192.0.2.1": "ascii", "192.0.2.2": "good"},
			state: queue.Delivered, status: "2.0.0"},
		{name: "5321-2.2.3-a SMTPUTF8: the second is down", legs: []route.Leg{mxLeg()}, behind: map[string]string{"192.0.2.1": "ascii"},
			state: queue.Deferred, status: "4.4.1", text: "refused"},
		{name: "SMTPUTF8: the first is down", legs: []route.Leg{mxLeg()}, behind: map[string]string{"192.0.2.2": "ascii"},
			state: queue.Deferred, status: "4.4.1", text: "refused"},
		{name: "SMTPUTF8: the first is not found", legs: []route.Leg{mxLeg()}, behind: map[string]string{"192.0.2.2": "ascii"},
			errs: map[string]error{"mx1": noAnswer("mx1")}, state: queue.Deferred, status: "4.4.3", text: "mx1"},

		{name: "smarthost", legs: []route.Leg{hostLeg("smart")}, behind: map[string]string{"192.0.2.9": "good"},
			state: queue.Delivered, status: "2.0.0"},
		{name: "smarthost without a name in DNS is our fault", legs: []route.Leg{hostLeg("smart")}, errs: map[string]error{"smart": noDomain("smart")},
			state: queue.Deferred, status: "4.4.4", text: "smart", unreachable: true},
		{name: "smarthost without an answer", legs: []route.Leg{hostLeg("smart")}, errs: map[string]error{"smart": noAnswer("smart")},
			state: queue.Deferred, status: "4.4.3", text: "smart", unreachable: true},
		{name: "smarthost down, then no domain", legs: []route.Leg{hostLeg("smart"), mxLeg()}, errs: map[string]error{"b.example": noDomain("b.example")},
			state: queue.Deferred, status: "4.4.1", text: "refused", unreachable: true},
		{name: "no domain, then smarthost down", legs: []route.Leg{mxLeg(), hostLeg("smart")}, errs: map[string]error{"b.example": noDomain("b.example")},
			state: queue.Deferred, status: "4.4.1", text: "refused", unreachable: true},
		{name: "no domain, then smarthost", legs: []route.Leg{mxLeg(), hostLeg("smart")}, errs: map[string]error{"b.example": noDomain("b.example")},
			behind: map[string]string{"192.0.2.9": "good"}, state: queue.Delivered, status: "2.0.0"},
		{name: "smarthost down, then MX", legs: []route.Leg{hostLeg("smart"), mxLeg()}, behind: map[string]string{"192.0.2.1": "good"},
			state: queue.Delivered, status: "2.0.0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, z := &network{}, two()
				z.addresses["smart"], z.errs = []string{"192.0.2.9"}, row.errs
				for address, kind := range row.behind {
					if kind == "good" {
						n.sink(t, address)
					} else {
						n.sink(t, address, seven)
					}
				}
				out := deliver(t, t.Context(), start(t, n, z, via(route.Route{Via: row.legs})), m, "r@b.example", "q@b.example")
				for _, r := range out.Results {
					want(t, r, row.state, row.status, row.text)
				}
				if out.Unreachable != row.unreachable || out.Interrupted {
					t.Errorf("unreachable %v, interrupted %v", out.Unreachable, out.Interrupted)
				}
			})
		})
	}
}

// TestBoundedTries: however many hosts a zone names, an attempt ends.
//
// N-01 5321-5.1-g: ten connections, and each address of a host in turn.
func TestBoundedTries(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		z := &zone{mx: map[string][]string{}, addresses: map[string][]string{}}
		for i := range 100 {
			host := fmt.Sprintf("mx%d", i)
			z.mx["b.example"] = append(z.mx["b.example"], host)
			z.addresses[host] = []string{fmt.Sprintf("192.0.2.%d", i), fmt.Sprintf("198.51.100.%d", i)}
		}
		n := &network{}
		out := deliver(t, t.Context(), start(t, n, z, nil), m, "r@b.example")
		want(t, out.Results[0], queue.Deferred, "4.4.1", "refused")
		if tried := n.tried(); len(tried) != maxTries || tried[0] != "192.0.2.0:25" || tried[1] != "198.51.100.0:25" {
			t.Errorf("tried %v", tried)
		}
		if !out.Unreachable {
			t.Error("a destination without a session is not called unreachable")
		}
	})
}

// TestPrivateIsNotDialled: an address that may not be reached is not even
// tried, unless the next hop was named by whoever runs us.
//
// N-02: so DNS cannot lead into our own network.
func TestPrivateIsNotDialled(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	inside := []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"}
	synctest.Test(t, func(t *testing.T) {
		n, z := &network{}, two()
		z.addresses["mx1"], z.addresses["mx2"] = inside[:4], inside[4:]
		out := deliver(t, t.Context(), start(t, n, z, nil), m, "r@b.example")
		want(t, out.Results[0], queue.Failed, "5.4.4", "b.example")
		if tried := n.tried(); len(tried) != 0 {
			t.Errorf("tried %v", tried)
		}
		z.addresses["mx1"] = []string{"10.0.0.1", "192.0.2.1", "127.0.0.1"}
		good := n.sink(t, "192.0.2.1")
		delivered(t, deliver(t, t.Context(), start(t, n, z, nil), m, "r@b.example"))
		if tried := n.tried(); len(tried) != 1 || good.Count() != 1 {
			t.Errorf("tried %v", tried)
		}
		named := n.sink(t, "10.0.0.1")
		z.addresses["smart"] = []string{"10.0.0.1"}
		delivered(t, deliver(t, t.Context(), start(t, n, z, via(route.Route{Via: []route.Leg{hostLeg("smart")}})), m, "r@b.example"))
		if named.Count() != 1 || !slices.Contains(n.tried(), "10.0.0.1:2525") {
			t.Errorf("tried %v", n.tried())
		}
	})
}

// TestAnyDialError: errors that nobody foresaw are temporary.
func TestAnyDialError(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		n.put("192.0.2.1", func(context.Context) (net.Conn, error) { return nil, errors.New("out of sockets") })
		o := start(t, n, &zone{mx: map[string][]string{"b.example": {"mx1"}}, addresses: map[string][]string{"mx1": {"192.0.2.1"}}}, func(o *Options) {
			o.Port = 2525
			o.AllowPrivate = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		})
		out := deliver(t, t.Context(), o, m, "r@b.example")
		want(t, out.Results[0], queue.Deferred, "4.4.1", "connect to mx1[192.0.2.1]:2525: out of sockets")
		if testutil.ToFloat64(o.Metrics.OutboundFailed) != 1 || testutil.ToFloat64(o.Metrics.OutboundConnections) != 0 {
			t.Error("the connection that failed was not counted as such")
		}
	})
}

// shifty is a zone in which a host's addresses are other ones each time.
type shifty struct {
	*zone
	answers []string
}

func (z *shifty) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if len(z.answers) == 0 {
		return nil, noAnswer(host)
	}
	address := z.answers[0]
	z.answers = z.answers[1:]
	return []netip.Addr{netip.MustParseAddr(address)}, nil
}

// TestRebinding: the address that was judged is the one that is dialled, also a
// second time, for want of TLS or for more recipients than one connection takes.
//
// N-03
func TestRebinding(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithCertificate(ca.Leaf("mx1")), relaytest.WithExtensions("LIMITS RCPTMAX=1 MAILMAX=1"))
		s.OnNth("HANDSHAKE", 1, relaytest.Action{Silent: true, Drop: true})
		inside := n.sink(t, "10.0.0.1")
		z := &shifty{&zone{mx: map[string][]string{"b.example": {"mx1"}}}, []string{"192.0.2.1", "10.0.0.1", "10.0.0.1"}}
		o := start(t, n, nil, func(o *Options) { o.Resolver = z })
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example", "q@b.example"))
		if inside.Connections() != 0 || s.Connections() != 3 || s.Count() != 2 {
			t.Errorf("%d connections inside, %d outside", inside.Connections(), s.Connections())
		}
	})
}
