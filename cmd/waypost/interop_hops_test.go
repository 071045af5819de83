//go:build interop

package main_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// TestOthersAsNextHop sends to a real Exim, under TLS and by BDAT, and to a real
// OpenSMTPD, which knows no BDAT. Debian's offers TLS and fails at every handshake,
// those of OpenSSL's own client as well, so that mail has to arrive in clear. What
// they pass on is compared with what was sent, and a recipient whom they refuse is
// reported.
func TestOthersAsNextHop(t *testing.T) {
	const messages = 100
	for name, row := range map[string]struct {
		start func(t *testing.T, nextHop string) (address string, log func() string)
		trace string // what they say of how it came
		log   string
	}{
		"Exim":      {startExim, `^Received: from \[?[^ ]+\]? \([^)]*helo=relay\.example\)\s+by exim\.example with esmtps\s+\(TLS1\.3\)`, ` K `},
		"OpenSMTPD": {startOpenSMTPD, `^Received: from relay\.example \([^)]*\)\s+by smtpd\.example \(OpenSMTPD\) with ESMTPS? id `, `result="550 `},
	} {
		t.Run(name, func(t *testing.T) {
			sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithLeniency()) // Exim does not say that content has 8 bits
			hop, log := row.start(t, sink.Address())
			p := start(t, build(t), writeConfig(t, settings{nextHop: hop}))
			smtpSource(t, p.smtp[0], messages)
			p.waitEmpty()
			wantFigures(t, p, messages)
			all := texts(sink.Wait(messages))
			wantDistinct(t, all, `(?m)^Message-Id: (.*)\r$`)
			wantDistinct(t, all, queueID)
			trace := regexp.MustCompile(row.trace)
			for i := range all {
				if !trace.MatchString(all[i]) {
					t.Fatalf("it did not come from us in the way it should have:\n%.400s", all[i])
				}
			}
			contents := letters()
			c := mustDial(t, p.smtp[0])
			for i, content := range contents {
				if _, err := c.data(letterEnvelope(i), content); err != nil {
					t.Fatal(err)
				}
			}
			wantLetters(t, sink.Wait(messages + len(contents))[messages:], contents)
			nobody := envelope{from: "sender@a.example", to: []string{"nobody@b.example"}}
			if _, err := c.data(nobody, contents[0]); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the refusal", func() bool { return p.metric("waypost_recipients_bounced_total") == 1 })
			report := sink.Wait(messages + len(contents) + 1)[messages+len(contents)]
			if report.From != "" || report.To[0] != "sender@a.example" || !strings.Contains(string(report.Content), "Final-Recipient: rfc822; nobody@b.example") {
				t.Errorf("a message from <%s> to %v came as the report", report.From, report.To)
			}
			if !strings.Contains(log(), row.log) {
				t.Errorf("its log lacks %q:\n%s", row.log, log())
			}
			p.waitEmpty()
			p.stop()
		})
	}
}

// startExim starts an Exim that passes everything on to nextHop, but for what is
// for nobody.
func startExim(t *testing.T, nextHop string) (string, func() string) {
	program := tool(t, "exim4", "exim4-daemon-light")
	dir, address := openDir(t), freeAddress(t)
	for _, sub := range []string{"spool", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key := certificate(t, dir, "exim.example")
	if out, err := exec.CommandContext(t.Context(), "chown", "-R", "Debian-exim:", dir).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	host, port, _ := strings.Cut(nextHop, ":")
	text := fmt.Sprintf(`acl_smtp_rcpt = rcpt
acl_smtp_data = data
tls_advertise_hosts = *
tls_certificate = %s
tls_privatekey = %s
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
remote_max_parallel = 2
begin acl
rcpt:
  deny recipients = nobody@b.example
       message = 5.1.1 nobody of that name
  accept
data:
  accept
`, certificate, key) + eximConfig(program, dir, host, port, "")
	// Main settings stand before the first "begin".
	main, rest, _ := strings.Cut(text, "begin acl\n")
	acl, rest, _ := strings.Cut(rest, "exim_path")
	settings, rest, _ := strings.Cut(rest, "begin routers\n")
	config := filepath.Join(dir, "exim.conf")
	if err := os.WriteFile(config, []byte(main+"exim_path"+settings+"begin acl\n"+acl+"begin routers\n"+rest), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ = strings.Cut(address, ":")
	runBackground(t, program, "-C", config, "-bdf", "-oX", "<; 127.0.0.1."+port)
	waitFor(t, "Exim", func() bool { return listens(address) })
	return address, func() string {
		log, err := os.ReadFile(filepath.Join(dir, "log", "mainlog"))
		if err != nil {
			t.Error(err)
		}
		return string(log)
	}
}

// startOpenSMTPD does the same. The paths that it was built with are there for it
// alone.
func startOpenSMTPD(t *testing.T, nextHop string) (string, func() string) {
	// Postfix has an smtpd, too.
	program, bwrap := filepath.Join(filepath.Dir(tool(t, "smtpctl", "opensmtpd")), "smtpd"), tool(t, "bwrap", "bubblewrap")
	dir, address := openDir(t), freeAddress(t)
	certificate, key := certificate(t, dir, "smtpd.example")
	_, port, _ := strings.Cut(address, ":")
	config := filepath.Join(dir, "smtpd.conf")
	text := fmt.Sprintf(`pki smtpd.example cert "%s"
pki smtpd.example key "%s"
listen on 127.0.0.1 port %s tls pki smtpd.example hostname smtpd.example
action "on" relay host "smtp://%s"
match from any for rcpt-to "nobody@b.example" reject
match from any for any action "on"
`, certificate, key, port, nextHop)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := runBackground(t, bwrap, "--dev-bind", "/", "/", "--tmpfs", "/var/lib", "--dir", "/var/lib/opensmtpd/empty", "--tmpfs", "/var/spool",
		"--tmpfs", "/run", "--die-with-parent", program, "-d", "-f", config)
	waitFor(t, "OpenSMTPD", func() bool { return listens(address) })
	return address, b.out.String
}

// TestSignatureVerifiedBehindAMilter sends what we sign to a Postfix whose milter
// verifies, and looks at what it says.
func TestSignatureVerifiedBehindAMilter(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	dir, milter := openDir(t), freeAddress(t)
	keys := filepath.Join(dir, "keys")
	own, published := signingKey(t, dir, "own")
	_, other := signingKey(t, dir, "other")
	// Of b.example another key is published than the one that we sign with.
	zone := fmt.Sprintf("s._domainkey.a.example v=DKIM1; k=rsa; p=%s\ns._domainkey.b.example v=DKIM1; k=rsa; p=%s\n", published, other)
	if err := os.WriteFile(keys, []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(milter, ":")
	hosts := filepath.Join(dir, "hosts")
	config := filepath.Join(dir, "opendkim.conf")
	for name, text := range map[string]string{
		hosts: "192.0.2.1\n", // nobody is one of us, who would be trusted unseen
		config: fmt.Sprintf("Mode v\nSocket inet:%s@%s\nInternalHosts %s\nTestPublicKeys %s\nAlwaysAddARHeader yes\nAuthservID postfix.example\nSyslog no\nRequireSafeKeys no\n",
			port, host, hosts, keys),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	runBackground(t, tool(t, "opendkim", "opendkim"), "-f", "-x", config)
	waitFor(t, "opendkim", func() bool { return listens(milter) })
	hop := startPostfix(t, sink.Address(), "smtp_tls_security_level = none", "smtpd_milters = inet:"+milter, "milter_default_action = tempfail")
	more := ""
	for _, domain := range []string{"a.example", "b.example"} {
		more += fmt.Sprintf("[[dkim]]\ndomain = '%s'\nselector = 's'\nkey_file = '%s'\ncheck_dns = false\n", domain, own)
	}
	p := start(t, build(t), writeConfig(t, settings{nextHop: hop.address, more: more}))
	c := mustDial(t, p.smtp[0])
	for author, want := range map[string]string{"a.example": "dkim=pass", "b.example": "dkim=fail", "c.example": "dkim=none"} {
		contents := letters()
		for i, content := range contents {
			before := sink.Count()
			content = []byte(strings.Replace(string(content), "From: <sender@a.example>", "From: <sender@"+author+">", 1))
			if _, err := c.data(letterEnvelope(i), content); err != nil {
				t.Fatal(err)
			}
			m := sink.Wait(before + 1)[before]
			if found := regexp.MustCompile(`(?m)^Authentication-Results: postfix\.example;\r?\n?\s+(dkim=\w+)`).FindStringSubmatch(string(m.Content)); found == nil || found[1] != want {
				t.Errorf("letter %d from %s: %q, want %s:\n%.900s", i, author, found, want, m.Content)
			}
		}
	}
	p.stop()
}

// signingKey writes a private key to a file, and returns the public one.
func signingKey(t *testing.T, dir, name string) (file, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name+".pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, base64.StdEncoding.EncodeToString(der)
}
