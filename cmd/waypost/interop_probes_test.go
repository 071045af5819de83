//go:build interop

package main_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// O-22: with the tools that attackers use.
//
// TestProbes has the tools that look for faults in mail hosts look at the
// program: TLS by openssl, and nmap's scripts.
func TestProbes(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{
		nextHop: sink.Address(), listeners: []string{offered: "starttls", required: "required", implicit: "implicit"},
		more: tlsTable(t) + "[relay]\nnetworks = ['192.0.2.1']\n",
	}))
	_, port, _ := strings.Cut(p.smtp[offered], ":")
	openssl := func(more ...string) []string {
		return append([]string{"s_client", "-connect", p.smtp[offered], "-starttls", "smtp", "-name", "client.example", "-ign_eof"}, more...)
	}
	nmap := func(port string, script string) []string {
		return []string{"-Pn", "-n", "-p", port, "--script", "+" + script, "127.0.0.1"}
	}
	for _, tc := range []struct {
		name, program, pkg string
		args               []string
		want, never        string
	}{
		{"TLS 1.3", "openssl", "openssl", openssl("-tls1_3"), "250 HELP", "XXX"},
		{"TLS 1.2", "openssl", "openssl", openssl("-tls1_2"), "Protocol  : TLSv1.2", "XXX"},
		{"TLS 1.1", "openssl", "openssl", openssl("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "Cipher is (NONE)", "Protocol  : TLSv1.1 "},
		{"no old ciphers", "openssl", "openssl", openssl("-tls1_2", "-cipher", "3DES:RC4:NULL:EXP:@SECLEVEL=0"), "handshake failure", "250 HELP"},
		{"implicit TLS", "openssl", "openssl", []string{"s_client", "-connect", p.smtp[implicit], "-ign_eof"}, "220 relay.example ESMTP", "XXX"},
		{"commands", "nmap", "nmap", nmap(port, "smtp-commands"), "PIPELINING, SIZE 50000000, 8BITMIME, SMTPUTF8, DSN, CHUNKING, ENHANCEDSTATUSCODES, BINARYMIME, STARTTLS", "XXX"},
		{"open relay", "nmap", "nmap", nmap(port, "smtp-open-relay"), "Server doesn't seem to be an open relay, all tests failed", "Server is an open relay"},
		{"users", "nmap", "nmap", nmap(port, "smtp-enum-users"), "smtp-enum-users", "RCPT, root"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), tool(t, tc.program, tc.pkg), tc.args...)
			cmd.Stdin = strings.NewReader("EHLO client.example\r\nQUIT\r\n")
			out, _ := cmd.CombinedOutput() // what it says is what counts
			if text := string(out); !strings.Contains(text, tc.want) || strings.Contains(text, tc.never) {
				t.Errorf("want %q and not %q in\n%s", tc.want, tc.never, text)
			}
		})
	}
	if n := sink.Count(); n != 0 {
		t.Errorf("%d messages were relayed", n)
	}
	p.waitEmpty()
	p.stop()
}

// TestCiphers has nmap list what listeners take: by default nothing that is weak,
// and in the legacy profile nothing that is broken.
func TestCiphers(t *testing.T) {
	p := start(t, build(t), writeConfig(t, settings{nextHop: "127.0.0.1:9", more: tlsTable(t) +
		"[[listener]]\naddress = '127.0.0.1:0'\ntls = 'implicit'\n[[listener]]\naddress = '127.0.0.1:0'\ntls = 'implicit'\ntls_profile = 'legacy'\n"}))
	for _, tc := range []struct {
		name        string
		listener    int
		want, never string // expressions
	}{
		{"modern", 1, `TLSv1\.2:(?s:.*)TLSv1\.3:(?s:.*)least strength: A`, `TLSv1\.[01]:|SSLv|TLS_RSA_WITH|_DHE_|3DES|RC4|WITH_NULL|anon|EXPORT|MD5`},
		{"legacy", 2, `TLSv1\.0:(?s:.*)TLSv1\.1:(?s:.*)TLSv1\.2:(?s:.*)TLSv1\.3:`, `SSLv|3DES|RC4|WITH_NULL|anon|EXPORT|MD5`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, port, _ := strings.Cut(p.smtp[tc.listener], ":")
			out, err := exec.CommandContext(t.Context(), tool(t, "nmap", "nmap"), "-Pn", "-n", "-p", port, "--script", "+ssl-enum-ciphers", "127.0.0.1").CombinedOutput()
			if err != nil || !regexp.MustCompile(tc.want).Match(out) || regexp.MustCompile(tc.never).Match(out) {
				t.Errorf("%v, want %s and not %s in\n%s", err, tc.want, tc.never, out)
			}
		})
	}
	p.stop()
}
