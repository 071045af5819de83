package relay

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"waypost/configs"
	"waypost/relay/control"
	"waypost/relay/dkim"
	"waypost/relay/relaytest"
)

// newKey makes a key file and returns its record.
func newKey(t testing.TB, a dkim.Algorithm) (file, record string) {
	t.Helper()
	k, err := dkim.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	text, err := dkim.EncodeKey(k)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	record, err = dkim.Record(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return file, record
}

// signatures verifies a message with the records of a DNS server, and returns the
// selectors of the good signatures; a bad one is an error.
func signatures(t *testing.T, server string, content []byte) (domains []string) {
	t.Helper()
	all, err := msgauth.VerifyWithOptions(bytes.NewReader(content), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(name), dns.TypeTXT)
		reply, _, err := (&dns.Client{Net: "tcp"}).Exchange(m, server)
		if err != nil {
			return nil, err
		}
		var texts []string
		for _, rr := range reply.Answer {
			texts = append(texts, strings.Join(rr.(*dns.TXT).Txt, ""))
		}
		if len(texts) == 0 {
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		return texts, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Err != nil {
			t.Errorf("signature of %s: %v", v.Domain, v.Err)
		}
		domains = append(domains, v.Domain)
	}
	return domains
}

// record is a TXT record in strings of 255 octets at most.
func record(name, text string) string {
	zone := dkim.Zone(name, text)
	return strings.NewReplacer("\n", " ", "IN TXT", "60 IN TXT").Replace(zone)
}

// TestOriginatedMailIsSigned: what we originate leaves with a signature of each
// key, from whichever client of ours it came, and nothing else does.
//
// 6376-3.1-a 8463-a
func TestOriginatedMailIsSigned(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	sink.OnRcpt("gone@b.example", "550 5.1.1 no such user")
	rsa, rsaRecord := newKey(t, dkim.RSA)
	ed, edRecord := newKey(t, dkim.Ed25519)
	s := startReloadable(t, 1, func(c *configs.Config) {
		c.Relay.Networks, c.Relay.Domains = []string{"127.0.0.1"}, []string{"b.example"}
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
	})
	s.dns.Add(record("r._domainkey.a.example", rsaRecord), record("e._domainkey.a.example", edRecord), record("own._domainkey.relay.example", edRecord))
	s.reload(func(c *configs.Config) {
		c.DKIM = []configs.DKIM{
			{Domain: "a.example", Selector: "r", KeyFile: rsa, SevenBit: true, CheckDNS: true},
			{Domain: "a.example", Selector: "e", KeyFile: ed, SevenBit: true, CheckDNS: true},
			{Domain: "relay.example", Selector: "own", KeyFile: ed, SevenBit: true, CheckDNS: true},
		}
	})
	sent := func(from, author, to string) *relaytest.Message {
		t.Helper()
		before := len(sink.Messages())
		c := s.dial(from)
		s.cmd(c, 250, "MAIL FROM:<s@a.example>")
		s.cmd(c, 250, "RCPT TO:<%s>", to)
		s.cmd(c, 354, "DATA")
		s.cmd(c, 250, "From: %s\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n..Gr\xc3\xbc\xc3\x9fe\r\n.", author)
		m := sink.Wait(before + 1)[before]
		return &m
	}
	m := sent("127.0.0.1", "s@a.example", "r@b.example")
	if got := signatures(t, s.dns.Addr, m.Content); len(got) != 2 {
		t.Errorf("our own client's mail is signed by %v:\n%s", got, m.Content)
	}
	if top, _, _ := strings.Cut(below(t, m.Content), ":"); top != "DKIM-Signature" || strings.Contains(string(m.Content), "\xc3") {
		t.Errorf("%q stands on top, or it is not in 7 bits:\n%s", top, m.Content)
	}
	if m = sent("127.0.0.3", "s@a.example", "r@b.example"); strings.Contains(string(m.Content), "DKIM-Signature") {
		t.Errorf("a stranger's mail is signed:\n%s", m.Content)
	}
	if m = sent("127.0.0.1", "s@c.example", "r@b.example"); strings.Contains(string(m.Content), "DKIM-Signature") {
		t.Errorf("another domain's mail is signed:\n%s", m.Content)
	}
	if m = sent("127.0.0.1", "s@a.example", "gone@b.example"); m.From != "" {
		t.Fatalf("it is no report: %s", m.Content)
	}
	if got := signatures(t, s.dns.Addr, m.Content); len(got) != 1 || got[0] != "relay.example" {
		t.Errorf("the report is signed by %v:\n%s", got, m.Content)
	}
}

// TestWhoseMailIsSigned goes through the values of relay.sign.
func TestWhoseMailIsSigned(t *testing.T) {
	key, _ := newKey(t, dkim.Ed25519)
	for _, tc := range []struct {
		sign, mode string
		want       bool
	}{
		{configs.SignTrusted, configs.ModeRelay, true}, {configs.SignTrusted, configs.ModeSubmission, true},
		{configs.SignSubmission, configs.ModeRelay, false}, {configs.SignSubmission, configs.ModeSubmission, true},
		{configs.SignNone, configs.ModeRelay, false}, {configs.SignNone, configs.ModeSubmission, false},
	} {
		sink := relaytest.NewSink(t, "127.0.0.5:0")
		s := start(t, 1, func(c *configs.Config) {
			c.Listeners[0].Mode, c.Relay.Sign = tc.mode, tc.sign
			c.DKIM = []configs.DKIM{{Domain: "a.example", Selector: "s", KeyFile: key}}
			c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
		})
		s.send("s@a.example", hello, "r@b.example")
		got := strings.Contains(string(sink.Wait(1)[0].Content), "DKIM-Signature")
		if got != tc.want {
			t.Errorf("%s at a listener of mode %s: signed is %v", tc.sign, tc.mode, got)
		}
	}
}

// TestKeysAreReloaded has a reload begin and end to sign.
func TestKeysAreReloaded(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	key, _ := newKey(t, dkim.Ed25519)
	l := startReloadable(t, 1, func(c *configs.Config) {
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
	})
	for i, want := range []bool{false, true, false} {
		l.reload(func(c *configs.Config) {
			c.DKIM = nil
			if want {
				c.DKIM = []configs.DKIM{{Domain: "a.example", Selector: "s", KeyFile: key}}
			}
		})
		l.send("s@a.example", hello, "r@b.example")
		if got := strings.Contains(string(sink.Wait(i + 1)[i].Content), "DKIM-Signature"); got != want {
			t.Errorf("after reload %d: signed is %v", i, got)
		}
	}
	l.config.DKIM = []configs.DKIM{{Domain: "a.example", Selector: "s", KeyFile: "/dev/null"}}
	if _, err := l.Reload(); err == nil {
		t.Error("a file without a key was taken")
	}
}

// explain says which keys sign, and why others do not.
func TestExplainSigning(t *testing.T) {
	rsa, _ := newKey(t, dkim.RSA)
	ed, _ := newKey(t, dkim.Ed25519)
	s := start(t, 1, func(c *configs.Config) {
		c.Relay.Networks = []string{"127.0.0.1"}
		c.DKIM = []configs.DKIM{
			{Domain: "a.example", Selector: "r", KeyFile: rsa},
			{Domain: "a.example", Selector: "r2", KeyFile: rsa},
			{Domain: "b.example", Selector: "e", KeyFile: ed, CheckDNS: true},
		}
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs("discard:"), TLS: configs.TLSNone}}
	})
	for _, tc := range []struct{ client, from, signed, unsigned string }{
		{"", "s@a.example", "r._domainkey.a.example (rsa)", "r2._domainkey.a.example: another key of its kind comes first"},
		{"127.0.0.1", "s@a.example", "r._domainkey.a.example (rsa)", "r2._domainkey.a.example: another key of its kind comes first"},
		{"127.0.0.3", "s@a.example", "", ""},
		{"", "s@b.example", "", "e._domainkey.b.example: e._domainkey.b.example has no TXT record"},
		{"", "s@c.example", "", ""},
		{"", "<>", "", ""},
	} {
		q := &control.Question{Client: tc.client, From: tc.from, Recipients: []string{"r@x.example"}}
		for _, explain := range []func() (*control.Explanation, error){
			func() (*control.Explanation, error) {
				s.keys.Load().Look(t.Context())
				return s.Explain(t.Context(), q)
			},
			func() (*control.Explanation, error) { return Explain(t.Context(), s.config, q) },
		} {
			answer, err := explain()
			if err != nil {
				t.Fatal(err)
			}
			if signed, unsigned := strings.Join(answer.Signed, "|"), strings.Join(answer.Unsigned, "|"); signed != tc.signed || unsigned != tc.unsigned {
				t.Errorf("from %s at %q: signed by %q, not by %q", tc.from, tc.client, signed, unsigned)
			}
		}
	}
}
