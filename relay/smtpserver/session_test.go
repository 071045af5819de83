package smtpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// Each row is one connection after EHLO: what is sent, and how each reply
// begins.
func TestCommands(t *testing.T) {
	long := strings.Repeat("x", 4096)
	mail := "MAIL FROM:<s@a.example>\r\n"
	for _, tc := range []struct {
		name, send string
		want       []string
	}{
		{"noop", "NOOP ignored\r\n", []string{"250 2.0.0 "}},
		{"lower case", "mail from:<s@a.example>\r\nrcpt to:<r@ok.example>\r\n", []string{"250 2.1.0", "250 2.1.5"}},
		{"blank after colon", "MAIL FROM: <s@a.example>\r\n", []string{"250 2.1.0"}},
		{"null sender", "MAIL FROM:<>\r\n", []string{"250 2.1.0"}},
		{"trailing blanks", "RSET  \r\n", []string{"250 2.0.0"}},
		{"postmaster", mail + "RCPT TO:<postmaster>\r\nRCPT TO:<PostMaster>\r\n", []string{"250", "250 2.1.5", "250 2.1.5"}},
		{"sender postmaster", "MAIL FROM:<postmaster>\r\n", []string{"501 5.1.7"}},
		{"source route", mail + "RCPT TO:<@x.example:r@ok.example>\r\n", []string{"250", "250 2.1.5"}},
		{"parameters", "MAIL FROM:<s@a.example> SIZE=10 BODY=8bitmime RET=hdrs ENVID=a+2Bb SMTPUTF8\r\n" +
			"RCPT TO:<r@ok.example> NOTIFY=success,FAILURE ORCPT=rfc822;r+40x\r\n", []string{"250", "250"}},
		{"utf8", "MAIL FROM:<gr\u00e5@a.example> SMTPUTF8\r\nRCPT TO:<r@gr\u00e5.example>\r\n", []string{"250", "250"}},
		{"orcpt in utf-8", "MAIL FROM:<s@a.example> SMTPUTF8\r\nRCPT TO:<r@b.example> ORCPT=rfc822;+CE+B4@b.example\r\n" +
			"RCPT TO:<r@b.example> ORCPT=utf-8;\u03b4@b.example\r\nRCPT TO:<r@b.example> ORCPT=rfc822;+CE\r\n", []string{"250", "250", "250", "501 5.5.4"}},
		{"orcpt in utf-8 without smtputf8", mail + "RCPT TO:<r@b.example> ORCPT=rfc822;+CE+B4@b.example\r\n", []string{"250", "501 5.5.4"}},
		{"vrfy", "VRFY postmaster\r\nVRFY\r\n", []string{"252 2", "501 5.5.4"}},
		{"help", "HELP\r\n", []string{"214-2.0.0"}},
		{"quit", "QUIT\r\n", []string{"221 2.0.0 relay.example", "closed"}},

		{"unknown", "FOO bar\r\n\r\n", []string{"500 5.5.1", "500 5.5.1"}},
		{"known and not there", "EXPN list\r\nTURN\r\nETRN x\r\nSEND FROM:<a@b>\r\nAUTH PLAIN\r\n", []string{"502 5.5.1", "502 5.5.1", "502 5.5.1", "502 5.5.1", "502 5.5.1"}},
		{"starttls where there is none", "STARTTLS\r\nSTARTTLS x\r\n", []string{"502 5.5.1", "502 5.5.1"}},
		{"parameters where there are none", "RSET x\r\nQUIT x\r\n", []string{"501 5.5.4", "501 5.5.4"}},
		{"rcpt first", "RCPT TO:<r@ok.example>\r\nDATA\r\n", []string{"503 5.5.1", "503 5.5.1"}},
		{"nested mail", mail + mail, []string{"250", "503 5.5.1"}},
		{"no recipients", mail + "DATA\r\n", []string{"250", "503 5.5.1"}},
		{"all recipients refused", mail + "RCPT TO:<no@ok.example>\r\nDATA\r\n", []string{"250", "550 5.1.1", "503 5.5.1"}},
		{"after rset", envelope + "RSET\r\nDATA\r\n", []string{"250", "250", "250", "503 5.5.1"}},
		{"after ehlo", envelope + "EHLO again.example\r\nDATA\r\n", []string{"250", "250", "250-relay.example", "503 5.5.1"}},
		{"empty rcpt", mail + "RCPT TO:<>\r\n", []string{"250", "501 5.1.3"}},
		{"no bracket", "MAIL FROM:s@a.example\r\n", []string{"501 5.1.7"}},
		{"no colon", "MAIL <s@a.example>\r\n", []string{"501 5.5.4"}},
		{"two paths", mail + "RCPT TO:<v@ok.example> <w@evil.test>\r\n", []string{"250", "501 5.5.4"}},
		{"text behind the path", mail + "RCPT TO:<v@ok.example>x\r\n", []string{"250", "501 5.5.4"}},
		{"bad domain", mail + "RCPT TO:<v@127.0.0.1>\r\n", []string{"250", "501 5.1.2"}},
		{"bad sender domain", "MAIL FROM:<s@a_b.example>\r\n", []string{"501 5.1.8"}},
		{"8 bit without smtputf8", "MAIL FROM:<gr\u00e5@a.example>\r\n" + mail + "RCPT TO:<gr\u00e5@ok.example>\r\n", []string{"553 5.6.7", "250", "553 5.6.7"}},
		{"unknown parameter", "MAIL FROM:<s@a.example> FOO=1\r\nMAIL FROM:<s@a.example> AUTH=<>\r\n", []string{"555 5.5.4", "555 5.5.4"}},
		{"dsn parameters on the wrong command", "MAIL FROM:<s@a.example> NOTIFY=NEVER\r\n", []string{"555 5.5.4"}},
		{"size limit", "MAIL FROM:<s@a.example> SIZE=1048576\r\nRSET\r\nMAIL FROM:<s@a.example> SIZE=1048577\r\n" +
			"MAIL FROM:<s@a.example> SIZE=99999999999999999999\r\nMAIL FROM:<s@a.example> SIZE=4294967296\r\n", []string{"250", "250", "552 5.3.4", "552 5.3.4", "552 5.3.4"}},
		{"bad sizes", "MAIL FROM:<s@a.example> SIZE=111111111111111111111\r\nMAIL FROM:<s@a.example> SIZE=-1\r\nMAIL FROM:<s@a.example> SIZE=\r\n" +
			"MAIL FROM:<s@a.example> SIZE\r\nMAIL FROM:<s@a.example> SIZE=1 SIZE=1\r\n", []string{"501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4"}},
		{"bad values", "MAIL FROM:<s@a.example> BODY=9BIT\r\nMAIL FROM:<s@a.example> BODY=BINARYMIME\r\nMAIL FROM:<s@a.example> RET=ALL\r\nMAIL FROM:<s@a.example> SMTPUTF8=1\r\n" +
			"MAIL FROM:<s@a.example> ENVID=+0D+0Ax\r\nMAIL FROM:<s@a.example> ENVID=" + strings.Repeat("x", 101) + "\r\n",
			[]string{"501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4"}},
		{"bad orcpt", mail + "RCPT TO:<r@ok.example> ORCPT=rfc822;a+0D+0ABcc:+20v@x\r\nRCPT TO:<r@ok.example> ORCPT=rfc822;+0a\r\nRCPT TO:<r@ok.example> ORCPT=x\r\n" +
			"RCPT TO:<r@ok.example> ORCPT=rfc822;" + strings.Repeat("x", 500) + "\r\nRCPT TO:<r@ok.example> NOTIFY=NEVER,DELAY\r\n",
			[]string{"250", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4"}},
		{"line too long, session lives", "NOOP " + long + "\r\nNOOP\r\n", []string{"500 5.5.2", "250"}},
		{"longest line", "NOOP " + long[:4096-7] + "\r\nNOOP\r\n", []string{"250", "250"}},
		{"bare LF", "MAIL FROM:<a@b.example>\nRSET\r\n", []string{"500 5.5.2", "250"}},
		{"bare CR", "MAIL FROM:<a\rX@b.example>\r\nRSET\r\n", []string{"500 5.5.2", "250"}},
		{"control characters", "NOOP \x00\r\nNOOP \x1b\r\nNOOP \x7f\r\n", []string{"500 5.5.2", "500 5.5.2", "500 5.5.2"}},
		{"bad names", "EHLO\r\nEHLO a) by evil.test (x\r\nEHLO [1.2.3\r\nEHLO [IPv6:zz]\r\nEHLO " + strings.Repeat("x", 256) + "\r\nEHLO gr\u00e5\r\nNOOP\r\n",
			[]string{"501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "501 5.5.4", "250"}},
		{"odd names", "EHLO my_host\r\nEHLO [127.0.0.1]\r\nEHLO [IPv6:::1]\r\nEHLO 10.0.0.1\r\nHELO x\r\n", []string{"250-", "250-", "250-", "250-", "250 relay.example"}},
		{"parameters after helo", "HELO x\r\nMAIL FROM:<s@a.example> SIZE=1\r\n", []string{"250 relay.example", "555 5.5.4"}},
		{"TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []string{"500 5.5.2", "closed"}},
		{"small chunks", envelope + strings.Repeat("BDAT 1\r\nx", 1001), append(append([]string{"250", "250"}, slices.Repeat([]string{"250 2.0.0 1 octets"}, 1000)...), "421 4.7.0", "closed")},
		{"http", "GET / HTTP/1.1\r\nHost: x\r\n", []string{"554 5.5.1", "closed"}},
		{"http post", "POST /x HTTP/1.1\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n", []string{"554 5.5.1", "closed"}},

		{"bdat", envelope + "BDAT 5\r\nHelloBDAT 0\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n", []string{"250", "250", "250 2.0.0", "250 2.0.0", "250 2.0.0 OK", "250 2.0.0"}},
		{"bdat without mail", "BDAT 9 LAST\r\nMAIL FROMNOOP\r\n", []string{"503 5.5.1", "250"}},
		{"bdat without recipients", mail + "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", []string{"250", "503 5.5.1", "250"}},
		{"bdat after last", envelope + "BDAT 2 LAST\r\n\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n", []string{"250", "250", "250", "503 5.5.1", "250"}},
		{"data after bdat", envelope + "BDAT 2\r\nhiDATA\r\nRCPT TO:<x@ok.example>\r\nRSET\r\nNOOP\r\n", []string{"250", "250", "250", "503 5.5.1", "503 5.5.1", "250", "250"}},
		{"mail during bdat", envelope + "BDAT 2\r\nhi" + mail, []string{"250", "250", "250", "503 5.5.1"}},
		{"bdat negative", envelope + "BDAT -1\r\nNOOP\r\n", []string{"250", "250", "501 5.5.4", "closed"}},
		{"bdat hexadecimal", envelope + "BDAT 0x10\r\nNOOP\r\n", []string{"250", "250", "501 5.5.4", "closed"}},
		{"bdat two sizes", envelope + "BDAT 1 2\r\nNOOP\r\n", []string{"250", "250", "501 5.5.4", "closed"}},
		{"bdat second word", envelope + "BDAT 5 FOO\r\n12345", []string{"250", "250", "501 5.5.4", "closed"}},
		{"bdat 33 bits", envelope + "BDAT 4294967296 LAST\r\n", []string{"250", "250", "552 5.3.4", "closed"}},
		{"bdat 67 bits", envelope + "BDAT 99999999999999999999 LAST\r\n", []string{"250", "250", "501 5.5.4", "closed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, address := start(t, &memory{}, nil)
			c := dial(t, address).ready()
			c.say(tc.send)
			c.expect(tc.want...)
		})
	}
}

func TestKeywords(t *testing.T) {
	_, address := start(t, &memory{}, nil)
	c := dial(t, address)
	c.expect("220 relay.example ESMTP")
	c.say("EHLO c.example\r\n")
	if got, want := c.reply(), "250-relay.example|250-PIPELINING|250-SIZE 1048576|250-8BITMIME|250-SMTPUTF8|250-DSN|250-CHUNKING|250-ENHANCEDSTATUSCODES|250-VRFY|250 HELP"; got != want {
		t.Errorf("EHLO: %s, want %s", got, want)
	}
}

func TestBeforeHello(t *testing.T) {
	_, address := start(t, &memory{}, nil)
	c := dial(t, address)
	c.expect("220")
	c.say("MAIL FROM:<s@a.example>\r\nNOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nDATA\r\nQUIT\r\n")
	c.expect("503 5.5.1", "250", "250", "252", "214", "503 5.5.1", "221", "closed")
}

// The options reach the backend, ORCPT as it was written.
func TestBackendIsTold(t *testing.T) {
	m := &memory{}
	_, address := start(t, m, nil)
	c := dial(t, address).ready()
	c.say("MAIL FROM:<\"a b\"@x.example> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\n" +
		"RCPT TO:<\"q@evil> NOTIFY=NEVER\"@ok.example> ORCPT=rfc822;+41b\r\nDATA\r\nx\r\n.\r\n")
	c.expect("250", "250", "354", "250")
	got := m.all()[0]
	if got.from != "a b@x.example" || got.to[0] != "q@evil> NOTIFY=NEVER@ok.example" || got.orcpt[0] != "rfc822;+41b" || got.content != "x\r\n" {
		t.Errorf("backend got %+v", got)
	}
	if o := got.mail; o.Size != 10 || o.Body != gosmtp.Body8BitMIME || !o.UTF8 || o.Return != gosmtp.DSNReturnHeaders || o.EnvelopeID != "a+b" {
		t.Errorf("options: %+v", o)
	}
}

// A fault of ours is temporary and tells the client nothing; what the backend
// says in the protocol's words goes through.
func TestDataErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    *memory
		want string
	}{
		{"unknown error", &memory{dataError: errors.New("open /secret/path: no")}, "451 4.3.0 Local error, try again later"},
		{"reply", &memory{dataError: &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 4, 6}, Message: "Loop"}}, "554 5.4.6 Loop"},
		{"success with words", &memory{dataError: &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "queued as X"}}, "250 2.0.0 queued as X"},
		{"mismatched code", &memory{dataError: &gosmtp.SMTPError{Code: 450, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "Later"}}, "450 4.0.0 Later"},
		{"refused before it is read", &memory{early: &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 3, 1}, Message: "Full"}}, "452 4.3.1 Full"},
	} {
		for _, how := range []string{"DATA\r\n" + strings.Repeat("0123456789\r\n", 20000) + ".\r\n", "BDAT 4\r\nab\r\nBDAT 4 LAST\r\ncd\r\n"} {
			t.Run(tc.name+" "+how[:4], func(t *testing.T) {
				_, address := start(t, tc.m, nil)
				c := dial(t, address).ready()
				c.say(envelope)
				c.expect("250", "250")
				go c.Write([]byte(how))
				first := c.reply() // 354, or the reply to the first chunk
				if !strings.HasPrefix(first, "354") && !strings.HasPrefix(first, "250") && first != tc.want {
					t.Fatalf("first reply %q", first)
				}
				c.expect(tc.want)
				c.say("NOOP\r\n")
				c.expect("250 2.0.0 OK")
			})
		}
	}
}

// L-10: one session, and the others go on.
func TestPanicEndsOneSession(t *testing.T) {
	_, address := start(t, &memory{panics: true}, nil)
	other := dial(t, address).ready()
	c := dial(t, address).inData()
	c.say("x\r\n.\r\n")
	c.expect("421 4.3.0", "closed")
	other.say("NOOP\r\n")
	other.expect("250")
}

// 1870-a 1870-d: what counts is what comes.
func TestTooMuchContent(t *testing.T) {
	limit := int64(1 << 20)
	line := strings.Repeat("x", 62) + "\r\n"
	for _, tc := range []struct {
		name string
		size int64
		want string
	}{{"limit", limit, "250 2.0.0"}, {"one more line", limit + 64, "552 5.3.4"}, {"twice", 2 * limit, "552 5.3.4"}} {
		t.Run(tc.name, func(t *testing.T) {
			m := &memory{}
			_, address := start(t, m, nil)
			c := dial(t, address).inData()
			c.say(strings.Repeat(line, int(tc.size/64)) + ".\r\nNOOP\r\n")
			c.expect(tc.want, "250 2.0.0 OK")
			c.say(fmt.Sprintf("%sBDAT %d LAST\r\n%sNOOP\r\n", envelope, tc.size, strings.Repeat(line, int(tc.size/64))))
			c.expect("250", "250", tc.want, "250 2.0.0 OK")
		})
	}
}

// 5321-7.8-a Q-02 Q-11 Q-12: who leads nowhere is sent away.
func TestTooManyErrors(t *testing.T) {
	for _, tc := range []struct {
		name, send, each string
		n                int
	}{
		{"unknown commands", "FOO\r\n", "500 5.5.1", 20},
		{"nothing but RSET", "RSET\r\n", "250", 99}, // EHLO counts, too
		{"refused recipients", "RCPT TO:<no@ok.example>\r\n", "550", 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, address := start(t, &memory{}, nil)
			c := dial(t, address).ready()
			if tc.n == 100 {
				c.say("MAIL FROM:<s@a.example>\r\n")
				c.expect("250")
			}
			for range tc.n {
				c.say(tc.send)
				c.expect(tc.each)
			}
			c.say(tc.send)
			c.expect(tc.each, "421 4.7.0", "closed")
		})
	}
}

// a line without end.
func TestEndlessLine(t *testing.T) {
	_, address := start(t, &memory{}, nil)
	c := dial(t, address).ready()
	go c.Write([]byte(strings.Repeat("x", 1<<20)))
	if got := c.reply(); got != "closed" && !strings.HasPrefix(got, "421 4.7.0") {
		t.Errorf("reply %q", got)
	}
}

// so many at once, and so many from one address.
func TestConnectionLimits(t *testing.T) {
	_, address := start(t, &memory{}, func(o *Options) { o.Connections = NewConnections(ConnectionLimits{Total: 10, PerAddress: 2}) })
	a := dial(t, address).ready()
	dial(t, address).ready()
	dial(t, address).expect("421 4.7.0", "closed")
	a.say("QUIT\r\n")
	a.expect("221", "closed")
	// The place is free once the server has seen the end, which the client
	// cannot tell: ask until it is.
	for {
		if c := dial(t, address); strings.HasPrefix(c.reply(), "220") {
			break
		}
	}
}

// S-19: 421 and the end.
//
// A client that stops in the middle of a body is cut off, and nothing that it
// sends afterwards is a command.
func TestSilenceInTheBody(t *testing.T) {
	m := &memory{}
	_, address := start(t, m, func(o *Options) { o.IdleTimeout = 100 * time.Millisecond })
	c := dial(t, address).inData()
	c.say("Subject: x\r\n\r\nhalf")
	c.expect("421 4.4.2", "closed")
	if len(m.all()) != 0 {
		t.Error("half a message was taken")
	}
}

// a client that says nothing.
func TestIdleClient(t *testing.T) {
	_, address := start(t, &memory{}, func(o *Options) { o.IdleTimeout = 50 * time.Millisecond })
	c := dial(t, address)
	c.expect("220", "421 4.4.2", "closed")
}

// 5321-3.8-b: between commands a client is told at once, and what is on its way
// may arrive.
func TestShutdown(t *testing.T) {
	m := &memory{started: make(chan struct{}, 1), mechanisms: mechanisms()}
	s, address := start(t, m, withAuth)
	idle := dial(t, address).ready()
	open := dial(t, address).ready()
	open.say(envelope)
	open.expect("250", "250")
	login := dial(t, address).ready()
	login.say("AUTH PLAIN\r\n")
	login.expect("334")
	busy := dial(t, address).inData()
	<-m.started
	chunked := dial(t, address).ready()
	chunked.say(envelope + "BDAT 1\r\nx")
	chunked.expect("250", "250", "250")
	<-m.started
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	for _, c := range []*client{idle, open, login} {
		c.expect("421 4.3.2", "closed")
		c.Close()
	}
	busy.say("x\r\n.\r\n")
	busy.expect("250", "421 4.3.2", "closed")
	chunked.say("BDAT 1\r\nyBDAT 0 LAST\r\n")
	chunked.expect("250", "250", "421 4.3.2", "closed")
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if len(m.all()) != 2 {
		t.Errorf("%d messages of the two that were on their way", len(m.all()))
	}
}

func TestShutdownIsBounded(t *testing.T) {
	m := &memory{started: make(chan struct{}, 1)}
	s, address := start(t, m, nil)
	busy := dial(t, address).inData()
	<-m.started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	busy.expect("closed")
	if len(m.all()) != 0 {
		t.Error("half a message was taken")
	}
}

func withTLS(t testing.TB, mode TLSMode) func(*Options) {
	cert := certificate(t)
	return func(o *Options) {
		o.TLSMode = mode
		o.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
}

// secure does the client's part of a handshake.
func (c *client) secure() *client {
	c.t.Helper()
	conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.Conn = conn
	c.r.Reset(conn)
	return c
}

// 3207-a T-06 T-07 T-08: once, with no parameter, and nothing of before is left.
func TestStartTLS(t *testing.T) {
	m := &memory{}
	_, address := start(t, m, withTLS(t, TLSOffered))
	c := dial(t, address)
	c.expect("220")
	c.say("STARTTLS\r\nEHLO c.example\r\nSTARTTLS x\r\n")
	c.expect("503 5.5.1")
	if !strings.Contains(c.reply(), "STARTTLS") {
		t.Error("STARTTLS is not offered")
	}
	c.expect("501 5.5.4")
	c.say(envelope)
	c.expect("250", "250")
	c.say("STARTTLS\r\n")
	c.expect("220 2.0.0")
	c.secure()
	c.say("RCPT TO:<r@ok.example>\r\nEHLO c.example\r\n")
	c.expect("503 5.5.1")
	if strings.Contains(c.reply(), "STARTTLS") {
		t.Error("STARTTLS is offered under TLS")
	}
	c.say("STARTTLS\r\nDATA\r\n" + envelope + "DATA\r\nx\r\n.\r\nQUIT\r\n")
	c.expect("503 5.5.1", "503 5.5.1", "250", "250", "354", "250", "221", "closed")
	if len(m.all()) != 1 {
		t.Errorf("%d messages", len(m.all()))
	}
}

// T-01: one segment.
//
// CVE-2011-0411: what came in clear ahead of the handshake is never executed.
func TestStartTLSInjection(t *testing.T) {
	m := &memory{}
	_, address := start(t, m, withTLS(t, TLSOffered))
	c := dial(t, address).ready()
	c.say("STARTTLS\r\nMAIL FROM:<inj@x.example>\r\nRCPT TO:<v@ok.example>\r\n")
	c.expect("421 4.7.0", "closed")
}

// 3207-c T-09: a handshake that fails ends the connection.
func TestFailedHandshakeCloses(t *testing.T) {
	_, address := start(t, &memory{}, withTLS(t, TLSOffered))
	c := dial(t, address).ready()
	c.say("STARTTLS\r\n")
	c.expect("220 2.0.0")
	c.say("NOOP\r\nMAIL FROM:<a@b.example>\r\n")
	// What comes back is an alert or nothing, and then the end.
	var b [512]byte
	for {
		n, err := c.Conn.Read(b[:])
		if err != nil {
			break
		}
		if strings.Contains(string(b[:n]), "250") || strings.Contains(string(b[:n]), "50") {
			t.Errorf("answered in clear: %q", b[:n])
		}
	}
}

// 3207-a: nothing but EHLO, NOOP, STARTTLS and QUIT in clear.
// S-21: a chunk is refused, and what it holds is not run.
func TestRequiredTLS(t *testing.T) {
	_, address := start(t, &memory{}, withTLS(t, TLSRequired))
	c := dial(t, address).ready()
	c.say("BDAT 6 LAST\r\nQUIT\r\n")
	c.expect("530 5.7.0")
	c.say("MAIL FROM:<a@b.example>\r\nRSET\r\nHELO x\r\nNOOP\r\nSTARTTLS\r\n")
	c.expect("530 5.7.0", "530 5.7.0", "530 5.7.0", "250", "220 2.0.0")
	c.secure()
	c.say("EHLO c.example\r\n" + envelope)
	c.expect("250-", "250", "250")
}

// 8314-3.3-a S-26: TLS from the first octet, and no answer to anything else.
func TestImplicitTLS(t *testing.T) {
	_, address := start(t, &memory{}, withTLS(t, TLSImplicit))
	c := dial(t, address).secure().ready()
	c.say(envelope)
	c.expect("250", "250")
	plain := dial(t, address)
	plain.say("EHLO x\r\n")
	if got := plain.reply(); got != "closed" && !strings.HasPrefix(got, "\x15") {
		t.Errorf("plain text on the TLS port: %q", got)
	}
}

// writes counts what is written to a connection at once.
type writes struct {
	net.Conn
	n atomic.Int32
}

func (w *writes) Write(p []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(p)
}

// 2920-3.2-a: in one write, while the rest is read on.
//
// RFC 2920 §3.2: the replies to commands that came together leave together.
func TestRepliesLeaveTogether(t *testing.T) {
	server := New(Options{Hostname: "relay.example", Backend: &memory{}})
	ours, theirs := net.Pipe()
	counted := &writes{Conn: ours}
	go newSession(server, counted, netip.Addr{}).serve()
	t.Cleanup(func() { theirs.Close() })
	c := (&client{t, theirs, bufio.NewReader(theirs)}).ready()
	before := counted.n.Load()
	c.say(envelope + strings.Repeat("RCPT TO:<r@ok.example>\r\n", 20) + "RCPT TO:<no@ok.example>\r\nDATA\r\n")
	c.expect(append(slices.Repeat([]string{"250"}, 22), "550", "354")...)
	if n := counted.n.Load() - before; n != 1 {
		t.Errorf("24 replies left in %d writes", n)
	}
}
