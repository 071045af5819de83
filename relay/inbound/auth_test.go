package inbound

import (
	"context"
	"encoding/base64"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtpserver"
)

// oneUser lets u log in with p.
type oneUser struct{}

func (oneUser) Mechanisms(smtpserver.Conn) []string { return []string{sasl.Plain} }

func (oneUser) Begin(_ smtpserver.Conn, mechanism string, authenticated func(string)) (sasl.Server, error) {
	if mechanism != sasl.Plain {
		return nil, gosmtp.ErrAuthUnknownMechanism
	}
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "u" || password != "p" {
			return gosmtp.ErrAuthFailed
		}
		authenticated(user)
		return nil
	}), nil
}

// requireLogins has our own engine want a login, for one test.
func requireLogins(t *testing.T) {
	saved := engines["own"]
	t.Cleanup(func() { engines["own"] = saved })
	engines["own"] = func(t testing.TB, b *Backend, ln net.Listener) {
		s := smtpserver.New(smtpserver.Options{Hostname: "relay.example", Backend: b, Auth: smtpserver.AuthRequired, AuthInClear: true})
		go s.Serve(ln)
		t.Cleanup(func() { s.Shutdown(context.Background()) })
	}
}

// The trace says that the client had authenticated (RFC 3848),
// after a second EHLO, too.
func TestAuthenticatedSessionIsTraced(t *testing.T) {
	requireLogins(t)
	b, q := newBackend(t, func(o *Options) { o.Authenticator = oneUser{} }, 0)
	c := dial(t, "own", b, "127.0.0.1")
	c.say("MAIL FROM:<s@a.example>", "530 5.7.0")
	c.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00u\x00p")), "235")
	c.say("EHLO again.example", "250")
	c.say("MAIL FROM:<s@a.example>", "250")
	c.say("RCPT TO:<r@ok.example>", "250")
	if got := content(t, q, c.send("Subject: x", "", "x")); !strings.HasPrefix(got, "Received: from again.example ") || !strings.Contains(got, "with ESMTPA") {
		t.Errorf("trace %q", got)
	}
	c.say("QUIT", "221")
}

// A login lasts over RSET and EHLO, and opens what it opens.
func TestLoginLasts(t *testing.T) {
	requireLogins(t)
	b, _ := newBackend(t, func(o *Options) { o.Authenticator, o.Rules.LoginsMayRelay = oneUser{}, true }, 0)
	c := dial(t, "own", b, "127.0.0.3")
	c.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00u\x00p")), "235")
	for _, command := range []string{"NOOP", "RSET", "EHLO again.example"} {
		c.say(command, "250")
		c.say("MAIL FROM:<s@a.example>", "250")
		c.say("RCPT TO:<v@evil.test>", "250")
		c.say("RSET", "250")
	}
}
