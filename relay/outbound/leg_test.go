package outbound

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/smtp"
)

// TestLocalLegs: legs that end here settle everybody, with nobody asked.
func TestLocalLegs(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for _, row := range []struct {
		leg    route.Leg
		state  queue.State
		status string
		text   string
	}{
		{route.Leg{Kind: route.Discard}, queue.Delivered, "2.0.0", "discarded"},
		{route.Leg{Kind: route.Reject, Text: "no mail here"}, queue.Failed, "5.7.1", "no mail here"},
		{route.Leg{Kind: route.Reject, Text: "5.1.1 no such user"}, queue.Failed, "5.1.1", "no such user"},
		{route.Leg{Kind: route.Reject, Text: "4.1.1 odd"}, queue.Failed, "5.7.1", "4.1.1 odd"},
		{route.Leg{Kind: route.Reject}, queue.Failed, "5.7.1", "refused"},
	} {
		n := &network{}
		out := deliver(t, t.Context(), start(t, n, &zone{}, via(route.Route{Via: []route.Leg{row.leg}})), m, "r@b.example", "q@b.example")
		for _, r := range out.Results {
			want(t, r, row.state, row.status, row.text)
		}
		if out.Unreachable || len(n.tried()) != 0 {
			t.Errorf("%v: unreachable %v, tried %v", row.leg, out.Unreachable, n.tried())
		}
	}
}

// TestNamedDomain: the mail hosts of a domain that the route names take
// anybody's mail, and its mistakes are ours.
func TestNamedDomain(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n, z := &network{}, two()
		z.addresses["mx1"] = []string{"10.0.0.1"}
		s := n.sink(t, "10.0.0.1")
		leg := route.Leg{Kind: route.MX, Domain: "b.example"}
		o := start(t, n, z, via(route.Route{Via: []route.Leg{leg}}))
		delivered(t, deliver(t, t.Context(), o, m, "r@other.example", "q@another.example"))
		if s.Count() != 1 || len(s.Messages()[0].To) != 2 {
			t.Errorf("%d messages came", s.Count())
		}
		z.errs = map[string]error{"b.example": noDomain("b.example")}
		o = start(t, n, z, via(route.Route{Via: []route.Leg{leg}}))
		want(t, deliver(t, t.Context(), o, m, "r@other.example").Results[0], queue.Deferred, "4.4.4", "b.example")
	})
}

// TestMailboxServer: by LMTP each recipient has a reply of its own (RFC 2033
// §4.2), over a Unix socket too.
func TestMailboxServer(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for name, leg := range map[string]route.Leg{
		"2033-a TCP":         {Kind: route.Host, Host: "box", Port: 24, LMTP: true},
		"2033-a Unix socket": {Kind: route.Host, Socket: "/run/lmtp", LMTP: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				s := n.sink(t, "192.0.2.9", relaytest.WithLMTP())
				n.put("/run/lmtp", func(context.Context) (net.Conn, error) { return s.Pipe(), nil })
				s.OnRcpt("never@b.example", "550 5.1.1 no such user")
				s.Add(relaytest.Rule{Verb: "DOT", Mailbox: "full@b.example", Action: relaytest.Action{Reply: "452 4.2.2 mailbox full"}})
				o := start(t, n, &zone{addresses: map[string][]string{"box": {"192.0.2.9"}}}, via(route.Route{Via: []route.Leg{leg}}))
				for range 2 {
					out := deliver(t, t.Context(), o, m, "a@b.example", "never@b.example", "full@b.example", "z@b.example")
					want(t, out.Results[0], queue.Delivered, "2.0.0", "250")
					want(t, out.Results[1], queue.Failed, "5.1.1", "no such user")
					want(t, out.Results[2], queue.Deferred, "4.2.2", "mailbox full")
					want(t, out.Results[3], queue.Delivered, "2.0.0", "250")
				}
				if s.Connections() != 1 || s.Count() != 4 {
					t.Errorf("%d connections, %d deliveries", s.Connections(), s.Count())
				}
			})
		})
	}
}

// TestMailboxServerLost: who heard of a recipient before the connection was
// lost knows; of the others nobody knows, and no other host gets them now.
func TestMailboxServerLost(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.9", relaytest.WithLMTP())
		s.Add(relaytest.Rule{Verb: "DOT", Mailbox: "b@b.example", Action: relaytest.Action{Silent: true, Drop: true}})
		leg := route.Leg{Kind: route.Host, Host: "box", Port: 24, LMTP: true}
		other := n.sink(t, "192.0.2.1")
		z := two()
		z.addresses["box"] = []string{"192.0.2.9"}
		o := start(t, n, z, via(route.Route{Via: []route.Leg{leg, mxLeg()}}))
		out := deliver(t, t.Context(), o, m, "a@b.example", "b@b.example", "c@b.example")
		want(t, out.Results[0], queue.Delivered, "2.0.0", "250")
		want(t, out.Results[1], queue.Deferred, "4.4.2", "dot")
		want(t, out.Results[2], queue.Deferred, "4.4.2", "dot")
		if other.Connections() != 0 {
			t.Error("another host got recipients that may be delivered")
		}
	})
}

// TestImplicitTLS: the connection begins with the handshake, and a password
// goes over it.
func TestImplicitTLS(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.9", relaytest.WithImplicitTLS(ca.Leaf("smart.example")), relaytest.WithAuth("user", "secret"))
		z := &zone{addresses: map[string][]string{"smart.example": {"192.0.2.9"}}}
		for _, level := range []route.TLS{route.Opportunistic, route.Required, route.Verified} {
			r := route.Route{To: "*",
				Via: []route.Leg{{Kind: route.Host, Host: "smart.example", Port: 465, ImplicitTLS: true}}, Terms: route.Terms{TLS: level, Username: "user", Password: "secret"}}
			o := start(t, n, z, func(o *Options) { o.Routes, o.TLS = route.NewTable([]route.Route{r}), trusting(ca) })
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		}
		for _, got := range s.Messages() {
			if !got.TLS || got.User != "user" {
				t.Errorf("TLS %v, user %q", got.TLS, got.User)
			}
		}
		s.On("HANDSHAKE", relaytest.Action{Silent: true, Drop: true})
		before := s.Connections()
		out := deliver(t, t.Context(), start(t, n, z, via(route.Route{
			Via: []route.Leg{{Kind: route.Host, Host: "smart.example", Port: 465, ImplicitTLS: true}}})), m, "r@b.example")
		want(t, out.Results[0], queue.Deferred, "4.7.0", "handshake")
		if s.Connections() != before+1 {
			t.Error("it was tried in clear")
		}
	})
}

// TestFailOverOnReply: recipients whose refusal leads on get to the next leg in
// the same attempt, and nobody twice.
func TestFailOverOnReply(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for _, row := range []struct {
		name   string
		second string // a rule for RCPT at the second leg; "down" or empty
		state  queue.State
		text   string
	}{
		{"the second takes it", "", queue.Delivered, "250"},
		{"the second is down", "down", queue.Deferred, "refused"},
		{"the second defers", "451 4.3.0 not now", queue.Deferred, "not now"},
		{"the second refuses", "550 5.1.1 nobody", queue.Failed, "nobody"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				first := n.sink(t, "192.0.2.1")
				first.OnRcpt("blocked@b.example", "554 5.7.1 your address is listed")
				first.OnRcpt("never@b.example", "550 5.1.1 no such user")
				z := &zone{addresses: map[string][]string{"a": {"192.0.2.1"}, "z": {"192.0.2.2"}}}
				second := relaytest.NewSink(t, "")
				if row.second != "down" {
					second = n.sink(t, "192.0.2.2")
				}
				if row.second != "" && row.second != "down" {
					second.OnRcpt("blocked@b.example", row.second)
				}
				r := route.Route{Via: []route.Leg{hostLeg("a"), hostLeg("z")}, FailOver: []string{"554", "45x"}}
				out := deliver(t, t.Context(), start(t, n, z, via(r)), m, "r@b.example", "blocked@b.example", "never@b.example")
				want(t, out.Results[0], queue.Delivered, "2.0.0", "250")
				if r := out.Results[1]; r.State != row.state {
					t.Errorf("%v, want %v", r, row.state)
				}
				want(t, out.Results[1], row.state, out.Results[1].Status.String(), row.text)
				want(t, out.Results[2], queue.Failed, "5.1.1", "no such user")
				for _, got := range second.Messages() {
					if !slices.Equal(got.To, []string{"blocked@b.example"}) {
						t.Errorf("the second leg got %v", got.To)
					}
				}
			})
		})
	}
}

// TestBreaker: a leg that answers every session with 421 is soon left alone,
// and used again when it works.
func TestBreaker(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		first, second := n.sink(t, "192.0.2.1"), n.sink(t, "192.0.2.2")
		first.On("CONNECT", relaytest.Action{Reply: "421 4.3.2 not today", Drop: true})
		z := &zone{addresses: map[string][]string{"a": {"192.0.2.1"}, "z": {"192.0.2.2"}}}
		o := start(t, n, z, via(route.Route{Via: []route.Leg{hostLeg("a"), hostLeg("z")}}))
		send := func(times int) {
			t.Helper()
			for range times {
				delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
			}
		}
		send(10)
		if first.Connections() != breakAfter || second.Count() != 10 {
			t.Fatalf("%d connections to the broken leg, %d messages over the other", first.Connections(), second.Count())
		}
		time.Sleep(firstBreak)
		send(3)
		if first.Connections() != breakAfter+1 {
			t.Fatalf("%d connections to the broken leg, want one more", first.Connections())
		}
		time.Sleep(firstBreak)
		send(3)
		if first.Connections() != breakAfter+1 {
			t.Fatalf("%d connections to the broken leg before its doubled time", first.Connections())
		}
		first.Behave()
		time.Sleep(firstBreak)
		send(5)
		if first.Count() != 5 || second.Count() != 16 {
			t.Errorf("%d and %d messages after the first leg works again", first.Count(), second.Count())
		}
		// With every leg broken each attempt still tries them.
		n.put("192.0.2.1", nil)
		n.put("192.0.2.2", nil)
		first.DropAll()
		second.DropAll()
		synctest.Wait()
		for range 5 {
			out := deliver(t, t.Context(), o, m, "r@b.example")
			want(t, out.Results[0], queue.Deferred, "4.4.1", "refused")
			if !out.Unreachable {
				t.Error("not called unreachable")
			}
		}
		first = n.sink(t, "192.0.2.1")
		send(1)
		if first.Count() != 1 {
			t.Error("the message waits although a leg works")
		}
	})
}

// TestManyRecipients: RCPTMAX splits the recipients (RFC 9422), MAILMAX the
// transactions over connections, and 452 asks for another transaction.
func TestManyRecipients(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	var to []string
	for _, c := range "abcdefghij" {
		to = append(to, string(c)+"@b.example")
	}
	for name, row := range map[string]struct {
		limits      string
		script      func(*relaytest.Sink)
		messages    int
		connections int
	}{
		"no limit":       {"PIPELINING", nil, 1, 1},
		"9422-a RCPTMAX": {"LIMITS RCPTMAX=4", nil, 3, 1},
		"9422-a both":    {"LIMITS RCPTMAX=4 MAILMAX=1", nil, 3, 3},
		"5321-4.5.3.1.10-b 552 to the fifth and on": {"PIPELINING", func(s *relaytest.Sink) {
			s.Add(relaytest.Rule{Verb: "RCPT", First: 5, Last: 10, Action: relaytest.Action{Reply: "552 too many recipients"}})
		}, 2, 1},
		"5321-4.5.3.1.10-b 452 to the fifth and on": {"PIPELINING", func(s *relaytest.Sink) {
			s.Add(relaytest.Rule{Verb: "RCPT", First: 5, Last: 10, Action: relaytest.Action{Reply: "452 4.5.3 too many"}})
		}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				s := n.sink(t, "192.0.2.1", relaytest.WithExtensions(row.limits))
				if row.script != nil {
					row.script(s)
				}
				delivered(t, deliver(t, t.Context(), start(t, n, two(), nil), m, to...))
				var got []string
				for _, m := range s.Messages() {
					got = append(got, m.To...)
				}
				if !slices.Equal(got, to) || s.Count() != row.messages || s.Connections() != row.connections {
					t.Errorf("%v came in %d messages over %d connections", got, s.Count(), s.Connections())
				}
			})
		})
	}
}

// TestEverybodyRefusedAs452: when nobody is taken there is no sense in asking
// again at once.
func TestEverybodyRefusedAs452(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.On("RCPT", relaytest.Action{Reply: "452 4.5.3 too many"})
		out := deliver(t, t.Context(), start(t, n, two(), nil), m, "a@b.example", "c@b.example")
		for _, r := range out.Results {
			want(t, r, queue.Deferred, "4.5.3", "too many")
		}
		if s.Connections() != 1 {
			t.Errorf("%d connections", s.Connections())
		}
	})
}

// TestRace: an address that does not answer costs a quarter of a second, and no
// connection is made twice.
func TestRace(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	hang := func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	six, four := "2001:db8::1", "192.0.2.1"
	for _, row := range []struct {
		name     string
		families Families
		dead     []string
		sources  []netip.Addr
		tried    []string
		took     time.Duration
		deferred bool
	}{
		{name: "IPv6 first", tried: []string{six}},
		{name: "IPv4 first", families: IPv4First, tried: []string{four}},
		{name: "N-15 5321-5.2-a IPv6 is dead", dead: []string{six}, tried: []string{six, four}, took: stagger},
		{name: "N-15 5321-5.2-a IPv4 is dead", families: IPv4First, dead: []string{four}, tried: []string{four, six}, took: stagger},
		{name: "IPv4 alone", families: IPv4Only, tried: []string{four}},
		{name: "IPv6 alone", families: IPv6Only, tried: []string{six}},
		{name: "IPv6 alone and dead", families: IPv6Only, dead: []string{six}, tried: []string{six}, took: 30 * time.Second, deferred: true},
		{name: "both are dead", dead: []string{four, six}, tried: []string{six, four}, took: 30*time.Second + stagger, deferred: true},
		{name: "source of IPv4", sources: []netip.Addr{netip.MustParseAddr("192.0.2.77")}, tried: []string{four}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				var sinks []*relaytest.Sink
				for _, address := range []string{six, four} {
					if slices.Contains(row.dead, address) {
						n.put(address, hang)
					} else {
						sinks = append(sinks, n.sink(t, address))
					}
				}
				z := &zone{mx: map[string][]string{"b.example": {"mx"}}, addresses: map[string][]string{"mx": {six, four}}}
				r := route.Route{To: "*", Via: []route.Leg{mxLeg()}, Terms: route.Terms{Sources: row.sources, Hello: "out.example"}}
				o := start(t, n, z, func(o *Options) { o.Families, o.Routes = row.families, route.NewTable([]route.Route{r}) })
				began := time.Now()
				out := deliver(t, t.Context(), o, m, "r@b.example")
				if took := time.Since(began); took != row.took {
					t.Errorf("took %v, want %v", took, row.took)
				}
				var tried []string
				for _, at := range n.tried() {
					tried = append(tried, netip.MustParseAddrPort(at).Addr().String())
				}
				if !slices.Equal(tried, row.tried) {
					t.Errorf("tried %v, want %v", tried, row.tried)
				}
				if row.deferred {
					want(t, out.Results[0], queue.Deferred, "4.4.1", "deadline")
					return
				}
				delivered(t, out)
				connections := 0
				for _, s := range sinks {
					connections += s.Connections()
					for _, m := range s.Messages() {
						if m.Hello != "out.example" {
							t.Errorf("EHLO %s", m.Hello)
						}
					}
				}
				if connections != 1 {
					t.Errorf("%d connections", connections)
				}
			})
		})
	}
}

// TestNoFamily: an address family that we do not use must not fail the mail.
func TestNoFamily(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	o := start(t, &network{}, two(), func(o *Options) { o.Families = IPv6Only })
	out := deliver(t, t.Context(), o, m, "r@b.example")
	want(t, out.Results[0], queue.Deferred, smtp.EnhancedCode{4, 4, 3}.String(), "family")
}
