package smtpserver

import (
	"net/netip"
	"strings"
	"testing"
)

func withXClient(o *Options) {
	o.XClientFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}

// Each row is what a trusted host says before EHLO, and for whom the session is
// then held: address, name, login.
func TestXClient(t *testing.T) {
	for _, tc := range []struct{ name, send, client, clientName, login string }{
		{"address", "XCLIENT ADDR=192.0.2.1 PORT=99", "192.0.2.1:99", "", ""},
		{"IPv6", "XCLIENT ADDR=IPV6:2001:db8::1 PORT=99", "[2001:db8::1]:99", "", ""},
		{"lower case", "xclient addr=ipv6:2001:db8::1 port=99", "[2001:db8::1]:99", "", ""},
		{"name and login", "XCLIENT NAME=mail.example LOGIN=a+20b ADDR=192.0.2.1 PORT=1 DESTADDR=192.0.2.2 DESTPORT=25 REVERSE_NAME=x.example", "192.0.2.1:1", "mail.example", "a b"},
		{"unavailable", "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE]", "192.0.2.1:0", "", ""},
		{"no address", "XCLIENT ADDR=[UNAVAILABLE] PORT=1", ":1", "", ""},
		{"twice", "XCLIENT ADDR=192.0.2.1 LOGIN=u\r\nXCLIENT PORT=5", "192.0.2.1:5", "", "u"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &memory{}
			_, address := start(t, m, withXClient)
			c := dial(t, address).ready()
			c.say(tc.send + "\r\n")
			for range strings.Count(tc.send, "\r\n") + 1 {
				c.expect("220 relay.example ESMTP")
			}
			c.say("MAIL FROM:<s@a.example>\r\nEHLO c.example\r\n" + envelope)
			c.expect("503 5.5.1", "250-", "250", "250")
			if got := m.remote(); got != tc.client {
				t.Errorf("client %s, want %s", got, tc.client)
			}
			conn := m.conn.(IntroducedConn)
			if conn.ClientName() != tc.clientName || conn.Login() != tc.login {
				t.Errorf("name %q, login %q", conn.ClientName(), conn.Login())
			}
		})
	}
}

func TestXClientReplies(t *testing.T) {
	for _, tc := range []struct {
		name, send string
		want       []string
	}{
		{"hello", "XCLIENT HELO=x.example PROTO=SMTP\r\nMAIL FROM:<s@a.example> SIZE=1\r\n", []string{"220", "555 5.5.4"}},
		{"hello, extended", "XCLIENT HELO=x.example\r\nMAIL FROM:<s@a.example> SIZE=1\r\n", []string{"220", "250"}},
		{"nothing", "XCLIENT\r\n", []string{"501 5.5.4"}},
		{"bad", "XCLIENT FOO=1\r\nXCLIENT ADDR=x\r\nXCLIENT ADDR\r\nXCLIENT PORT=65536\r\nXCLIENT HELO=a+0D+0Ab\r\nXCLIENT NAME=a+28b\r\nXCLIENT PROTO=LMTP\r\nXCLIENT ADDR=+0\r\nXCLIENT LOGIN=a+0Ab\r\n",
			[]string{"501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4"}},
		{"in a transaction", envelope + "XCLIENT ADDR=192.0.2.1\r\n", []string{"250", "250", "503 5.5.1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, address := start(t, &memory{}, withXClient)
			c := dial(t, address)
			c.expect("220")
			c.say("EHLO c.example\r\n")
			if got := c.reply(); !strings.Contains(got, "|250-XCLIENT NAME ADDR PORT ") {
				t.Errorf("EHLO: %s", got)
			}
			c.say(tc.send)
			c.expect(tc.want...)
		})
	}
}

// I-15: XCLIENT from those who may not.
//
// Whoever is not listed is told so, and the word is not offered.
func TestXClientFromStrangers(t *testing.T) {
	m := &memory{}
	_, address := start(t, m, func(o *Options) { o.XClientFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	c := dial(t, address)
	c.expect("220")
	c.say("EHLO c.example\r\n")
	if got := c.reply(); strings.Contains(got, "XCLIENT") {
		t.Errorf("EHLO: %s", got)
	}
	c.say("XCLIENT ADDR=192.0.2.1\r\nNOOP\r\n")
	c.expect("550 5.7.1", "250")
	if got := m.remote(); got != c.LocalAddr().String() {
		t.Errorf("client %s", got)
	}
}

// What was said in clear is not believed under TLS.
func TestStartTLSForgetsXClient(t *testing.T) {
	m := &memory{}
	secure := withTLS(t, TLSOffered)
	_, address := start(t, m, func(o *Options) {
		secure(o)
		withXClient(o)
	})
	c := dial(t, address).ready()
	c.say("XCLIENT ADDR=192.0.2.1 LOGIN=u\r\nEHLO c.example\r\n")
	c.expect("220", "250-")
	c.say("STARTTLS\r\n")
	c.expect("220 2.0.0")
	c.secure().say("EHLO c.example\r\n")
	c.expect("250-")
	if got := m.remote(); got != c.LocalAddr().String() || m.conn.(IntroducedConn).Login() != "" {
		t.Errorf("client %s, login %q", got, m.conn.(IntroducedConn).Login())
	}
}
