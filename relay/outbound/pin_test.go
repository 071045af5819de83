package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

func keyOf(t *testing.T, c tls.Certificate) [32]byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
}

// TestPins: with pins the key counts, whoever signed it; with authorities of its own
// the route trusts these alone.
func TestPins(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca, other := relaytest.NewCA(t), relaytest.NewCA(t)
	shown, next := ca.Leaf("mx1"), ca.Leaf("mx1")
	for _, row := range []struct {
		name     string
		route    route.Route
		deferred string
	}{
		{name: "the key", route: route.Route{Terms: route.Terms{TLS: route.Required, Pins: [][32]byte{keyOf(t, next), keyOf(t, shown)}}}},
		{name: "another key", route: route.Route{Terms: route.Terms{TLS: route.Required, Pins: [][32]byte{keyOf(t, next)}}}, deferred: "none of the keys that the route pins: it has sha256:"},
		{name: "the key of a stranger", route: route.Route{Terms: route.Terms{TLS: route.Verified, Pins: [][32]byte{keyOf(t, shown)}}}, deferred: "unknown authority"},
		{name: "the key of an authority", route: route.Route{Terms: route.Terms{TLS: route.Verified, Roots: ca.Pool(), Pins: [][32]byte{keyOf(t, shown)}}}},
		{name: "an authority", route: route.Route{Terms: route.Terms{TLS: route.Verified, Roots: ca.Pool()}}},
		{name: "another authority", route: route.Route{Terms: route.Terms{TLS: route.Verified, Roots: other.Pool()}}, deferred: "unknown authority"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCertificate(shown))
			n := &network{}
			n.put("192.0.2.1", dialSink(s))
			row.route.Via = []route.Leg{hostLeg("mx1")}
			o := start(t, n, two(), func(o *Options) {
				via(row.route)(o)
				o.TLS = trusting(other) // the system's
			})
			out := deliver(t, t.Context(), o, m, "r@b.example")
			if row.deferred == "" {
				delivered(t, out)
			} else if r := out.Results[0]; r.State != queue.Deferred || !strings.Contains(r.Text(), row.deferred) || s.Count() != 0 {
				t.Errorf("%v %q, want deferred, %q", r.State, r.Text(), row.deferred)
			}
		})
	}
}
