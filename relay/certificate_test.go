package relay

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

// A client is known by its certificate: it may relay where that is configured,
// and log in without a password.
func TestClientCertificates(t *testing.T) {
	var ca *relaytest.CA
	clients := relaytest.NewCA(t)
	other := relaytest.NewCA(t).Leaf("other.example")
	s := start(t, 1, func(c *configs.Config) {
		ca = withCertificate(t, c)
		c.Listeners[0].ClientCA, _ = writePair(t, clients.Authority())
		c.Listeners[0].Auth = configs.AuthOptional
		c.Relay.Networks, c.Relay.Certificates = nil, []string{"app.example"}
		c.Relay.LoginsMayRelay = false
		otherCertificate, otherKey := writePair(t, other)
		c.Certificates = []configs.TLS{{Certificate: otherCertificate, Key: otherKey}}
	})
	for name, code := range map[string]int{"app.example": 250, "guest.example": 550} {
		nc, c := s.dialRaw("127.0.0.3")
		pair := clients.Leaf(name)
		c, secure := s.secure(nc, c, &tls.Config{RootCAs: ca.Pool(), ServerName: "relay.example", Certificates: []tls.Certificate{pair}})
		if got := secure.ConnectionState().PeerCertificates[0].DNSNames[0]; got != "relay.example" {
			t.Errorf("the certificate of %s", got)
		}
		if text := s.cmd(c, 250, "EHLO client.example"); !strings.Contains(text, "AUTH EXTERNAL") {
			t.Errorf("mechanisms in %q", text)
		}
		s.cmd(c, 535, "AUTH EXTERNAL %s", base64.StdEncoding.EncodeToString([]byte("boss.example")))
		s.cmd(c, 235, "AUTH EXTERNAL =")
		s.cmd(c, 250, "MAIL FROM:<s@a.example>")
		s.cmd(c, code, "RCPT TO:<r@b.example>")
	}
	nc, c := s.dialRaw("127.0.0.3")
	c, secure := s.secure(nc, c, &tls.Config{InsecureSkipVerify: true, ServerName: "other.example"})
	if got := secure.ConnectionState().PeerCertificates[0].DNSNames[0]; got != "other.example" {
		t.Errorf("the certificate of %s", got)
	}
	if text := s.cmd(c, 250, "EHLO client.example"); strings.Contains(text, "AUTH") {
		t.Errorf("who has no certificate may log in: %q", text)
	}
	s.cmd(c, 250, "MAIL FROM:<s@a.example>")
	s.cmd(c, 550, "RCPT TO:<r@b.example>")
}

// A host that speaks for others does not lend them its certificate.
func TestCertificateOfAHostThatIntroducesOthers(t *testing.T) {
	var ca *relaytest.CA
	clients := relaytest.NewCA(t)
	s := start(t, 1, func(c *configs.Config) {
		ca = withCertificate(t, c)
		c.Listeners[0].ClientCA, _ = writePair(t, clients.Authority())
		c.Listeners[0].Auth, c.Listeners[0].XClientFrom = configs.AuthOptional, []string{"127.0.0.3"}
		c.Relay.Networks, c.Relay.Certificates = nil, []string{"app.example"}
	})
	nc, c := s.dialRaw("127.0.0.3")
	c, _ = s.secure(nc, c, &tls.Config{RootCAs: ca.Pool(), ServerName: "relay.example", Certificates: []tls.Certificate{clients.Leaf("app.example")}})
	s.cmd(c, 250, "EHLO app.example")
	s.cmd(c, 250, "MAIL FROM:<s@a.example>")
	s.cmd(c, 250, "RCPT TO:<r@b.example>")
	s.cmd(c, 250, "RSET")
	s.cmd(c, 220, "XCLIENT ADDR=192.0.2.1")
	if text := s.cmd(c, 250, "EHLO client.example"); strings.Contains(text, "EXTERNAL") {
		t.Errorf("a client may log in by the certificate of another: %q", text)
	}
	s.cmd(c, 250, "MAIL FROM:<s@a.example>")
	s.cmd(c, 550, "RCPT TO:<r@b.example>")
}
