package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// overhear returns a connection to a sink that begins with TLS, and keeps what is
// said under it.
func overhear(s *relaytest.Sink, config *tls.Config, said *bytes.Buffer) net.Conn {
	near, far := net.Pipe()
	sink := s.Pipe()
	secure := tls.Server(far, config)
	go func() {
		_, _ = io.Copy(io.MultiWriter(said, sink), secure)
		_ = sink.Close()
	}()
	go func() {
		_, _ = io.Copy(secure, sink)
		_ = far.Close()
	}()
	return near
}

// TestCredentialsStayWithTheirLeg: whatever happens to a leg, no other one gets to
// hear its name or its password.
func TestCredentialsStayWithTheirLeg(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Leaf("any.example")}}
	token := func(user, password string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	}
	address := func(i int) string { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}).String() }
	for _, row := range []struct {
		name   string
		script func(first *relaytest.Sink)
	}{
		{"all work", func(*relaytest.Sink) {}},
		{"greeted with 421", func(s *relaytest.Sink) { s.On("CONNECT", relaytest.Action{Reply: "421 4.3.2 no", Drop: true}) }},
		{"lost at AUTH", func(s *relaytest.Sink) { s.On("AUTH", relaytest.Action{Silent: true, Drop: true}) }},
		{"login refused", func(s *relaytest.Sink) { s.SetPassword("another") }},
		{"recipient refused", func(s *relaytest.Sink) { s.On("RCPT", relaytest.Action{Reply: "451 4.3.0 not now"}) }},
		{"lost at MAIL", func(s *relaytest.Sink) { s.On("MAIL", relaytest.Action{Silent: true, Drop: true}) }},
	} {
		for _, weight := range []int{0, 1} {
			t.Run(row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := &network{}
					z := &zone{addresses: map[string][]string{}}
					r := route.Route{To: "*", FailOver: []string{"4xx"}, Terms: route.Terms{TLS: route.Required, Username: "shared", Password: "of the route"}}
					var sinks []*relaytest.Sink
					var connect []func(context.Context) (net.Conn, error)
					said := map[string]*bytes.Buffer{}
					for i, one := range []struct{ host, user, password string }{
						{"a", "ann", "first secret"}, {"b", "bob", "second secret"}, {"c", "shared", "of the route"}, {"d", "", ""},
					} {
						z.addresses[one.host] = []string{address(i)}
						s := relaytest.NewSink(t, "", relaytest.WithAuth(one.user, one.password))
						sinks, said[one.host] = append(sinks, s), &bytes.Buffer{}
						connect = append(connect, func(context.Context) (net.Conn, error) { return overhear(s, config, said[one.host]), nil })
						n.put(address(i), connect[i])
						leg := weightLeg(one.host, weight)
						leg.ImplicitTLS = true
						if one.host != "c" {
							leg.Terms = &route.Terms{TLS: route.Required, Username: one.user, Password: one.password}
						}
						r.Via = append(r.Via, leg)
					}
					row.script(sinks[0])
					o := start(t, n, z, func(o *Options) { o.Routes = route.NewTable([]route.Route{r}) })
					for range 3 {
						delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
					}
					// Each of the others has its turn, alone.
					for alive := range sinks[1:] {
						for i, s := range sinks {
							if s.DropAll(); i == alive+1 {
								n.put(address(i), connect[i])
							} else {
								n.put(address(i), nil)
							}
						}
						time.Sleep(maxBreak)
						delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
					}
					o.Close()
					synctest.Wait()
					for host, own := range map[string]string{"a": token("ann", "first secret"), "b": token("bob", "second secret"), "c": token("shared", "of the route"), "d": ""} {
						for line := range strings.Lines(said[host].String()) {
							if strings.HasPrefix(line, "AUTH ") && strings.TrimSpace(line) != "AUTH PLAIN "+own {
								t.Errorf("%s was told %q", host, line)
							}
						}
						if own != "" && host != "a" && !strings.Contains(said[host].String(), own) {
							t.Errorf("%s was not logged in at: %s", host, said[host])
						}
					}
				})
			})
		}
	}
}

// TestTermsOfALeg: security, addresses, name and limits are those of the leg, and
// of the route where a leg has none.
func TestTermsOfALeg(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		first := n.sink(t, "192.0.2.1", relaytest.WithCertificate(ca.Leaf("other.example")))
		second := n.sink(t, "192.0.2.2", relaytest.WithCertificate(ca.Leaf("b")))
		third := n.sink(t, "2001:db8::3")
		z := &zone{addresses: map[string][]string{"a": {"192.0.2.1"}, "b": {"192.0.2.2"}, "c": {"192.0.2.3", "2001:db8::3"}}}
		four, six := netip.MustParseAddr("192.0.2.99"), netip.MustParseAddr("2001:db8::99")
		legs := []route.Leg{hostLeg("a"), hostLeg("b"), hostLeg("c")}
		legs[0].Terms = &route.Terms{TLS: route.Verified, Roots: ca.Pool(), Hello: "one.example"}
		legs[1].Terms = &route.Terms{TLS: route.Verified, Roots: ca.Pool(), Hello: "two.example", Sources: []netip.Addr{four}}
		legs[1].Pace = "leg two"
		r := route.Route{To: "*", Via: legs, Terms: route.Terms{TLS: route.None, Hello: "route.example", Sources: []netip.Addr{six}}}
		var from []netip.Addr
		o := start(t, n, z, func(o *Options) {
			o.Routes = route.NewTable([]route.Route{r})
			o.Dial = func(ctx context.Context, to Target) (net.Conn, error) {
				from = append(from, to.Source)
				return n.dial(ctx, to)
			}
			o.Pacer = pace.New(pace.Options{Rules: []*pace.Rule{{Name: "leg two", Leg: "leg two", Bounds: pace.Bounds{MessagesPerConnection: 1}}}})
		})
		send := func() {
			t.Helper()
			pass, ok := o.Admit("b.example", 0, func(string) bool { return true })
			if !ok {
				t.Fatal("not admitted")
			}
			defer pass.End()
			d := &queue.Delivery{ID: m.ID, Destination: "b.example", Recipients: []queue.Recipient{{Path: path("r@b.example")}}}
			delivered(t, o.Deliver(queue.WithPass(t.Context(), pass), m, d))
		}
		send()
		send()
		if first.Count() != 0 || second.Count() != 2 || second.Connections() != 2 {
			t.Fatalf("%d messages to the host whose certificate is wrong; %d over %d connections to the other", first.Count(), second.Count(), second.Connections())
		}
		if got := second.Messages()[0]; !got.TLS || got.Hello != "two.example" {
			t.Errorf("TLS %v, EHLO %s", got.TLS, got.Hello)
		}
		n.put("192.0.2.2", nil)
		send()
		if third.Count() != 1 || third.Messages()[0].TLS || third.Messages()[0].Hello != "route.example" {
			t.Errorf("the third leg got %d messages, EHLO %s", third.Count(), third.Messages()[0].Hello)
		}
		if dialed := n.tried(); dialed[len(dialed)-1] != "[2001:db8::3]:2525" || from[0].IsValid() || from[1] != four || from[len(from)-1] != six {
			t.Errorf("connected to %v from %v", dialed, from)
		}
	})
}
