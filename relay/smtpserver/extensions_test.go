package smtpserver

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

func withAll(o *Options) {
	o.Extensions = Extensions{BinaryMIME: true, RequireTLS: true, DeliverBy: true, Priority: true, HoldMax: time.Hour}
	o.MaxRecipients, o.MaxMessages = 1000, 3
}

// 5321-2.2.2-a 5321-4.1.1.1-c: no more and no less.
//
// What is offered is what the session can have.
func TestKeywordsOfExtensions(t *testing.T) {
	secure := withTLS(t, TLSOffered)
	_, address := start(t, &memory{mechanisms: mechanisms()}, func(o *Options) {
		secure(o)
		withAll(o)
		o.Auth = AuthOptional
	})
	c := dial(t, address)
	c.expect("220")
	c.say("EHLO c.example\r\n")
	const date = `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z`
	want := `^250-relay.example\|250-PIPELINING\|250-SIZE 1048576\|250-8BITMIME\|250-SMTPUTF8\|250-DSN\|250-CHUNKING\|250-ENHANCEDSTATUSCODES\|250-BINARYMIME` +
		`\|250-STARTTLS\|250-DELIVERBY\|250-MT-PRIORITY\|250-FUTURERELEASE 3600 ` + date + `\|250-LIMITS RCPTMAX=1000 MAILMAX=3\|250-VRFY\|250 HELP$`
	if got := c.reply(); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("in clear: %s", got)
	}
	c.say("STARTTLS\r\n")
	c.expect("220")
	c.secure()
	c.say("EHLO c.example\r\n")
	want = strings.Replace(want, `250-STARTTLS\|`, `250-AUTH BIG BROKEN FINAL PLAIN STRICT TWO\|250-REQUIRETLS\|`, 1)
	if got := c.reply(); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("under TLS: %s", got)
	}
	c.say("MAIL FROM:<s@a.example> REQUIRETLS\r\nRSET\r\nMAIL FROM:<s@a.example> REQUIRETLS=1\r\n")
	c.expect("250", "250", "501 5.5.4")
}

// 2852-a 4865-a 6710-a 8689-a 3030-f: the grammar of each.
//
// Each row is one MAIL, with every extension on or none.
func TestMailParameters(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05Z") }
	for _, tc := range []struct{ params, want string }{
		{"BY=120;R", "250"}, {"BY=120;RT", "250"}, {"BY=-120;n", "250"}, {"BY=0;NT", "250"}, {"BY=+999999999;N", "250"},
		{"BY=0;R", "501 5.5.4"}, {"BY=-1;R", "501 5.5.4"}, {"BY=1", "501 5.5.4"}, {"BY=1;X", "501 5.5.4"}, {"BY=1;T", "501 5.5.4"},
		{"BY=1234567890;N", "501 5.5.4"}, {"BY=+-1;N", "501 5.5.4"}, {"BY=;N", "501 5.5.4"}, {"BY=1;RTT", "501 5.5.4"}, {"BY=1;N BY=1;N", "501 5.5.4"}, {"BY", "501 5.5.4"},
		{"MT-PRIORITY=0", "250"}, {"MT-PRIORITY=-9", "250"}, {"MT-PRIORITY=9", "250"},
		{"MT-PRIORITY=10", "501 5.5.4"}, {"MT-PRIORITY=-0", "501 5.5.4"}, {"MT-PRIORITY=+1", "501 5.5.4"}, {"MT-PRIORITY=01", "501 5.5.4"}, {"MT-PRIORITY", "501 5.5.4"},
		{"HOLDFOR=0", "250"}, {"HOLDFOR=3600", "250"}, {"HOLDFOR=3601", "554 5.5.4"}, {"HOLDFOR=1234567890", "501 5.5.4"}, {"HOLDFOR=-1", "501 5.5.4"}, {"HOLDFOR", "501 5.5.4"},
		{"HOLDUNTIL=" + in(time.Minute), "250"}, {"HOLDUNTIL=" + in(2*time.Hour), "554 5.5.4"}, {"HOLDUNTIL=" + in(-time.Hour), "554 5.5.4"},
		{"HOLDUNTIL=2030-13-01T00:00:00Z", "501 5.5.4"}, {"HOLDUNTIL=2030-01-01T00:00:00+01:00", "501 5.5.4"}, {"HOLDUNTIL=tomorrow", "501 5.5.4"},
		{"HOLDFOR=1 HOLDUNTIL=" + in(time.Minute), "501 5.5.4"},
		{"HOLDFOR=120 BY=119;R", "501 5.5.4"}, {"HOLDFOR=120 BY=180;R", "250"}, {"HOLDFOR=120 BY=1;N", "250"},
		{"BODY=BINARYMIME", "250"}, {"REQUIRETLS", "530 5.7.10"},
	} {
		for _, on := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %t", tc.params, on), func(t *testing.T) {
				want := tc.want
				_, address := start(t, &memory{}, func(o *Options) {
					if on {
						withAll(o)
					} else if want = "555 5.5.4"; strings.HasPrefix(tc.params, "BODY") || strings.Contains(tc.params, "N BY") {
						want = "501 5.5.4"
					}
				})
				c := dial(t, address).ready()
				c.say("MAIL FROM:<s@a.example> " + tc.params + "\r\n")
				c.expect(want)
			})
		}
	}
}

// 2852-a: the least time.
//
// A server may say how much time it needs at least (RFC 2852 §4).
func TestLeastTimeToDeliver(t *testing.T) {
	_, address := start(t, &memory{}, func(o *Options) {
		withAll(o)
		o.Extensions.DeliverByMin = time.Minute
	})
	c := dial(t, address)
	c.expect("220")
	c.say("EHLO c.example\r\n")
	if got := c.reply(); !strings.Contains(got, "|250-DELIVERBY 60|") {
		t.Errorf("EHLO: %s", got)
	}
	c.say("MAIL FROM:<s@a.example> BY=59;R\r\nMAIL FROM:<s@a.example> BY=60;R\r\nRSET\r\nMAIL FROM:<s@a.example> BY=59;N\r\n")
	c.expect("555 5.5.4", "250", "250", "250")
}

func TestBackendIsToldOfExtensions(t *testing.T) {
	m := &memory{}
	_, address := start(t, m, withAll)
	c := dial(t, address).ready()
	before := time.Now()
	c.say("MAIL FROM:<s@a.example> BODY=BINARYMIME BY=-30;NT MT-PRIORITY=-3 HOLDFOR=60\r\nRCPT TO:<r@ok.example>\r\n" +
		"DATA\r\nBDAT 5 LAST\r\n\n\x00\r.\n" + envelope + "DATA\r\n.\r\n")
	c.expect("250", "250", "503 5.5.1", "250 2.0.0", "250", "250", "354", "250")
	got := m.all()[0]
	if got.content != "\n\x00\r.\n" || got.mail.Body != gosmtp.BodyBinaryMIME {
		t.Errorf("got %+v", got)
	}
	by := got.more.DeliverBy
	if by == nil || by.Time != -30*time.Second || by.Mode != gosmtp.DeliverByNotify || !by.Trace {
		t.Errorf("deliver by %+v", by)
	}
	if p := got.more.Priority; p == nil || *p != -3 {
		t.Errorf("priority %v", p)
	}
	if h := got.more.HoldUntil; h.Before(before.Add(time.Minute)) || h.After(time.Now().Add(time.Minute)) {
		t.Errorf("held until %v", h)
	}
	// Nothing of it is left to the next message.
	if next := m.all()[1]; next.more != (MailParameters{}) || next.mail.Body != "" {
		t.Errorf("next message: %+v", next)
	}
}

// 9422-a: MAILMAX is kept.
//
// RFC 9422: a session that has had its number is ended.
func TestMaxMessages(t *testing.T) {
	_, address := start(t, &memory{}, withAll)
	c := dial(t, address).ready()
	for range 3 {
		c.say("MAIL FROM:<s@a.example>\r\nRSET\r\n")
		c.expect("250", "250")
	}
	c.say("MAIL FROM:<s@a.example>\r\n")
	c.expect("421 4.7.0", "closed")
}

// 1985-a 5321-3.5-a: what the backend knows.
func TestQuestions(t *testing.T) {
	for _, tc := range []struct {
		name, send string
		want       []string
	}{
		{"vrfy", "VRFY <\"a b\"@ok.example>\r\nVRFY no@ok.example\r\nVRFY other@ok.example\r\nVRFY Joe Doe\r\nVRFY postmaster\r\n",
			[]string{`250 2.1.5 <"a b"@ok.example>`, "550 5.1.1", "252 2.0.0", "252 2.0.0", "252 2.0.0"}},
		{"vrfy bad", "VRFY a@b@c\r\nVRFY gr\u00e5@a.example\r\nVRFY gr\u00e5@a.example SMTPUTF8\r\nVRFY SMTPUTF8\r\nVRFY <a@b.example> x\r\n",
			[]string{"501 5.1.3", "553 5.6.7", "252", "252", "501 5.1.3"}},
		{"expn", "EXPN <list@ok.example>\r\nEXPN other@ok.example\r\nEXPN Friends\r\nEXPN\r\n",
			[]string{"250-2.1.5 <a@ok.example>|250 2.1.5 <b@ok.example>", "550 5.1.1", "550 5.1.1", "501 5.5.4"}},
		{"etrn", "ETRN OK.example\r\nETRN none.example\r\nETRN @below.example\r\nETRN below.example\r\nETRN not.example\r\n",
			[]string{"250 2.0.0 OK, queuing for ok.example started", "251 2.0.0", "250 2.0.0", "251", "459 4.7.1"}},
		{"etrn bad", "ETRN\r\nETRN #queue\r\nETRN a b\r\nMAIL FROM:<s@a.example>\r\nETRN ok.example\r\n", []string{"501 5.5.4", "501 5.5.4", "501 5.5.4", "250", "503 5.5.1"}},
		{"help", "HELP mail\r\nHELP etrn\r\nHELP auth\r\nHELP foo\r\n", []string{"214 2.0.0 MAIL FROM:", "214 2.0.0 ETRN domain", "504 5.5.4", "504 5.5.4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, address := start(t, &memory{knows: true}, nil)
			c := dial(t, address)
			c.expect("220")
			c.say("EHLO c.example\r\n")
			if got := c.reply(); !strings.Contains(got, "|250-ETRN|250-EXPN|250-VRFY") {
				t.Errorf("EHLO: %s", got)
			}
			c.say(tc.send)
			c.expect(tc.want...)
		})
	}
}

// 6531-g: a reply is ASCII.
//
// Whatever the backend says, a reply is a reply.
func TestBackendsWords(t *testing.T) {
	for _, tc := range []struct {
		code    int
		message string
		want    []string
	}{
		{550, "First\nsecond\r\x00\u00e5", []string{"550-5.7.1 First|550 5.7.1 second???", "250 2.0.0"}},
		{421, "Go away", []string{"421 4.7.1 Go away", "closed"}},
		{250, "Priority changed", []string{"250 2.7.1 Priority changed", "250 2.0.0"}},
	} {
		e := &gosmtp.SMTPError{Code: tc.code, EnhancedCode: gosmtp.EnhancedCode{tc.code / 100, 7, 1}, Message: tc.message}
		_, address := start(t, &memory{mailError: e}, nil)
		c := dial(t, address).ready()
		c.say("MAIL FROM:<s@a.example>\r\nNOOP\r\n")
		c.expect(tc.want...)
	}
}
