package relay

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

// Two relays that point at each other stop a message after a few rounds, long
// before the limit on hops, and its sender hears of it once (RFC 5321 §6.3).
//
// D-12
func TestLoopBetweenTwoRelays(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	reports := configs.Route{To: "a.example", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}
	to := func(s *service) configs.Route {
		return configs.Route{To: "*", Via: configs.Legs("smtp://" + s.SMTPAddrs()[0].String()), TLS: configs.TLSNone}
	}
	one := startReloadable(t, 1, func(c *configs.Config) { c.Limits.OwnHops = 3 })
	other := start(t, 1, func(c *configs.Config) {
		c.Hostname, c.Limits.OwnHops = "other.example", 20
		c.Routes = []configs.Route{reports, to(one.service)}
	})
	one.reload(func(c *configs.Config) { c.Routes = []configs.Route{reports, to(other)} })
	one.send("s@a.example", hello, "r@b.example")
	report := string(sink.Wait(1)[0].Content)
	if !strings.Contains(report, "Status: 5.4.6\r\n") || !strings.Contains(report, "Final-Recipient: rfc822; r@b.example\r\n") {
		t.Errorf("the report is\n%s", report)
	}
	if n := strings.Count(report, "by relay.example "); n != 4 {
		t.Errorf("it was here %d times, and 3 are allowed besides the first", n)
	}
}

// A mail host at an address of ours is we ourselves: nobody connects to it.
//
// D-11 5321-5.1-h
func TestMailHostAtAnAddressOfOurs(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	s := start(t, sink.Port(), func(c *configs.Config) {
		c.Delivery.OwnAddresses = []string{"127.0.0.6"}
	})
	s.dns.Add("a.example. 60 IN MX 10 mx.a.example.", "mx.a.example. 60 IN A 127.0.0.5",
		"b.example. 60 IN MX 10 us.b.example.", "b.example. 60 IN MX 20 later.b.example.", "us.b.example. 60 IN A 127.0.0.6", "later.b.example. 60 IN A 127.0.0.5",
		"c.example. 60 IN MX 10 first.c.example.", "c.example. 60 IN MX 20 us.b.example.", "first.c.example. 60 IN A 127.0.0.5")
	s.send("s@a.example", hello, "r@b.example")
	if report := string(sink.Wait(1)[0].Content); !strings.Contains(report, "Status: 5.4.6\r\n") {
		t.Errorf("what came is\n%s", report)
	}
	s.send("s@a.example", hello, "r@c.example")
	if m := sink.Wait(2)[1]; m.To[0] != "r@c.example" {
		t.Errorf("a better host than we are was not used: %+v", m.To)
	}
}

func TestOwnAddresses(t *testing.T) {
	s := start(t, 1, func(c *configs.Config) {
		c.Listeners = append(c.Listeners, c.Listeners[0], c.Listeners[0])
		c.Listeners[1].Address, c.Listeners[2].Mode = "0.0.0.0:0", configs.ModeSubmission
	})
	port := func(i int) uint16 { return netip.MustParseAddrPort(s.SMTPAddrs()[i].String()).Port() }
	own := s.ownAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.25")})
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, want := range []netip.AddrPort{
		netip.AddrPortFrom(loopback, port(0)), netip.AddrPortFrom(loopback, port(1)), netip.MustParseAddrPort("192.0.2.25:0"),
	} {
		if !slices.Contains(own, want) {
			t.Errorf("%v is not among %v", want, own)
		}
	}
	if not := netip.AddrPortFrom(loopback, port(2)); slices.Contains(own, not) {
		t.Errorf("%v is for submission", not)
	}
}
