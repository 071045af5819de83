package outbound

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// TestGreet: what an attempt would find, up to MAIL, and nobody logs in.
func TestGreet(t *testing.T) {
	ca, stranger := relaytest.NewCA(t), relaytest.NewCA(t)
	for _, row := range []struct {
		name  string
		level route.TLS
		shown *relaytest.CA
		rule  relaytest.Action
		err   string
		tls   bool
	}{
		{name: "in clear"},
		{name: "TLS", shown: ca, tls: true},
		{name: "TLS of a stranger", shown: stranger, tls: true},
		{name: "verified", level: route.Verified, shown: ca, tls: true},
		{name: "verified, a stranger", level: route.Verified, shown: stranger, err: "unknown authority"},
		{name: "verified, in clear", level: route.Verified, err: "STARTTLS"},
		{name: "refused", rule: relaytest.Action{Reply: "554 5.7.1 blocked"}, err: "554 5.7.1 blocked"},
	} {
		t.Run(row.name, func(t *testing.T) {
			options := []relaytest.SinkOption{relaytest.WithExtensions("PIPELINING", "CHUNKING", "SIZE 1000", "LIMITS RCPTMAX=50"), relaytest.WithAuth("user", "secret")}
			var leaf tls.Certificate
			if row.shown != nil {
				leaf = row.shown.Leaf("mx1")
				options = append(options, relaytest.WithCertificate(leaf))
			}
			s := relaytest.NewSink(t, "127.0.0.1:0", options...)
			if row.rule.Reply != "" {
				s.On("CONNECT", row.rule)
			}
			n := &network{}
			n.put("192.0.2.1", dialSink(s))
			o := start(t, n, two(), func(o *Options) {
				via(route.Route{Via: []route.Leg{mxLeg()}, Terms: route.Terms{TLS: row.level}})(o)
				o.TLS = trusting(ca)
			})
			plan := o.Explain(t.Context(), &queue.Envelope{ReversePath: path("s@a.example")}, &queue.Recipient{Path: path("r@b.example")}, true)
			hosts := plan.Legs[0].Hosts
			if len(hosts) != 2 || hosts[0].Greeting == nil || hosts[1].Greeting == nil {
				t.Fatalf("%+v", hosts)
			}
			if err := hosts[1].Greeting.Err; err == nil || !strings.Contains(err.Error(), "refused") || hosts[1].Greeting.Host != "" {
				t.Errorf("where nobody is: %v", err)
			}
			g := hosts[0].Greeting
			if row.err != "" {
				if g.Err == nil || !strings.Contains(g.Err.Error(), row.err) {
					t.Errorf("%v, want %q", g.Err, row.err)
				}
				return
			}
			if g.Err != nil || (g.TLS != "") != row.tls || (g.Certificate != nil) != row.tls || g.Host != "mx1[192.0.2.1]:25" || g.Took <= 0 {
				t.Errorf("%+v", g)
			}
			for _, want := range []string{"PIPELINING", "CHUNKING", "SIZE 1000", "LIMITS RCPTMAX=50"} {
				if !slices.Contains(g.Extensions, want) {
					t.Errorf("%s is not among %q", want, g.Extensions)
				}
			}
			s.WaitIdle()
			for _, c := range s.Commands() {
				if c.Verb == "AUTH" || c.Verb == "MAIL" {
					t.Errorf("%s was said", c.Verb)
				}
			}
		})
	}
}

// TestGreetIsBounded: a domain with many hosts has not all of them greeted, nor one
// that must not be used.
func TestGreetIsBounded(t *testing.T) {
	z := &zone{mx: map[string][]string{}, addresses: map[string][]string{}}
	for i := range 15 {
		name := "mx" + string(rune('a'+i))
		z.mx["b.example"], z.addresses[name] = append(z.mx["b.example"], name), []string{"192.0.2.7"}
	}
	z.addresses["mxa"] = []string{"127.0.0.1"}
	n := &network{}
	plan := start(t, n, z, nil).Explain(t.Context(), &queue.Envelope{}, &queue.Recipient{Path: path("r@b.example")}, true)
	if got := len(n.tried()); got != maxGreeted-1 || plan.Legs[0].Hosts[0].Greeting != nil {
		t.Errorf("%d connections", got)
	}
}
