package inbound

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"waypost/queue"
	"waypost/relay/smtpserver"
)

// withExtensions has the own engine offer all that there is.
func withExtensions(t *testing.T) {
	saved := engines["own"]
	t.Cleanup(func() { engines["own"] = saved })
	engines["own"] = func(t testing.TB, b *Backend, ln net.Listener) {
		s := smtpserver.New(smtpserver.Options{
			Hostname: "relay.example", Backend: b, XClientFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")},
			Extensions: smtpserver.Extensions{BinaryMIME: true, DeliverBy: true, Priority: true, HoldMax: time.Hour},
		})
		go s.Serve(ln)
		t.Cleanup(func() { s.Shutdown(context.Background()) })
	}
}

// 3030-f: every octet is kept.
//
// What the extensions ask for is in the envelope, and the binary content is
// kept as it came.
func TestExtensionsReachTheQueue(t *testing.T) {
	withExtensions(t)
	b, q := newBackend(t, nil, 0)
	c := dial(t, "own", b, "127.0.0.1")
	before := time.Now().Truncate(time.Millisecond)
	c.say("MAIL FROM:<s@a.example> BODY=BINARYMIME BY=600;RT MT-PRIORITY=4 HOLDFOR=60", "250 2.1.0")
	c.say("RCPT TO:<r@ok.example>", "250")
	// The CRLF that say adds is the message's last line.
	reply := c.say("BDAT 22 LAST\r\nSubject: x\r\n\r\na\nb\rc\x00", "250 2.0.0 OK, queued as ")
	entries, _, err := q.List(queue.Filter{}, 0, 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%s: %d entries, %v", reply, len(entries), err)
	}
	e := entries[0]
	if by := e.DeliverBy; !by.Return || !by.Trace || by.Deadline.Before(before.Add(10*time.Minute)) || by.Deadline.After(time.Now().Add(10*time.Minute)) {
		t.Errorf("deliver by %+v", by)
	}
	if e.HoldUntil.Before(before.Add(time.Minute)) || e.HoldUntil.After(time.Now().Add(time.Minute)) {
		t.Errorf("held until %v", e.HoldUntil)
	}
	if !e.Binary || e.Priority != 4 {
		t.Errorf("envelope %+v", e.Envelope)
	}
	if got := content(t, q, e.ID); !strings.HasSuffix(got, "Subject: x\r\n\r\na\nb\rc\x00\r\n") {
		t.Errorf("content %q", got)
	}
}

// 6710-a: the priority that is granted is in the reply.
//
// RFC 6710: a stranger's message goes no faster than others, and may go slower.
func TestStrangersDoNotOvertake(t *testing.T) {
	withExtensions(t)
	b, _ := newBackend(t, nil, 0)
	c := dial(t, "own", b, "127.0.0.3")
	c.say("MAIL FROM:<s@a.example> MT-PRIORITY=4", "250 2.3.6 0")
	c.say("RCPT TO:<r@ok.example>", "250")
	c.say("RSET", "250")
	c.say("MAIL FROM:<s@a.example> MT-PRIORITY=-4", "250 2.1.0")
}

// 1985-a 6409-7-a: by domain, for those who may, and not on submission.
func TestETRN(t *testing.T) {
	b, _ := newBackend(t, func(o *Options) { o.ETRN = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }, 0)
	c := dial(t, "own", b, "127.0.0.1")
	c.say("MAIL FROM:<s@a.example>", "250")
	c.say("RCPT TO:<r@sub.ok.example>", "250")
	c.send("Subject: x", "", "x")
	c.say("ETRN ok.example", "251 2.0.0")
	c.say("ETRN SUB.ok.example", "250 2.0.0")
	c.say("ETRN @ok.example", "250 2.0.0")
	c.say("ETRN @xample", "251")
	stranger := dial(t, "own", b, "127.0.0.3")
	stranger.say("ETRN ok.example", "502 5.5.1")
	// RFC 6409 §7.
	options := b.Options
	options.Submission = true
	dial(t, "own", New(options), "127.0.0.1").say("ETRN ok.example", "502 5.5.1")
}

// XCLIENT makes the client another one, for the policy and for the trace.
func TestXClientReachesPolicyAndTrace(t *testing.T) {
	withExtensions(t)
	b, q := newBackend(t, nil, 0)
	c := dial(t, "own", b, "127.0.0.9")
	c.say("XCLIENT ADDR=127.0.0.1 NAME=inside.example", "220")
	c.say("EHLO hello.example", "250")
	c.say("MAIL FROM:<s@a.example>", "250")
	c.say("RCPT TO:<r@elsewhere.example>", "250")
	if got := content(t, q, c.send("Subject: x", "", "x")); !strings.HasPrefix(got, "Received: from hello.example (inside.example [127.0.0.1])\r\n") {
		t.Errorf("trace %q", got)
	}
	c.say("XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE]", "220")
	c.say("EHLO hello.example", "250")
	c.say("MAIL FROM:<s@a.example>", "250")
	c.say("RCPT TO:<r@elsewhere.example>", "550 5.7.1")
	c.say("RSET", "250")
	c.say("XCLIENT ADDR=192.0.2.1 LOGIN=user", "220")
	c.say("EHLO hello.example", "250")
	c.say("MAIL FROM:<s@a.example>", "250")
	c.say("RCPT TO:<r@ok.example>", "250")
	id := c.send("Subject: x", "", "x")
	if e, err := q.Show(id); err != nil || e.Login != "user" || e.Protocol != "ESMTPA" {
		t.Errorf("envelope %+v, %v", e.Envelope, err)
	}
}
