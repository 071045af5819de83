package smtpserver

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// steps is a mechanism that sends each of its challenges and wants the
// response after it. The last challenge may come with the end.
type steps struct {
	challenges, wants []string
	lastWithEnd       bool
	failure           error
	started           bool
}

func (m *steps) Next(response []byte) ([]byte, bool, error) {
	if response == nil && !m.started || len(m.wants) == 0 {
		m.started = true
	} else {
		m.started = true
		if string(response) != m.wants[0] {
			return nil, false, gosmtp.ErrAuthFailed
		}
		m.wants = m.wants[1:]
	}
	if len(m.challenges) == 0 {
		return nil, m.failure == nil, m.failure
	}
	c := m.challenges[0]
	m.challenges = m.challenges[1:]
	return []byte(c), m.lastWithEnd && len(m.challenges) == 0, nil
}

func plain() sasl.Server {
	return sasl.NewPlainServer(func(identity, user, password string) error {
		if user == "u" && password == "p" {
			return nil
		}
		return gosmtp.ErrAuthFailed
	})
}

func mechanisms() map[string]func() sasl.Server {
	return map[string]func() sasl.Server{
		"PLAIN":  plain,
		"TWO":    func() sasl.Server { return &steps{challenges: []string{"one", ""}, wants: []string{"1", ""}} },
		"FINAL":  func() sasl.Server { return &steps{challenges: []string{"v=proof"}, lastWithEnd: true} },
		"BROKEN": func() sasl.Server { return &steps{failure: errors.New("open /etc/secret: no")} },
		"STRICT": func() sasl.Server { return &steps{failure: sasl.ErrUnexpectedClientResponse} },
		"BIG": func() sasl.Server {
			return &steps{challenges: []string{"big"}, wants: []string{strings.Repeat("x", 9216)}}
		},
	}
}

func withAuth(o *Options) { o.Auth, o.AuthInClear = AuthOptional, true }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// RFC 4954 §4 and §6: each row is a session after EHLO.
func TestAuth(t *testing.T) {
	good := "AUTH PLAIN " + b64("\x00u\x00p") + "\r\n"
	for _, tc := range []struct {
		name, send string
		want       []string
	}{
		{"initial response", good, []string{"235 2.7.0"}},
		{"lower case", "auth plain " + b64("\x00u\x00p") + "\r\n", []string{"235 2.7.0"}},
		{"without initial response", "AUTH PLAIN\r\n" + b64("\x00u\x00p") + "\r\n", []string{"334 ", "235 2.7.0"}},
		{"4954-6-a wrong password", "AUTH PLAIN " + b64("\x00u\x00q") + "\r\nNOOP\r\n", []string{"535 5.7.8", "250"}},
		{"two challenges", "AUTH TWO\r\n" + b64("1") + "\r\n\r\n", []string{"334 b25l", "334 ", "235"}},
		{"4954-4-f empty initial response", "AUTH TWO =\r\nNOOP\r\n", []string{"535", "250"}},
		{"challenge with the end", "AUTH FINAL\r\n\r\nNOOP\r\n", []string{"334 " + b64("v=proof"), "235", "250"}},
		{"4954-4-d A-04 cancelled", "AUTH PLAIN\r\n*\r\nNOOP\r\n", []string{"334", "501 5.7.0", "250"}},
		{"4954-4-e A-04 bad base64", "AUTH PLAIN ====\r\nAUTH PLAIN\r\n!\r\nAUTH PLAIN a\r\nNOOP\r\n", []string{"501 5.5.2", "334", "501 5.5.2", "501 5.5.2", "250"}},
		{"4954-6-a A-04 mechanism unknown", "AUTH FOO\r\nAUTH\r\n", []string{"504 5.5.4", "501 5.5.4"}},
		{"4954-4-a A-06 twice", good + good + "EHLO again.example\r\n" + good, []string{"235", "503 5.5.1", "250-", "503 5.5.1"}},
		{"4954-4-a A-06 in a transaction", "MAIL FROM:<s@a.example>\r\n" + good, []string{"250", "503 5.5.1"}},
		{"4954-4-a after HELO", "HELO x\r\n" + good, []string{"250 ", "503 5.5.1"}},
		{"4954-6-a our fault", "AUTH BROKEN\r\nNOOP\r\n", []string{"454 4.7.0 Temporary", "250"}},
		{"unexpected response", "AUTH STRICT\r\nNOOP\r\n", []string{"501 5.5.2", "250"}},
		{"4954-4-c A-05 longest line", "AUTH BIG\r\n" + b64(strings.Repeat("x", 9216)) + "\r\nNOOP\r\n", []string{"334", "235", "250"}},
		{"4954-4-c A-05 line too long", "AUTH BIG\r\n" + strings.Repeat("x", 12289) + "\r\nNOOP\r\n", []string{"334", "500 5.5.6", "250"}},
		{"line end", "AUTH PLAIN\r\nAA==\nNOOP\r\n", []string{"334", "500 5.5.2", "250"}},
		{"4954-5-a mail auth", "MAIL FROM:<s@a.example> AUTH=<>\r\nRSET\r\nMAIL FROM:<s@a.example> AUTH=e+3Dmc2@example.com\r\n", []string{"250", "250", "250"}},
		{"I-04 mail auth with a line end in it", "MAIL FROM:<s@a.example> AUTH=a+0D+0Ab@x\r\nMAIL FROM:<s@a.example> AUTH=a\r\nMAIL FROM:<s@a.example> AUTH=\r\n",
			[]string{"501 5.5.4", "501 5.5.4", "501 5.5.4"}},
		{"A-02 failures", strings.Repeat("AUTH PLAIN "+b64("\x00u\x00q")+"\r\n", 5), []string{"535", "535", "535", "535", "535", "421 4.7.0", "closed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, address := start(t, &memory{mechanisms: mechanisms()}, withAuth)
			c := dial(t, address).ready()
			c.say(tc.send)
			c.expect(tc.want...)
		})
	}
}

// nothing is carried over.
//
// An exchange that was cancelled leaves nothing to the next one.
func TestAuthStartsAnew(t *testing.T) {
	_, address := start(t, &memory{mechanisms: mechanisms()}, withAuth)
	c := dial(t, address).ready()
	for range 19 {
		c.say("AUTH TWO\r\n" + b64("1") + "\r\n*\r\n")
		c.expect("334 b25l", "334", "501 5.7.0")
	}
	c.say("AUTH PLAIN " + b64("\x00u\x00p") + "\r\n")
	c.expect("235")
}

func TestAuthOffered(t *testing.T) {
	for _, tc := range []struct {
		name         string
		auth         AuthMode
		inClear, tls bool
		want         string // of AUTH
	}{
		{"none", AuthNone, true, true, "502 5.5.1"},
		{"4954-4-b 8314-4.2-a A-01 in clear", AuthOptional, false, false, "538 5.7.11"},
		{"in clear, allowed", AuthOptional, true, false, "235"},
		{"under TLS", AuthOptional, false, true, "235"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secure := withTLS(t, TLSOffered)
			_, address := start(t, &memory{mechanisms: mechanisms()}, func(o *Options) {
				secure(o)
				o.Auth, o.AuthInClear = tc.auth, tc.inClear
			})
			c := dial(t, address).ready()
			if tc.tls {
				c.say("STARTTLS\r\n")
				c.expect("220")
				c.secure()
			}
			c.say("EHLO c.example\r\n")
			if got, offered := c.reply(), tc.want == "235"; strings.Contains(got, "|250-AUTH BIG BROKEN") != offered && strings.Contains(got, "|250 AUTH BIG BROKEN") != offered {
				t.Errorf("EHLO: %s", got)
			}
			c.say("AUTH PLAIN " + b64("\x00u\x00p") + "\r\n")
			c.expect(tc.want)
			if tc.want != "235" {
				c.say("MAIL FROM:<s@a.example> AUTH=<>\r\n")
				c.expect("555 5.5.4")
			}
		})
	}
}

// 4954-6-a 6409-4.3-a: 530 to whoever has not logged in.
func TestAuthRequired(t *testing.T) {
	secure := withTLS(t, TLSOffered)
	_, address := start(t, &memory{mechanisms: mechanisms()}, func(o *Options) {
		secure(o)
		o.Auth = AuthRequired
	})
	c := dial(t, address).ready()
	c.say("MAIL FROM:<s@a.example>\r\nVRFY x\r\nNOOP\r\nSTARTTLS\r\n")
	c.expect("530 5.7.0", "530 5.7.0", "250", "220")
	c.secure()
	c.say("EHLO c.example\r\nMAIL FROM:<s@a.example>\r\nAUTH PLAIN " + b64("\x00u\x00p") + "\r\n" + envelope + "RSET\r\nEHLO other.example\r\n" + envelope)
	c.expect("250-", "530 5.7.0", "235", "250", "250", "250", "250-", "250", "250")
}

// 3207-a O-18: AUTH in clear counts for nothing under TLS.
//
// TLS takes everything back that was known before (RFC 3207 §4.2).
func TestStartTLSForgetsAuth(t *testing.T) {
	secure := withTLS(t, TLSOffered)
	_, address := start(t, &memory{mechanisms: mechanisms()}, func(o *Options) {
		secure(o)
		o.Auth, o.AuthInClear = AuthRequired, true
	})
	c := dial(t, address).ready()
	c.say("AUTH PLAIN " + b64("\x00u\x00p") + "\r\nSTARTTLS\r\n")
	c.expect("235", "220")
	c.secure()
	c.say("EHLO c.example\r\nMAIL FROM:<s@a.example>\r\n")
	c.expect("250-", "530 5.7.0")
}

// What binds an exchange to the TLS session is the same on both sides.
func TestChannelBindingData(t *testing.T) {
	m := &memory{mechanisms: mechanisms()}
	secure := withTLS(t, TLSImplicit)
	_, address := start(t, m, secure)
	c := dial(t, address).secure().ready()
	theirs := c.Conn.(*tls.Conn).ConnectionState()
	m.mu.Lock()
	conn := m.conn.(AuthenticatingConn)
	m.mu.Unlock()
	ours, _ := conn.TLSConnectionState()
	const label = "EXPORTER-Channel-Binding"
	a, errA := ours.ExportKeyingMaterial(label, nil, 32)
	b, errB := theirs.ExportKeyingMaterial(label, nil, 32)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("exported %x, %v and %x, %v", a, errA, b, errB)
	}
	if !bytes.Equal(conn.ServerCertificate(), theirs.PeerCertificates[0].Raw) {
		t.Error("the certificate is not the one that was presented")
	}
}
