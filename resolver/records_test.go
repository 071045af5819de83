package resolver

import (
	"bytes"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"waypost/resolver/dnstest"
)

// signed has the server vouch for names.
func signed(s *dnstest.Server, names ...string) {
	for _, name := range names {
		s.Set(name, dnstest.Behaviour{Authenticated: true})
	}
}

// TestTLSA tells secure, insecure, absent and bogus records apart.
//
// 7672-2.1-b: what cannot be validated is an error, and not an absence.
func TestTLSA(t *testing.T) {
	s := dnstest.New(t,
		"_25._tcp.secure.example. 300 IN TLSA 3 1 1 0102ff",
		"_25._tcp.secure.example. 300 IN TLSA 2 0 2 aa",
		"_25._tcp.plain.example. 300 IN TLSA 3 1 1 0102ff",
		"_25._tcp.alias.example. 300 IN CNAME _25._tcp.secure.example.",
		"none.example. 300 IN A 192.0.2.1",
	)
	signed(s, "_25._tcp.secure.example", "_25._tcp.alias.example", "_25._tcp.none.example")
	s.Set("_25._tcp.bogus.example", dnstest.Behaviour{Rcode: dns.RcodeServerFailure})
	r := newResolver(t, s, Options{Attempts: 1})
	for _, row := range []struct {
		host   string
		count  int
		secure bool
		fails  bool
	}{
		{host: "Secure.example.", count: 2, secure: true},
		{host: "plain.example", count: 1},
		{host: "alias.example", count: 2, secure: true},
		{host: "none.example", secure: true},
		{host: "bogus.example", fails: true},
		{host: "-.example", fails: true},
	} {
		got, err := r.TLSA(t.Context(), row.host, 25)
		if len(got.List) != row.count || got.Authenticated != row.secure || (err != nil) != row.fails {
			t.Errorf("%s: %d records, secure %v, %v", row.host, len(got.List), got.Authenticated, err)
		}
	}
	got, err := r.TLSA(t.Context(), "secure.example", 25)
	i := slices.IndexFunc(got.List, func(one TLSA) bool { return one.Usage == 3 })
	if err != nil || i < 0 || got.List[i].Selector != 1 || got.List[i].Matching != 1 || !bytes.Equal(got.List[i].Data, []byte{1, 2, 255}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTXT: strings of one record are one text, and aliases are followed.
//
// 8461-3.1-a: so a policy's record is found where it is.
func TestTXT(t *testing.T) {
	s := dnstest.New(t,
		`_mta-sts.b.example. 300 IN TXT "v=STSv1; " "id=1;"`,
		`_mta-sts.odd.example. 300 IN TXT "a\"b\\c\255"`,
		"_mta-sts.alias.example. 300 IN CNAME _mta-sts.b.example.",
	)
	s.Set("_mta-sts.lost.example", dnstest.Behaviour{Rcode: dns.RcodeRefused})
	r := newResolver(t, s, Options{Attempts: 1})
	for name, want := range map[string][]string{
		"b.example": {"v=STSv1; id=1;"}, "odd.example": {"a\"b\\c\xff"}, "alias.example": {"v=STSv1; id=1;"}, "none.example": nil,
	} {
		if got, err := r.TXT(t.Context(), "_mta-sts."+name); err != nil || !slices.Equal(got.List, want) {
			t.Errorf("%s: %q, %v", name, got.List, err)
		}
	}
	if _, err := r.TXT(t.Context(), "_mta-sts.lost.example"); err == nil {
		t.Error("a look-up that was refused says that there is nothing")
	}
}

// TestSecurity: the first alias is asked for where the whole chain is not secure
// (RFC 7672 §2.1.3).
//
// P-09 7672-2.2.2-a: aliases, and how far they are vouched for.
func TestSecurity(t *testing.T) {
	s := dnstest.New(t,
		"secure.example. 300 IN A 192.0.2.1", "plain.example. 300 IN A 192.0.2.2", "plain.example. 300 IN AAAA 2001:db8::2",
		"half.example. 300 IN CNAME plain.example.", "whole.example. 300 IN CNAME secure.example.", "wild.example. 300 IN CNAME plain.example.",
	)
	signed(s, "secure.example", "whole.example")
	// The chain is not secure, while its first alias is.
	s.Set("half.example", dnstest.Behaviour{Authenticated: true}, dns.TypeCNAME)
	r := newResolver(t, s, Options{})
	for host, want := range map[string]Security{
		"secure.example": {Name: "secure.example", Authenticated: true},
		"plain.example":  {Name: "plain.example"},
		"whole.example":  {Name: "secure.example", Authenticated: true},
		"half.example":   {Name: "plain.example", AliasAuthenticated: true},
		"wild.example":   {Name: "plain.example"},
		"[192.0.2.1]":    {Name: "[192.0.2.1]"},
		"192.0.2.1":      {Name: "192.0.2.1"},
		"localhost":      {Name: "localhost"},
	} {
		if got, err := r.Security(t.Context(), host); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", host, got, err, want)
		}
	}
	if _, err := r.Security(t.Context(), "missing.example"); err == nil {
		t.Error("a host that does not exist has a security")
	}
}
