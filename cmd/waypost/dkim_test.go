package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"waypost/relay/dkim"
	"waypost/resolver/dnstest"
)

// TestDKIMCheck compares keys with a real DNS server's records.
func TestDKIMCheck(t *testing.T) {
	dir := t.TempDir()
	record := func(a dkim.Algorithm, name string) string {
		k, err := dkim.Generate(a)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := dkim.EncodeKey(k)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := dkim.Record(k.Public())
		return r
	}
	zone := func(selector, text string) string {
		return strings.NewReplacer("\n", " ", "IN TXT", "60 IN TXT").Replace(dkim.Zone(selector+"._domainkey.a.example", text))
	}
	server := dnstest.New(t)
	rsa, ed := record(dkim.RSA, "rsa.pem"), record(dkim.Ed25519, "ed.pem")
	record(dkim.RSA, "other.pem")
	server.Add(zone("r", rsa), zone("e", strings.Replace(ed, "p=", "t=y; p=", 1)), zone("o", rsa))
	server.Set("f._domainkey.a.example", dnstest.Behaviour{Rcode: dns.RcodeServerFailure})
	for _, tc := range []struct {
		selector, file, want string
		code                 int
	}{
		{"r", "rsa.pem", `^r\._domainkey\.a\.example published, rsa of 2048 bits\n$`, exitDone},
		{"e", "ed.pem", `^e\._domainkey\.a\.example published, ed25519 of 256 bits, in test mode \(t=y\)\n$`, exitDone},
		{"o", "other.pem", `^o\._domainkey\.a\.example other, .*: the record has another key\n$`, exitData},
		{"n", "rsa.pem", `^n\._domainkey\.a\.example missing, .*has no TXT record\n$`, exitData},
		{"f", "rsa.pem", `^f\._domainkey\.a\.example unknown, .*\n$`, exitTemporary},
		{"r", "none.pem", `^r\._domainkey\.a\.example unreadable: .*no such file`, exitConfig},
	} {
		file := filepath.Join(dir, "waypost.toml")
		config := "[resolver]\nservers = [\"" + server.Addr + "\"]\n[[dkim]]\ndomain = \"a.example\"\nselector = \"" + tc.selector + "\"\nkey_file = \"" + filepath.Join(dir, tc.file) + "\"\n"
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := run([]string{"dkim", "check", "-c", file, "A.example"}, nil, &out, &errs, nil)
		if code != tc.code || !regexp.MustCompile(tc.want).MatchString(out.String()) {
			t.Errorf("%s with %s: code %d, %s%s", tc.selector, tc.file, code, out.String(), errs.String())
		}
		out.Reset()
		run([]string{"dkim", "check", "-c", file, "--json"}, nil, &out, &errs, nil)
		if !strings.HasPrefix(out.String(), `{"domain":"a.example","selector":"`+tc.selector+`",`) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s with %s, as JSON: %s", tc.selector, tc.file, out.String())
		}
	}
}
