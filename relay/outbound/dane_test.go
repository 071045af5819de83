package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
	"waypost/resolver/dnstest"
)

// tlsa writes a TLSA record about a certificate.
func tlsa(t *testing.T, host string, usage int, cert tls.Certificate) string {
	t.Helper()
	c, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("_25._tcp.%s. 300 IN TLSA %d 1 1 %x", host, usage, sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

// TestDANE has one row for each rule of RFC 7672, with real DNS answers and real
// handshakes. b.example has one mail host, mx.b.example.
func TestDANE(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca, stranger := relaytest.NewCA(t), relaytest.NewCA(t)
	leaf, odd := ca.Leaf("mx.b.example"), stranger.Leaf("elsewhere.example")
	chain := ca.Leaf("b.example")
	chain.Certificate = append(chain.Certificate, ca.Authority().Certificate[0])
	secure := []string{"b.example", "mx.b.example", "_25._tcp.mx.b.example"}
	servfail := dnstest.Behaviour{Rcode: dns.RcodeServerFailure}
	refused := relaytest.Rule{Verb: "STARTTLS", Action: relaytest.Action{Reply: "454 4.7.0 not now"}}
	for _, row := range []struct {
		name     string
		level    route.TLS
		shown    *tls.Certificate // nil: no STARTTLS
		rule     relaytest.Rule
		records  []string
		secure   []string
		set      map[string]dnstest.Behaviour
		deferred string // a part of the text; empty when the message arrives
		tls      string // how Result.TLS ends; "-" is in clear
		unasked  bool   // TLSA must not be looked up
		result   string // of the metric
	}{
		{name: "P-01 7672-2.2-a 7672-3.1-a matches, whatever the name and the authority", shown: &odd, records: []string{tlsa(t, "mx.b.example", 3, odd)}, secure: secure, tls: " dane", result: metrics.PolicyOK},
		{name: "matches, TLS required", level: route.Required, shown: &leaf, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure, tls: " dane", result: metrics.PolicyOK},
		{name: "matches, route asks for it", level: route.DANE, shown: &leaf, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure, tls: " dane", result: metrics.PolicyOK},
		{name: "P-02 7672-2.2-a mismatch", shown: &leaf, records: []string{tlsa(t, "mx.b.example", 3, odd)}, secure: secure, deferred: "no TLSA record matches", result: metrics.PolicyFailed},
		{name: "P-06 7672-2.2-a no STARTTLS", records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure, deferred: "STARTTLS", result: metrics.PolicyFailed},
		{name: "P-06 7672-2.2.3-a STARTTLS refused", shown: &leaf, rule: refused, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure, deferred: "not now", result: metrics.PolicyFailed},
		{name: "P-08 7672-3.1-a authority, the domain's name", shown: &chain, records: []string{tlsa(t, "mx.b.example", 2, ca.Authority())}, secure: secure, tls: " dane", result: metrics.PolicyOK},
		{name: "P-05 7672-2.2-a unusable, TLS without verification", shown: &odd, records: []string{tlsa(t, "mx.b.example", 1, leaf)}, secure: secure, tls: "256", result: metrics.PolicyUnusable},
		{name: "P-05 7672-2.2-a unusable, no STARTTLS", records: []string{tlsa(t, "mx.b.example", 0, leaf)}, secure: secure, deferred: "STARTTLS", result: metrics.PolicyUnusable},
		{name: "unusable, route asks for DANE", level: route.DANE, shown: &leaf, records: []string{tlsa(t, "mx.b.example", 1, leaf)}, secure: secure, deferred: "0 usable", result: metrics.PolicyUnusable},
		{name: "none, route asks for DANE", level: route.DANE, shown: &leaf, secure: secure, deferred: "no secure TLSA records", result: metrics.PolicyUnusable},
		{name: "P-03 7672-2.1-b look-up fails", shown: &leaf, secure: secure[:2], set: map[string]dnstest.Behaviour{"_25._tcp.mx.b.example": servfail}, deferred: "TLSA", result: metrics.PolicyUnknown},
		{name: "7672-2.2-a none, in clear", secure: secure, tls: "-"},
		{name: "P-04 7672-2.2-a records not secure", shown: &odd, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure[:2], tls: "256"},
		{name: "P-04 7672-2.2-c addresses not secure", shown: &odd, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: []string{"b.example", "_25._tcp.mx.b.example"}, tls: "256", unasked: true},
		{name: "P-04 7672-2.2-a MX not secure", shown: &odd, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure[1:], tls: "256", unasked: true},
		{name: "TLS never", level: route.None, shown: &leaf, records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: secure, tls: "-", unasked: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := dnstest.New(t, append(row.records, "b.example. 300 IN MX 10 mx.b.example.", "mx.b.example. 300 IN A 192.0.43.1")...)
			for _, name := range row.secure {
				s.Set(name, dnstest.Behaviour{Authenticated: true})
			}
			for name, b := range row.set {
				s.Set(name, b)
			}
			found := resolver.New(resolver.Options{Servers: []string{s.Addr}, Attempts: 1, HostsFile: "/dev/null"})
			n, counted := &network{}, metrics.New(nil)
			var options []relaytest.SinkOption
			if row.shown != nil {
				options = append(options, relaytest.WithCertificate(*row.shown))
			}
			sink := relaytest.NewSink(t, "127.0.0.1:0", options...)
			n.put("192.0.43.1", dialSink(sink))
			if row.rule.Verb != "" {
				sink.Add(row.rule)
			}
			o := start(t, n, nil, func(o *Options) {
				via(route.Route{Via: []route.Leg{mxLeg()}, Terms: route.Terms{TLS: row.level}})(o)
				o.Resolver, o.Metrics = found, counted
				o.Security = tlspolicy.New(tlspolicy.Options{Resolver: found, Metrics: counted})
			})
			out := deliver(t, t.Context(), o, m, "r@b.example")
			if asked := s.Queries("_25._tcp.mx.b.example", dns.TypeTLSA); row.unasked && asked > 0 {
				t.Errorf("%d look-ups of TLSA", asked)
			}
			if row.result != "" {
				if got := testutil.ToFloat64(counted.TLSPolicies.WithLabelValues(metrics.PolicyDANE, row.result)); got != 1 {
					t.Errorf("%s counts %v, want 1", row.result, got)
				}
			}
			if row.deferred != "" {
				if r := out.Results[0]; r.State != queue.Deferred || !strings.HasPrefix(r.Status.String(), "4.") || !strings.Contains(r.Text(), row.deferred) {
					t.Errorf("%v %v %q, want deferred, %q", r.State, r.Status, r.Text(), row.deferred)
				}
				for _, c := range sink.Commands() {
					if c.Verb == "MAIL" {
						t.Error("MAIL was sent")
					}
				}
				return
			}
			delivered(t, out)
			if said := out.Results[0].TLS; row.tls == "-" && said != "" || row.tls != "-" && (said == "" || row.tls == " dane" != strings.HasSuffix(said, " dane")) {
				t.Errorf("TLS is said to be %q, want %q", said, row.tls)
			}
		})
	}
}

// TestDANEAndTheOrder: a host that is not what its records say is left out, and
// one that has none has its turn all the same.
func TestDANEAndTheOrder(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	one, two := ca.Leaf("mx1.b.example"), ca.Leaf("mx2.b.example")
	second := tlsa(t, "mx2.b.example", 3, two)
	for _, row := range []struct {
		name    string
		records []string
		takes   int // which of the two hosts
	}{
		{"P-02 the first does not match", []string{tlsa(t, "mx1.b.example", 3, two), second}, 1},
		{"7672-2.2-b the first has no records", []string{second}, 0},
		{"7672-2.2-b both match", []string{tlsa(t, "mx1.b.example", 3, one), second}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := dnstest.New(t, append(row.records, "b.example. 300 IN MX 10 mx1.b.example.", "b.example. 300 IN MX 20 mx2.b.example.",
				"mx1.b.example. 300 IN A 192.0.43.1", "mx2.b.example. 300 IN A 192.0.43.2")...)
			for _, name := range []string{"b.example", "mx1.b.example", "mx2.b.example", "_25._tcp.mx1.b.example", "_25._tcp.mx2.b.example"} {
				s.Set(name, dnstest.Behaviour{Authenticated: true})
			}
			found := resolver.New(resolver.Options{Servers: []string{s.Addr}, HostsFile: "/dev/null"})
			n := &network{}
			sinks := []*relaytest.Sink{
				relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCertificate(one)), relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCertificate(two)),
			}
			n.put("192.0.43.1", dialSink(sinks[0]))
			n.put("192.0.43.2", dialSink(sinks[1]))
			o := start(t, n, nil, func(o *Options) {
				o.Resolver, o.Security = found, tlspolicy.New(tlspolicy.Options{Resolver: found})
			})
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
			for i, sink := range sinks {
				want := 0
				if i == row.takes {
					want = 1
				}
				if got := len(sink.Messages()); got != want {
					t.Errorf("host %d has %d messages, want %d", i+1, got, want)
				}
			}
			if sinks[0].Connections() != 1 {
				t.Errorf("the first host was asked %d times", sinks[0].Connections())
			}
		})
	}
}
