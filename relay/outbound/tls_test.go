package outbound

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"waypost/queue"
	"waypost/relay/mtasts"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
	"waypost/resolver/dnstest"
)

// observed is a TLS configuration that notes how its clients begin.
type observed struct {
	mu    sync.Mutex
	names []string
	reuse bool
}

func (o *observed) config(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.names = append(o.names, hello.ServerName)
			return nil, nil
		},
		Certificates: []tls.Certificate{cert},
		VerifyConnection: func(state tls.ConnectionState) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.reuse = o.reuse || state.DidResume
			return nil
		},
	}
}

// all returns the names that were asked for, and whether a session was resumed.
func (o *observed) all() (names []string, reuse bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.names), o.reuse
}

// TestServerName: the name in the handshake is the one under which the TLSA records
// are, and else the mail host's (RFC 7672 §8.1, RFC 8461 §7.1).
func TestServerName(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	leaf := ca.Leaf("mx.b.example", "real.c.example")
	for _, row := range []struct {
		name    string
		records []string
		secure  []string
		mode    string // of an MTA-STS policy
		want    string
	}{
		{name: "8461-7.1-a opportunistic", want: "mx.b.example"},
		{name: "8461-7.1-a enforced", mode: mtasts.Enforce, want: "mx.b.example"},
		{name: "P-10 7672-8.1-a DANE", records: []string{tlsa(t, "mx.b.example", 3, leaf)}, secure: []string{"b.example", "mx.b.example", "_25._tcp.mx.b.example"}, want: "mx.b.example"},
		{name: "P-10 P-09 7672-8.1-a 7672-2.2.2-a DANE at the end of an alias", records: []string{tlsa(t, "real.c.example", 3, leaf)},
			secure: []string{"b.example", "mx.b.example", "real.c.example", "_25._tcp.real.c.example"}, want: "real.c.example"},
		{name: "P-10 P-09 7672-2.2.2-a DANE before an insecure step", records: []string{tlsa(t, "mx.b.example", 3, leaf)},
			secure: []string{"b.example", "mx.b.example CNAME", "_25._tcp.mx.b.example"}, want: "mx.b.example"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := dnstest.New(t, append(row.records, "b.example. 300 IN MX 10 mx.b.example.")...)
			if slices.Contains(row.secure, "real.c.example") || slices.Contains(row.secure, "mx.b.example CNAME") {
				s.Add("mx.b.example. 300 IN CNAME real.c.example.", "real.c.example. 300 IN A 192.0.43.1")
			} else {
				s.Add("mx.b.example. 300 IN A 192.0.43.1")
			}
			for _, name := range row.secure {
				name, alias := strings.CutSuffix(name, " CNAME")
				if alias {
					s.Set(name, dnstest.Behaviour{Authenticated: true}, dns.TypeCNAME)
				} else {
					s.Set(name, dnstest.Behaviour{Authenticated: true})
				}
			}
			found := resolver.New(resolver.Options{Servers: []string{s.Addr}, HostsFile: "/dev/null"})
			seen, n := &observed{}, &network{}
			sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithTLS(seen.config(leaf)))
			n.put("192.0.43.1", dialSink(sink))
			security := tlspolicy.Options{Resolver: found}
			if row.mode != "" {
				security.Promises = &policyOf{"b.example", mtasts.Policy{ID: "1", Mode: row.mode, MX: []string{"mx.b.example"}, Expires: time.Now().Add(time.Hour)}}
			}
			o := start(t, n, nil, func(o *Options) {
				o.Resolver, o.TLS, o.Security = found, trusting(ca), tlspolicy.New(security)
			})
			out := deliver(t, t.Context(), o, m, "r@b.example")
			delivered(t, out)
			if names, _ := seen.all(); !slices.Equal(names, []string{row.want}) {
				t.Errorf("asked for %q, want %q", names, row.want)
			}
			if dane := len(row.records) > 0; dane != strings.HasSuffix(out.Results[0].TLS, " dane") {
				t.Errorf("TLS is said to be %q", out.Results[0].TLS)
			}
		})
	}
}

// TestSmarthostPolicy: a smarthost that is found by MX has the policy of its own
// domain, and never that of the recipient or of a parent.
func TestSmarthostPolicy(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	for _, row := range []struct {
		name, domain, owner string
		deferred            bool
	}{
		{"P-21 8461-3.4-a the smarthost's", "smart.example", "smart.example", true},
		{"P-21 8461-3.4-a the recipient's", "smart.example", "b.example", false},
		{"8461-3.4-a a parent's", "deep.smart.example", "smart.example", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			z := &zone{mx: map[string][]string{row.domain: {"mx1"}}, addresses: map[string][]string{"mx1": {"192.0.43.1"}}}
			n := &network{}
			sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCertificate(ca.Leaf("elsewhere.example")))
			n.put("192.0.43.1", dialSink(sink))
			owned := &policyOf{row.owner, mtasts.Policy{ID: "1", Mode: mtasts.Enforce, MX: []string{"mx1"}, Expires: time.Now().Add(time.Hour)}}
			o := start(t, n, z, func(o *Options) {
				via(route.Route{Via: []route.Leg{{Kind: route.MX, Domain: row.domain}}})(o)
				o.TLS, o.Security = trusting(ca), tlspolicy.New(tlspolicy.Options{Promises: owned})
			})
			out := deliver(t, t.Context(), o, m, "r@b.example")
			if !row.deferred {
				delivered(t, out)
			} else if r := out.Results[0]; r.State != queue.Deferred || !strings.Contains(r.Text(), "elsewhere.example") {
				t.Errorf("%v %q", r.State, r.Text())
			}
		})
	}
}

// TestHostileCertificates: a certificate that is no use, or too much, is a failed
// handshake like any other.
func TestHostileCertificates(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(names int, padding int) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: year(2100)}
		for i := range names {
			template.DNSNames = append(template.DNSNames, fmt.Sprintf("h%d.example", i))
		}
		if padding > 0 {
			template.OCSPServer = []string{"http://" + strings.Repeat("x", padding)}
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	chain := [][]byte{signed(1, 0)}
	for range 16 {
		chain = append(chain, signed(1, 64<<10))
	}
	for name, certificates := range map[string][][]byte{
		"T-16 100,000 names":    {signed(100_000, 0)},
		"T-16 a chain of 1 MiB": chain,
		"T-16 garbage":          {[]byte("\x30\x82\x01\x00this is no certificate")},
	} {
		t.Run(name, func(t *testing.T) {
			shown := tls.Certificate{Certificate: certificates, PrivateKey: key}
			s := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCertificate(shown))
			n := &network{}
			n.put("192.0.2.1", dialSink(s))
			o := start(t, n, two(), via(route.Route{Via: []route.Leg{hostLeg("mx1")}, Terms: route.Terms{TLS: route.Required}}))
			want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], queue.Deferred, "4.7.0", "handshake")
		})
	}
}

// TestEachSessionIsVerified: no TLS session is resumed, so that what was verified
// once, or was not, counts for no other.
//
// T-17
func TestEachSessionIsVerified(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	seen, n := &observed{}, &network{}
	s := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithTLS(seen.config(ca.Leaf("elsewhere.example"))))
	n.put("192.0.2.1", dialSink(s))
	level := func(o *Outbound, level route.TLS) {
		o.SetRoutes(route.NewTable([]route.Route{{To: "*", Via: []route.Leg{hostLeg("mx1")}, Terms: route.Terms{TLS: level}}}), nil)
	}
	o := start(t, n, two(), func(o *Options) { o.TLS = trusting(ca) })
	for range 2 {
		level(o, route.Opportunistic)
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		level(o, route.Verified)
		want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], queue.Deferred, "4.7.0", "elsewhere.example")
	}
	if _, reuse := seen.all(); reuse {
		t.Error("a session was resumed")
	}
}

// TestLeastVersion: what is older than TLS 1.2 is no TLS (RFC 8461 §7.2).
func TestLeastVersion(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	for _, row := range []struct {
		name    string
		version uint16
		arrives bool
	}{
		{"8461-7.2-a TLS 1.0", tls.VersionTLS10, false}, {"8461-7.2-a TLS 1.1", tls.VersionTLS11, false}, {"8461-7.2-a TLS 1.2", tls.VersionTLS12, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithTLS(&tls.Config{
				Certificates: []tls.Certificate{ca.Leaf("mx1")}, MinVersion: tls.VersionTLS10, MaxVersion: row.version,
			}))
			n := &network{}
			n.put("192.0.2.1", dialSink(s))
			o := start(t, n, two(), func(o *Options) {
				via(route.Route{Via: []route.Leg{hostLeg("mx1")}, Terms: route.Terms{TLS: route.Verified}})(o)
				o.TLS = trusting(ca)
			})
			out := deliver(t, t.Context(), o, m, "r@b.example")
			if row.arrives {
				delivered(t, out)
			} else {
				want(t, out.Results[0], queue.Deferred, "4.7.0", "protocol version")
			}
		})
	}
}
