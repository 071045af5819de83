//go:build interop

package main_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// TestDANEBehindUnbound delivers by MX with a real validating resolver and signed
// zones: what TLSA records ask for is done, and what is forged is not believed.
func TestDANEBehindUnbound(t *testing.T) {
	unbound := tool(t, "unbound", "unbound")
	ca := relaytest.NewCA(t)
	hosts := map[string]*relaytest.Sink{}
	certificates := map[string]tls.Certificate{}
	port := 0
	for i, name := range []string{"good", "other", "none", "forged", "plain"} {
		certificates[name] = ca.Leaf("mx-" + name)
		hosts[name] = relaytest.NewSink(t, fmt.Sprintf("127.7.90.%d:%d", 5+i, port), relaytest.WithCertificate(certificates[name]))
		port = hosts[name].Port()
	}
	dir := openDir(t)
	zone := func(name string, hosts ...string) (text string) {
		text = fmt.Sprintf("$ORIGIN %s.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n", name)
		return text + strings.Join(hosts, "")
	}
	host := func(name string, i int, shows string) string {
		text := fmt.Sprintf("%s MX 10 mx-%s\nmx-%s A 127.7.90.%d\n", name, name, name, i)
		if shows != "" {
			text += fmt.Sprintf("_%d._tcp.mx-%s TLSA 3 1 1 %x\n", port, name, keyDigest(t, certificates[shows]))
		}
		return text
	}
	anchor := sign(t, dir, "signed.example", zone("signed.example", host("good", 5, "good"), host("other", 6, "good"), host("none", 7, "")))
	sign(t, dir, "bogus.example", zone("bogus.example", host("forged", 8, "forged")))
	forged := strings.Replace(anchor, "signed.example", "bogus.example", 1) // that of another key
	if err := os.WriteFile(filepath.Join(dir, "plain.example.signed"), []byte(zone("plain.example", host("plain", 9, "good"))), 0o644); err != nil {
		t.Fatal(err)
	}
	server := startUnbound(t, unbound, dir, anchor+forged, "signed.example", "bogus.example", "plain.example")
	config := writeConfig(t, settings{nextHop: "127.0.0.1:9"})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	mail := strings.Replace(string(text), "smtp://127.0.0.1:9", "mx:", 1)
	mail = strings.Replace(mail, "servers = ['127.0.0.1:9']", "servers = ['"+server+"']", 1)
	mail += fmt.Sprintf("[delivery]\nsmtp_port = %d\nallow_private = ['127.0.0.0/8']\nmta_sts = false\n", port)
	if err := os.WriteFile(config, []byte(mail), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := build(t)
	p := start(t, binary, config)
	c := mustDial(t, p.smtp[0])
	for _, to := range []string{"r@good.signed.example", "r@other.signed.example", "r@none.signed.example", "r@forged.bogus.example", "r@plain.plain.example"} {
		if _, err := c.data(envelope{from: "s@a.example", to: []string{to}}, []byte("Subject: signed\r\n\r\nHello.\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "three deliveries, and two that are put off", func() bool {
		return p.metric("waypost_recipients_delivered_total") == 3 && p.metric("waypost_recipients_deferred_total") >= 4
	})
	for name, want := range map[string]int{"good": 1, "other": 0, "none": 1, "forged": 0, "plain": 1} {
		if got := hosts[name].Count(); got != want {
			t.Errorf("%s: %d messages, want %d", name, got, want)
		}
	}
	if hosts["forged"].Connections() != 0 {
		t.Error("a host was connected to whose address is forged")
	}
	for result, least := range map[string]float64{"ok": 1, "failed": 1} {
		if got := p.metric(`waypost_tls_policies_total{policy="dane",result="` + result + `"}`); got < least {
			t.Errorf("%v sessions by DANE are %s", got, result)
		}
	}
	for to, want := range map[string]string{
		"r@good.signed.example": "dane", "r@other.signed.example": "none: ", "r@none.signed.example": "no secure TLSA records", "r@plain.plain.example": "not secure",
	} {
		out, err := exec.CommandContext(t.Context(), binary, "explain", "--connect", "-c", config, to).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("explain %s: %v, without %q:\n%s", to, err, want, out)
		}
	}
	p.stop()
}

// keyDigest is what a TLSA record 3 1 1 has.
func keyDigest(t *testing.T, c tls.Certificate) [32]byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
}

// sign writes a signed zone to a directory, and returns the DS record of its key.
func sign(t *testing.T, dir, name, text string) (ds string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), tool(t, program, "ldnsutils"), args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	key := run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name)
	run("ldns-signzone", "-f", name+".signed", name, key)
	record, err := os.ReadFile(filepath.Join(dir, key+".ds"))
	if err != nil {
		t.Fatal(err)
	}
	return string(record)
}

// startUnbound starts a validating resolver that knows these zones and nobody else.
func startUnbound(t *testing.T, unbound, dir, anchors string, zones ...string) (address string) {
	t.Helper()
	address = freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`server:
  interface: 127.0.0.1@%s
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  pidfile: "%s/pid"
  directory: "%s"
  do-not-query-localhost: no
  trust-anchor-file: "%s/anchors"
  root-hints: "%s/root"
remote-control:
  control-enable: no
`, port, dir, dir, dir, dir)
	for _, zone := range zones {
		text += fmt.Sprintf("auth-zone:\n  name: %q\n  zonefile: \"%s/%s.signed\"\n  for-upstream: yes\n  for-downstream: no\n", zone, dir, zone)
	}
	for name, content := range map[string]string{
		"unbound.conf": text, "anchors": anchors,
		"root": ". 3600 NS root.invalid.\nroot.invalid. 3600 A 127.0.0.1\n", // nobody is there
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	runBackground(t, unbound, "-d", "-c", filepath.Join(dir, "unbound.conf"))
	waitFor(t, "unbound to listen", func() bool { return listens(address) })
	return address
}
