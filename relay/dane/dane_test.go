package dane

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"waypost/relay/relaytest"
	"waypost/resolver"
)

// record makes a record about a certificate.
func record(t *testing.T, cert tls.Certificate, usage, selector, matching uint8) resolver.TLSA {
	t.Helper()
	c, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	if matching == 1 {
		sum := sha256.Sum256(data)
		data = sum[:]
	} else if matching == 2 {
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return resolver.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

// with adds the authority to what a host shows.
func with(leaf tls.Certificate, ca *relaytest.CA) tls.Certificate {
	leaf.Certificate = append(leaf.Certificate, ca.Authority().Certificate[0])
	return leaf
}

// handshake is a real one, judged by the records.
func handshake(t *testing.T, shown tls.Certificate, records []resolver.TLSA, names []string, now time.Time) error {
	t.Helper()
	// A pipe has no buffer for what crosses on the way, so this takes sockets.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{shown}})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return tls.Client(c, &tls.Config{
		InsecureSkipVerify: true, VerifyConnection: VerifyConnection(records, names, func() time.Time { return now }),
	}).Handshake()
}

// TestVerify has one row for each rule.
func TestVerify(t *testing.T) {
	ca, other := relaytest.NewCA(t), relaytest.NewCA(t)
	leaf, stranger := ca.Leaf("mx.b.example"), other.Leaf("mx.b.example")
	old := ca.LeafUntil(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), "elsewhere.example")
	authority := ca.Authority()
	wild := ca.Leaf("*.b.example")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	mx := []string{"mx.b.example"}
	for _, row := range []struct {
		name    string
		shown   tls.Certificate
		records []resolver.TLSA
		names   []string
		now     time.Time
		fails   string // a part of the error
	}{
		{name: "P-01 7672-3.1-a 3 1 1", shown: leaf, records: []resolver.TLSA{record(t, leaf, 3, 1, 1)}},
		{name: "P-11 7672-3.1-a 3 1 2", shown: leaf, records: []resolver.TLSA{record(t, leaf, 3, 1, 2)}},
		{name: "P-11 7672-3.1-a 3 1 0", shown: leaf, records: []resolver.TLSA{record(t, leaf, 3, 1, 0)}},
		{name: "7672-3.1-a 3 0 0", shown: leaf, records: []resolver.TLSA{record(t, leaf, 3, 0, 0)}},
		{name: "3 0 1", shown: leaf, records: []resolver.TLSA{record(t, leaf, 3, 0, 1)}},
		{name: "3 0 2", shown: leaf, records: []resolver.TLSA{record(t, leaf, 3, 0, 2)}},
		{name: "P-01 7672-3.1-a 3 1 1, expired and for another name", shown: old, records: []resolver.TLSA{record(t, old, 3, 1, 1)}},
		{name: "P-02 3 1 1 of another key", shown: stranger, records: []resolver.TLSA{record(t, leaf, 3, 1, 1)}, fails: "no TLSA record matches"},
		{name: "3 1 1 of the authority", shown: with(leaf, ca), records: []resolver.TLSA{record(t, authority, 3, 1, 1)}, fails: "no TLSA record matches"},
		{name: "one of several", shown: leaf, records: []resolver.TLSA{record(t, stranger, 3, 1, 1), record(t, leaf, 3, 1, 1)}},
		{name: "P-08 7672-3.1-a 2 0 1", shown: with(leaf, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}},
		{name: "2 1 1", shown: with(leaf, ca), records: []resolver.TLSA{record(t, authority, 2, 1, 1)}},
		{name: "2 0 0, authority not shown", shown: leaf, records: []resolver.TLSA{record(t, authority, 2, 0, 0)}},
		{name: "2 0 1, authority not shown", shown: leaf, records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, fails: "no TLSA record matches"},
		{name: "2 0 1, authority shown that did not sign", shown: with(stranger, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, fails: "authority"},
		{name: "2 0 1 of the host's own", shown: leaf, records: []resolver.TLSA{record(t, leaf, 2, 0, 1)}, fails: "no TLSA record matches"},
		{name: "P-08 7672-3.1-a 2 0 1, another name", shown: with(leaf, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, names: []string{"mx.c.example"}, fails: "mx.b.example"},
		{name: "P-08 7672-3.1-a 2 0 1, the domain's name", shown: with(leaf, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, names: []string{"host.example", "mx.b.example"}},
		{name: "P-08 7672-3.2.3-a 2 0 1, wildcard for one label", shown: with(wild, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}},
		{name: "P-08 7672-3.2.3-a 2 0 1, wildcard for two labels", shown: with(wild, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, names: []string{"x.mx.b.example"}, fails: "*.b.example"},
		{name: "P-08 2 0 1, expired", shown: with(old, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, names: []string{"elsewhere.example"}, fails: "expired"},
		{name: "P-08 2 0 1, expired authority", shown: with(leaf, ca), records: []resolver.TLSA{record(t, authority, 2, 0, 1)}, now: now.AddDate(100, 0, 0), fails: "expired"},
	} {
		t.Run(row.name, func(t *testing.T) {
			names, at := row.names, row.now
			if names == nil {
				names = mx
			}
			if at.IsZero() {
				at = now
			}
			if got := Usable(row.records); len(got) != len(row.records) {
				t.Fatalf("%d of %d records are usable", len(got), len(row.records))
			}
			err := handshake(t, row.shown, row.records, names, at)
			if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Errorf("%v, want %q", err, row.fails)
			}
		})
	}
}

// TestUsable leaves out what no mail host can be verified by, and the weaker of
// two digests.
func TestUsable(t *testing.T) {
	leaf := relaytest.NewCA(t).Leaf("mx.b.example")
	weak, strong, full := record(t, leaf, 3, 1, 1), record(t, leaf, 3, 1, 2), record(t, leaf, 3, 1, 0)
	short := weak
	short.Data = weak.Data[1:]
	junk := full
	junk.Data = []byte("junk")
	for name, row := range map[string]struct {
		all  []resolver.TLSA
		want int
	}{
		"none":                    {nil, 0},
		"P-05 7672-3.1-a usage 0": {[]resolver.TLSA{record(t, leaf, 0, 1, 1)}, 0},
		"P-05 7672-3.1-a usage 1": {[]resolver.TLSA{record(t, leaf, 1, 1, 1)}, 0},
		"usage 255":               {[]resolver.TLSA{record(t, leaf, 255, 1, 1)}, 0},
		"P-05 selector 2":         {[]resolver.TLSA{{Usage: 3, Selector: 2, Matching: 1, Data: weak.Data}}, 0},
		"P-05 matching 3":         {[]resolver.TLSA{{Usage: 3, Selector: 1, Matching: 3, Data: weak.Data}}, 0},
		"short digest":            {[]resolver.TLSA{short}, 0},
		"junk key":                {[]resolver.TLSA{junk}, 0},
		"no data":                 {[]resolver.TLSA{{Usage: 3, Selector: 0}}, 0},
		"one of two":              {[]resolver.TLSA{record(t, leaf, 1, 1, 1), weak}, 1},
		"P-11 7672-5-a agile":     {[]resolver.TLSA{weak, strong, full}, 2},
		"another selector":        {[]resolver.TLSA{weak, record(t, leaf, 3, 0, 2)}, 2},
	} {
		if got := Usable(row.all); len(got) != row.want {
			t.Errorf("%s: %d usable, want %d", name, len(got), row.want)
		}
	}
	// A weaker digest cannot be used to get around the stronger one.
	if err := handshake(t, leaf, Usable([]resolver.TLSA{weak, {Usage: 3, Selector: 1, Matching: 2, Data: make([]byte, 64)}}), nil, time.Now()); err == nil {
		t.Error("the weaker digest was believed")
	}
}
