package outbound

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/mtasts"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
	"waypost/resolver/dnstest"
)

// policyOf is the policy of one domain.
type policyOf struct {
	domain string
	policy mtasts.Policy
}

func (p *policyOf) Policy(_ context.Context, domain string) *mtasts.Policy {
	if domain != p.domain {
		return nil
	}
	return &p.policy
}

// TestMTASTS: what a policy in each mode does with each kind of host.
func TestMTASTS(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	rather, _ := message(t, queue.Envelope{}, "tls-required:\tno\r\n"+short)
	required, _ := message(t, queue.Envelope{RequireTLS: true}, "TLS-Required: No\r\n"+short)
	ca := relaytest.NewCA(t)
	right, wrong := ca.Leaf("mx.b.example"), ca.Leaf("elsewhere.example")
	stranger, old := relaytest.NewCA(t).Leaf("mx.b.example"), ca.LeafUntil(year(2001), "mx.b.example")
	for _, row := range []struct {
		name     string
		mode     string
		mx       string // what the policy lists; default the host
		level    route.TLS
		shown    *tls.Certificate
		tlsa     *tls.Certificate // a secure record about this
		deferred string
		tls      string
		result   string
		message  *queue.Message // default one that asks for nothing
	}{
		{name: "8461-4.2-a 8461-7.1-a enforced", shown: &right, tls: "mta-sts", result: metrics.PolicyOK},
		{name: "8461-4.1-a P-16 enforced, by pattern", mx: "*.b.example", shown: &right, tls: "mta-sts", result: metrics.PolicyOK},
		{name: "P-17 8461-4.2-a 8461-5-a enforced, other name", shown: &wrong, deferred: "elsewhere.example", result: metrics.PolicyFailed},
		{name: "P-17 8461-4.2-a enforced, unknown authority", shown: &stranger, deferred: "unknown authority", result: metrics.PolicyFailed},
		{name: "P-17 8461-4.2-a enforced, expired", shown: &old, deferred: "expired", result: metrics.PolicyFailed},
		{name: "P-17 T-11 8461-5-a enforced, no STARTTLS", deferred: "STARTTLS", result: metrics.PolicyFailed},
		{name: "P-17 8461-4.1-a enforced, not listed", mx: "mx.c.example", shown: &right, deferred: "does not list it", result: metrics.PolicyFailed},
		{name: "8461-5-a tested", mode: mtasts.Testing, shown: &right, tls: "256", result: metrics.PolicyOK},
		{name: "P-17 8461-5-a tested, other name", mode: mtasts.Testing, shown: &wrong, tls: "256", result: metrics.PolicyTested},
		{name: "P-17 tested, no STARTTLS", mode: mtasts.Testing, tls: "-", result: metrics.PolicyTested},
		{name: "P-17 tested, not listed", mode: mtasts.Testing, mx: "mx.c.example", shown: &right, tls: "256", result: metrics.PolicyTested},
		// RFC 8689 §4.3: policies do not hold for who would rather have it arrive.
		{name: "P-23 8689-d overruled, other name", message: rather, shown: &wrong, tls: "256"},
		{name: "P-23 8689-d overruled, no STARTTLS", message: rather, tls: "-"},
		{name: "P-23 overruled, not listed", message: rather, mx: "mx.c.example", shown: &right, tls: "256", result: metrics.PolicyFailed},
		{name: "P-23 8689-d overruled, DANE", message: rather, shown: &right, tlsa: &wrong, tls: "256"},
		{name: "not overruled, by the route", message: rather, level: route.Verified, shown: &wrong, deferred: "elsewhere.example"},
		// RFC 8689 §4.2.1: a policy authenticates mail hosts that no DNSSEC does.
		{name: "8689-b 8689-d TLS required", message: required, shown: &right, tls: "verified"},
		{name: "8689-b TLS required, other name", message: required, shown: &wrong, deferred: "elsewhere.example"},
		{name: "8689-b TLS required, not listed", message: required, mx: "mx.c.example", shown: &right, deferred: "lists it"},
		{name: "P-12 8461-2-a DANE fails", shown: &right, tlsa: &wrong, deferred: "no TLSA record matches"},
		{name: "P-12 8461-2-a DANE holds", mx: "mx.c.example", shown: &wrong, tlsa: &wrong, tls: "dane"},
		{name: "route without TLS", level: route.None, shown: &right, tls: "-"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := dnstest.New(t, "b.example. 300 IN MX 10 mx.b.example.", "mx.b.example. 300 IN A 192.0.43.1")
			if row.tlsa != nil {
				s.Add(tlsa(t, "mx.b.example", 3, *row.tlsa))
				for _, name := range []string{"b.example", "mx.b.example", "_25._tcp.mx.b.example"} {
					s.Set(name, dnstest.Behaviour{Authenticated: true})
				}
			}
			found := resolver.New(resolver.Options{Servers: []string{s.Addr}, HostsFile: "/dev/null"})
			p := &policyOf{"b.example", mtasts.Policy{ID: "1", Mode: mtasts.Enforce, MX: []string{"mx.b.example"}, Expires: time.Now().Add(time.Hour)}}
			if row.mode != "" {
				p.policy.Mode = row.mode
			}
			if row.mx != "" {
				p.policy.MX = []string{row.mx}
			}
			var options []relaytest.SinkOption
			if row.shown != nil {
				options = append(options, relaytest.WithCertificate(*row.shown))
			}
			sink := relaytest.NewSink(t, "127.0.0.1:0", options...)
			n, counted := &network{}, metrics.New(nil)
			n.put("192.0.43.1", dialSink(sink))
			o := start(t, n, nil, func(o *Options) {
				via(route.Route{Via: []route.Leg{mxLeg()}, Terms: route.Terms{TLS: row.level}})(o)
				o.Resolver, o.Metrics, o.TLS = found, counted, trusting(ca)
				o.Security = tlspolicy.New(tlspolicy.Options{Resolver: found, Promises: p, Roots: ca.Pool(), Metrics: counted})
			})
			mail := m
			if row.message != nil {
				mail = row.message
			}
			if mail.RequireTLS {
				sink.Offer("REQUIRETLS")
			}
			out := deliver(t, t.Context(), o, mail, "r@b.example")
			for _, result := range []string{metrics.PolicyOK, metrics.PolicyFailed, metrics.PolicyTested} {
				if got := testutil.ToFloat64(counted.TLSPolicies.WithLabelValues(metrics.PolicySTS, result)); got != 0 != (result == row.result) {
					t.Errorf("%s counts %v", result, got)
				}
			}
			if row.deferred != "" {
				if r := out.Results[0]; r.State != queue.Deferred || !strings.Contains(r.Text(), row.deferred) {
					t.Errorf("%v %q, want deferred, %q", r.State, r.Text(), row.deferred)
				}
				for _, c := range sink.Commands() {
					if c.Verb == "MAIL" {
						t.Error("MAIL was sent")
					}
				}
				return
			}
			delivered(t, out)
			if row.message == rather {
				// Other mail must not travel on that session.
				if r := deliver(t, t.Context(), o, m, "r@b.example").Results[0]; r.State != queue.Deferred {
					t.Errorf("other mail: %v %q", r.State, r.Text())
				}
			}
			if said := out.Results[0].TLS; row.tls == "-" && said != "" || row.tls != "-" && !strings.Contains(said, row.tls) || strings.Contains(said, "mta-sts") != (row.tls == "mta-sts") {
				t.Errorf("TLS is said to be %q, want %q", said, row.tls)
			}
		})
	}
}
