package outbound

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// TestSecurity: what each level of TLS does with each kind of host. In a
// bubble of virtual time it is the year 2000.
func TestSecurity(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca, stranger := relaytest.NewCA(t), relaytest.NewCA(t)
	right := relaytest.WithCertificate(ca.Leaf("smart.example"))
	broken := relaytest.Rule{Verb: "HANDSHAKE", Action: relaytest.Action{Silent: true, Drop: true}}
	refused := relaytest.Rule{Verb: "STARTTLS", Action: relaytest.Action{Reply: "454 4.7.0 not now"}}
	silent := relaytest.Rule{Verb: "STARTTLS", Action: relaytest.Action{Silent: true, Stall: true}}
	for _, row := range []struct {
		name        string
		level       route.TLS
		option      relaytest.SinkOption
		rule        relaytest.Rule
		login       bool
		deferred    string // the status; empty when the message arrives
		text        string
		secure      bool
		connections int
	}{
		{name: "none with TLS", level: route.None, option: right, connections: 1},
		{name: "3207-b opportunistic with TLS", level: route.Opportunistic, option: right, secure: true, connections: 1},
		{name: "3207-b opportunistic, unknown authority", level: route.Opportunistic, option: relaytest.WithCertificate(stranger.Leaf("other.example")), secure: true, connections: 1},
		{name: "3207-b opportunistic without TLS", level: route.Opportunistic, connections: 1},
		{name: "T-14 opportunistic, handshake fails", level: route.Opportunistic, option: right, rule: broken, connections: 2},
		{name: "T-14 3207-b opportunistic, STARTTLS refused", level: route.Opportunistic, option: right, rule: refused, connections: 2},
		{name: "opportunistic, handshake fails, password", level: route.Opportunistic, option: right, rule: broken, login: true,
			deferred: "4.7.0", text: "handshake", connections: 1},
		{name: "opportunistic, self-signed", level: route.Opportunistic, option: relaytest.WithCertificate(relaytest.SelfSigned(t, "smart.example")), secure: true, connections: 1},
		{name: "verified, self-signed", level: route.Verified, option: relaytest.WithCertificate(relaytest.SelfSigned(t, "smart.example")),
			deferred: "4.7.0", text: "unknown authority", connections: 1},
		{name: "required with TLS", level: route.Required, option: relaytest.WithCertificate(stranger.Leaf("other.example")), secure: true, connections: 1},
		{name: "T-11 3207-b required without TLS", level: route.Required, deferred: "4.7.0", text: "STARTTLS", connections: 1},
		{name: "T-14 opportunistic, no answer to STARTTLS", level: route.Opportunistic, option: right, rule: silent, connections: 2},
		{name: "T-14 required, no answer to STARTTLS", level: route.Required, option: right, rule: silent, deferred: "4.7.0", text: "starttls", connections: 1},
		{name: "T-14 opportunistic, 502 to STARTTLS", level: route.Opportunistic, option: right,
			rule: relaytest.Rule{Verb: "STARTTLS", Action: relaytest.Action{Reply: "502 5.5.1 no"}}, connections: 2},
		{name: "T-14 required, handshake fails", level: route.Required, option: right, rule: broken, deferred: "4.7.0", text: "handshake", connections: 1},
		{name: "verified", level: route.Verified, option: right, secure: true, connections: 1},
		{name: "verified, wrong name", level: route.Verified, option: relaytest.WithCertificate(ca.Leaf("other.example")),
			deferred: "4.7.0", text: "other.example", connections: 1},
		{name: "verified, unknown authority", level: route.Verified, option: relaytest.WithCertificate(stranger.Leaf("smart.example")),
			deferred: "4.7.0", text: "unknown authority", connections: 1},
		{name: "verified, expired", level: route.Verified, option: relaytest.WithCertificate(ca.LeafUntil(year(1999), "smart.example")),
			deferred: "4.7.0", text: "expired", connections: 1},
		{name: "T-11 3207-b verified without TLS", level: route.Verified, deferred: "4.7.0", text: "STARTTLS", connections: 1},
		{name: "required with password", level: route.Required, option: right, login: true, secure: true, connections: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var options []relaytest.SinkOption
				if row.option != nil {
					options = append(options, row.option)
				}
				r := route.Route{To: "*", Via: []route.Leg{hostLeg("smart.example")}, Terms: route.Terms{TLS: row.level}}
				if row.login {
					options = append(options, relaytest.WithAuth("user", "secret"))
					r.Username, r.Password = "user", "secret"
				}
				n := &network{}
				s := n.sink(t, "192.0.2.9", options...)
				if row.rule.Verb != "" {
					s.Add(row.rule)
				}
				o := start(t, n, &zone{addresses: map[string][]string{"smart.example": {"192.0.2.9"}}}, func(o *Options) {
					o.Routes, o.TLS = route.NewTable([]route.Route{r}), trusting(ca)
				})
				out := deliver(t, t.Context(), o, m, "r@b.example")
				if s.Connections() != row.connections {
					t.Errorf("%d connections, want %d", s.Connections(), row.connections)
				}
				if row.deferred != "" {
					want(t, out.Results[0], queue.Deferred, row.deferred, row.text)
					for _, c := range s.Commands() {
						if c.Verb == "MAIL" || c.Verb == "AUTH" {
							t.Errorf("%s was sent", c.Verb)
						}
					}
					return
				}
				delivered(t, out)
				if got := s.Messages()[0]; got.TLS != row.secure || row.login && got.User != "user" {
					t.Errorf("TLS %v, user %q", got.TLS, got.User)
				}
				if said := out.Results[0].TLS; (said != "") != row.secure || strings.HasSuffix(said, " verified") != (row.level == route.Verified) {
					t.Errorf("TLS is said to be %q", said)
				}
			})
		})
	}
}

// TestHandshakeRefusedLate: by TLS 1.3 a host refuses us, here for want of a
// certificate, after our side of the handshake is over. That is a failed
// handshake like any other. A pipe has no buffer for what crosses on the way, so
// this takes real sockets.
func TestHandshakeRefusedLate(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, level := range []route.TLS{route.Opportunistic, route.Required} {
			s := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithTLS(&tls.Config{
				Certificates: []tls.Certificate{ca.Leaf("smart.example")}, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert,
			}))
			n := &network{}
			n.put("192.0.2.9", func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.Address()) })
			z := &zone{addresses: map[string][]string{"smart.example": {"192.0.2.9"}}}
			o := start(t, n, z, via(route.Route{Via: []route.Leg{hostLeg("smart.example")}, Terms: route.Terms{TLS: level}}))
			out := deliver(t, t.Context(), o, m, "r@b.example")
			if level == route.Required {
				want(t, out.Results[0], queue.Deferred, "4.7.0", "handshake")
				continue
			}
			delivered(t, out)
			if s.Connections() != 2 || s.Messages()[0].TLS {
				t.Errorf("%s: %d connections", tls.VersionName(version), s.Connections())
			}
		}
	}
}

func trusting(ca *relaytest.CA) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool()}
}

func year(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }

// TestHandshakesAreCounted: by version, and failed ones as such.
func TestHandshakesAreCounted(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithCertificate(ca.Leaf("mx1")))
		s.OnNth("HANDSHAKE", 1, relaytest.Action{Silent: true, Drop: true})
		o := start(t, n, two(), func(o *Options) { o.KeepIdle = time.Second })
		for range 2 {
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
			time.Sleep(2 * time.Second) // so that each has a connection of its own
		}
		for version, want := range map[string]float64{metrics.TLSFailed: 1, metrics.TLSVersion(tls.VersionTLS13): 1} {
			if got := testutil.ToFloat64(o.Metrics.TLSHandshakes.WithLabelValues(metrics.DirectionOut, version)); got != want {
				t.Errorf("%v handshakes of %q, want %v", got, version, want)
			}
		}
		synctest.Wait()
		if opened, open := testutil.ToFloat64(o.Metrics.OutboundOpened), testutil.ToFloat64(o.Metrics.OutboundConnections); opened != 3 || open != 0 {
			t.Errorf("%v connections opened, %v still open", opened, open)
		}
	})
}

// TestLoginRefused: a wrong password is our trouble and defers the mail.
func TestLoginRefused(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.9", relaytest.WithCertificate(ca.Leaf("smart.example")), relaytest.WithAuth("user", "secret"))
		r := route.Route{Via: []route.Leg{hostLeg("smart.example")}, Terms: route.Terms{TLS: route.Required, Username: "user", Password: "wrong"}}
		o := start(t, n, &zone{addresses: map[string][]string{"smart.example": {"192.0.2.9"}}}, via(r))
		out := deliver(t, t.Context(), o, m, "r@b.example")
		want(t, out.Results[0], queue.Deferred, "4.7.8", "535")
		if !out.Unreachable || s.Count() != 0 {
			t.Errorf("unreachable %v, %d messages came", out.Unreachable, s.Count())
		}
	})
}
