package inbound

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/queue"
	"waypost/relay/policy"
	"waypost/relay/smtpserver"
)

// outside is what the queue needs and these tests do not: nothing is attempted.
type outside struct{}

func (outside) Deliver(context.Context, *queue.Message, *queue.Delivery) queue.Outcome {
	panic("not attempted")
}
func (outside) Destination(_ *queue.Envelope, r *queue.Recipient) string { return r.Path.Domain }
func (outside) Compose(io.Writer, queue.Report) (bool, bool, error)      { panic("not reported") }

func newBackend(t testing.TB, edit func(*Options), minFree int64) (*Backend, *queue.Queue) {
	t.Helper()
	q, err := queue.Open(queue.Options{Dir: t.TempDir(), Deliverer: outside{}, Router: outside{}, Reporter: outside{}, MinFree: minFree})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	o := Options{Hostname: "relay.example", Queue: q, Rules: &policy.Rules{
		Hostname: "relay.example", Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Domains: []string{"ok.example"},
	}}
	if edit != nil {
		edit(&o)
	}
	return New(o), q
}

// engines are the two that drive the same backend.
var engines = map[string]func(t testing.TB, b *Backend, ln net.Listener){
	"own": func(t testing.TB, b *Backend, ln net.Listener) {
		s := smtpserver.New(smtpserver.Options{Hostname: "relay.example", Backend: b, MaxSize: 2 << 20})
		go s.Serve(ln)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			s.Shutdown(ctx)
		})
	},
	"go-smtp": func(t testing.TB, b *Backend, ln net.Listener) {
		s := gosmtp.NewServer(b)
		s.Domain, s.MaxMessageBytes, s.EnableSMTPUTF8, s.EnableDSN = "relay.example", 1<<20, true, true
		go s.Serve(ln)
		t.Cleanup(func() { s.Close() })
	},
}

type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, engine string, b *Backend, from string) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	engines[engine](t, b, ln)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{t, nc, bufio.NewReader(nc)}
	c.want("220")
	c.say("EHLO client.example", "250")
	return c
}

func (c *client) say(line, want string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.want(want)
}

func (c *client) want(want string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want[:3]) {
			c.t.Fatalf("reply %q, %v, want %q", line, err, want)
		}
		if line[3] == ' ' {
			if !strings.HasPrefix(line, want) {
				c.t.Fatalf("reply %q, want %q", line, want)
			}
			return strings.TrimSpace(line)
		}
	}
}

func (c *client) send(lines ...string) queue.ID {
	c.t.Helper()
	c.say("DATA", "354")
	text := c.say(strings.Join(lines, "\r\n")+"\r\n.", "250 2.0.0 OK, queued as ")
	id, err := queue.ParseID(text[len(text)-13:])
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func content(t testing.TB, q *queue.Queue, id queue.ID) string {
	t.Helper()
	r, err := q.Content(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// One script on both engines. What differs stands in the rows: the code that
// each gives, where they are not the same.
func TestBothEngines(t *testing.T) {
	type step struct{ send, own, stock string }
	for _, tc := range []struct {
		name, from string
		steps      []step
	}{
		{"relaying", "127.0.0.3", []step{
			{"MAIL FROM:<s@ok.example>", "250", ""},
			{"RCPT TO:<v@evil.test>", "550 5.7.1", ""},
			{"RCPT TO:<v%evil.test@relay.example>", "550 5.7.1", ""},
			{`RCPT TO:<"v@ok.example"@evil.test>`, "550 5.7.1", ""},
			{"RCPT TO:<@ok.example:v@evil.test>", "550 5.7.1", ""},
			{"RCPT TO:<v@[127.0.0.1]>", "550 5.7.1", ""},
			{"RCPT TO:<v@OK.example>", "250", ""},
			{"RCPT TO:<postmaster@relay.example>", "250", ""},
			// go-smtp's parser knows no mailbox without a domain.
			{"RCPT TO:<postmaster>", "250", "501"},
		}},
		{"order", "127.0.0.1", []step{
			// RFC 5321 §4.1.4 has 503; go-smtp says 502 where it decides.
			{"RCPT TO:<r@b.example>", "503 5.5.1", "502 5.5.1"},
			{"DATA", "503 5.5.1", "502 5.5.1"},
			{"MAIL FROM:<s@a.example>", "250", ""},
			{"MAIL FROM:<s2@a.example>", "503 5.5.1", ""},
			{"RCPT TO:<r@b.example>", "250", ""},
			{"RSET", "250", ""},
			{"DATA", "503 5.5.1", "502 5.5.1"},
		}},
		{"addresses", "127.0.0.1", []step{
			{"MAIL FROM:<s@-a.example>", "501 5.1.8", "501 5.1.7"}, // the domain's code is our parser's
			{"MAIL FROM:<s@127.0.0.1>", "501 5.1.8", "501 5.1.7"},
			{"MAIL FROM:<gr\u00e5@a.example>", "553 5.6.7", ""},
			{"MAIL FROM:<gr\u00e5@a.example> SMTPUTF8", "250", ""},
			{"RCPT TO:<r@a_b.example>", "501 5.1.2", ""},
			{"RCPT TO:<r@b.example.>", "501 5.1.2", ""},
			{`RCPT TO:<"a b"@b.example>`, "250", ""},
			{"RCPT TO:<r@gr\u00e5.example>", "250", ""},
		}},
	} {
		for engine := range engines {
			t.Run(tc.name+" "+engine, func(t *testing.T) {
				b, _ := newBackend(t, nil, 0)
				c := dial(t, engine, b, tc.from)
				for _, s := range tc.steps {
					want := s.own
					if engine == "go-smtp" && s.stock != "" {
						want = s.stock
					}
					c.say(s.send, want)
				}
			})
		}
	}
}

// 5321-2.3.11-a 5321-4.1.2-b I-02 I-03: canonical form and no other meaning.
//
// What a quoted local part holds stays in it, whichever engine unquoted it.
func TestQuotedLocalPartsStayWhole(t *testing.T) {
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			b, q := newBackend(t, nil, 0)
			c := dial(t, engine, b, "127.0.0.1")
			c.say("MAIL FROM:<s@a.example>", "250")
			paths := []string{`"x@evil.test> NOTIFY=NEVER"@ok.example`, `"foo@evil.test> ORCPT=rfc822;x"@ok.example`, `"a\" b"@ok.example`, `"\\"@ok.example`, `" "@ok.example`, `"@"@ok.example`}
			for _, p := range paths {
				c.say("RCPT TO:<"+p+">", "250")
			}
			e, err := q.Show(c.send("Subject: x", "", "x"))
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range e.Deliveries[0].Recipients {
				if got := r.Path.String(); got != paths[i] {
					t.Errorf("recipient %s, want %s", got, paths[i])
				}
			}
		})
	}
}

// 5322-3.6.7-a: the trace on top, and the others in their order.
//
// 6152-a: with all eight bits.
//
// 5321-3.6.3-b 5321-7.2-a: nothing is changed but for the trace, and no header names the recipients.
func TestMessageIsKeptWhole(t *testing.T) {
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			b, q := newBackend(t, nil, 0)
			c := dial(t, engine, b, "127.0.0.1")
			c.say("MAIL FROM:<s@a.example> RET=HDRS ENVID=a+2Bb BODY=8BITMIME", "250")
			c.say("RCPT TO:<r@ok.example> NOTIFY=DELAY,FAILURE ORCPT=rfc822;r+2Bx@ok.example", "250")
			c.say("RCPT TO:<r@ok.example>", "250") // once is enough
			c.say("RCPT TO:<q@ok.example>", "250")
			id := c.send("Subject: x", "Message-ID:", " <1@a.example>", "", "gr\u00e5", "..dot")
			got := content(t, q, id)
			if !strings.HasPrefix(got, "Received: from client.example ([127.0.0.1])\r\n") || !strings.HasSuffix(got, "Subject: x\r\nMessage-ID:\r\n <1@a.example>\r\n\r\ngr\u00e5\r\n.dot\r\n") {
				t.Errorf("content %q", got)
			}
			if strings.Contains(got, "for <") {
				t.Errorf("several recipients, and one is named in %q", got)
			}
			e, err := q.Show(id)
			if err != nil {
				t.Fatal(err)
			}
			if e.ReversePath.String() != "s@a.example" || e.EnvelopeID != "a+b" || e.Return != "HDRS" || !e.EightBit || e.Client != "client.example ([127.0.0.1])" {
				t.Errorf("envelope %+v", e.Envelope)
			}
			if e.MessageID != "1@a.example" || e.Protocol != "ESMTP" || e.TLS != "" || !strings.HasPrefix(e.Listener, "127.0.0.1:") {
				t.Errorf("envelope %+v", e.Envelope)
			}
			rcpts := e.Deliveries[0].Recipients
			if len(rcpts) != 2 || rcpts[0].Notify.String() != "FAILURE,DELAY" || !strings.EqualFold(rcpts[0].OriginalRecipient, "rfc822;r+2Bx@ok.example") {
				t.Errorf("recipients %+v", rcpts)
			}
		})
	}
}

// D-10: a hundred hops and one more.
func TestContentThatIsRefused(t *testing.T) {
	hops := func(n int) string { return strings.Repeat("Received: from x by y; z\r\n", n) }
	for _, tc := range []struct{ name, content, want string }{
		{"bare LF", "Subject: x\r\n\r\na\nb\r\n", "550 5.5.2"},
		{"bare CR", "Subject: x\r\n\r\na\rb\r\n", "550 5.5.2"},
		{"bare CR at the end of a large piece", "Subject: x\r\n\r\n" + strings.Repeat("x", 65513) + "\r\r\n", "550 5.5.2"},
		{"100 hops", hops(100) + "\r\nx\r\n", "250 2.0.0"},
		{"101 hops", hops(101) + "\r\nx\r\n", "554 5.4.6"},
		{"101 hops and a NUL", hops(101) + "\r\n\x00\r\n", "554 5.4.6"},
		{"header too large", strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 1165) + "\r\nx\r\n", "552 5.3.4"},
		{"NUL", "Subject: x\r\n\r\na\x00b\r\n", "250 2.0.0"},
		{"too large", strings.Repeat(strings.Repeat("y", 998)+"\r\n", 2120), "552 5.3.4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, q := newBackend(t, nil, 0)
			c := dial(t, "own", b, "127.0.0.1")
			c.say("MAIL FROM:<s@a.example>", "250")
			c.say("RCPT TO:<r@ok.example>", "250")
			c.say("DATA", "354")
			c.say(tc.content+".", tc.want)
			c.say("NOOP", "250 2.0.0 OK")
			want := int64(0)
			if tc.want[0] == '2' {
				want = 1
			}
			if got := q.Stats().Messages; got != want {
				t.Errorf("%d messages in the queue, want %d", got, want)
			}
		})
	}
}

// 5321-4.1.1.4-c: content is answered, whatever becomes of it.
//
// A fault of ours is never the client's (RFC 5321 §4.2.1): it may come again.
func TestFaultOfOurs(t *testing.T) {
	dir := t.TempDir()
	q, err := queue.Open(queue.Options{Dir: dir, Deliverer: outside{}, Router: outside{}, Reporter: outside{}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := os.RemoveAll(filepath.Join(dir, "content")); err != nil {
		t.Fatal(err)
	}
	b, _ := newBackend(t, func(o *Options) { o.Queue = q }, 0)
	c := dial(t, "own", b, "127.0.0.1")
	c.say("MAIL FROM:<s@a.example>", "250")
	c.say("RCPT TO:<r@ok.example>", "250")
	c.say("DATA", "354")
	c.say("Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("y", 70)+"\r\n", 2000)+".", "451 4.3.0")
}

// 1870-a 1870-b: no room is 452.
func TestLimitsAndRoom(t *testing.T) {
	b, _ := newBackend(t, func(o *Options) { o.MaxRecipients = 100 }, 0)
	c := dial(t, "own", b, "127.0.0.1")
	c.say("MAIL FROM:<s@a.example>", "250")
	for i := range 100 {
		c.say(fmt.Sprintf("RCPT TO:<r%d@ok.example>", i), "250")
	}
	c.say("RCPT TO:<one-more@ok.example>", "452 4.5.3")
	c.send("Subject: x", "", "x")

	b, _ = newBackend(t, nil, 1<<60) // no disk has that much room
	c = dial(t, "own", b, "127.0.0.1")
	c.say("MAIL FROM:<s@a.example>", "452 4.3.1")
}

// 5321-4.1.1.10-a: what was not finished is dropped.
//
// A connection that ends within a message leaves nothing behind.
func TestAbortedMessageIsForgotten(t *testing.T) {
	for _, how := range []string{"DATA\r\n", "BDAT 200000\r\n"} {
		b, q := newBackend(t, nil, 0)
		c := dial(t, "own", b, "127.0.0.1")
		c.say("MAIL FROM:<s@a.example>", "250")
		c.say("RCPT TO:<r@ok.example>", "250")
		io.WriteString(c.Conn, how+strings.Repeat("0123456789abcdef\r\n", 10_000))
		c.Conn.Close()
		// The next message of another session is behind the aborted one only
		// if that one was queued.
		c = dial(t, "own", b, "127.0.0.1")
		c.say("MAIL FROM:<s@a.example>", "250")
		c.say("RCPT TO:<r@ok.example>", "250")
		c.send("Subject: x", "", "x")
		if n := q.Stats().Messages; n != 1 {
			t.Errorf("%q: %d messages", how, n)
		}
	}
}
