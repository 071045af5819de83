package sink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

func TestParseAnswer(t *testing.T) {
	for _, test := range []struct{ in, pattern, reply string }{
		{"bob@example.org=550 5.1.1 No such user", "bob@example.org", "550 5.1.1 No such user"},
		{"*=451 Later", "*", "451 4.0.0 Later"},
		{"@example.org=450", "@example.org", "450 4.0.0 Refused as asked for"},
		{"a=b@example.org=550 5.1.1 x=550", "a=b@example.org", "550 5.1.1 x=550"},
		{"bob@example.org=550 \x1b[31m", "bob@example.org", "550 5.0.0 ?[31m"},
		{"bob@example.org=421 4.3.2 Busy", "bob@example.org", "421 4.3.2 Busy"},
	} {
		a, err := ParseAnswer(test.in)
		if err != nil || a.Pattern != test.pattern || a.Reply.String() != test.reply {
			t.Errorf("%q: %+v, %v", test.in, a, err)
		}
	}
	for _, in := range []string{"", "bob@example.org", "=550 x", "bob=250 ok", "bob=354 go", "bob=650 x", "bob=55 x", "bob=5500", "bob=5a0 x"} {
		if a, err := ParseAnswer(in); err == nil {
			t.Errorf("%q was taken as %+v", in, a)
		}
	}
}

func TestFits(t *testing.T) {
	for _, test := range []struct {
		pattern, to string
		want        bool
	}{
		{"*", "bob@example.org", true}, {"Bob@Example.ORG", "bob@example.org", true}, {"bob@example.org", "carol@example.org", false},
		{"example.org", "bob@example.org", true}, {"@example.org", "bob@EXAMPLE.org", true}, {"example.org", "bob@a.example.org", false},
		{"bücher.example", "bob@xn--bcher-kva.example", true}, {"postmaster", "postmaster", true}, {"@", "postmaster", false},
	} {
		local, domain, _ := strings.Cut(test.to, "@")
		if got := (Answer{Pattern: test.pattern}).fits(smtp.Path{Local: local, Domain: domain}); got != test.want {
			t.Errorf("%q for %q: %v", test.pattern, test.to, got)
		}
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "mail.example.org:0", "127.0.0.1", "", "localhost.example.org:0", "128.0.0.1:0"} {
		ln, err := Listen(address)
		if err == nil {
			ln.Close()
		}
		if !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%q: got %v, want ErrNotLoopback", address, err)
		}
	}
}

// output is a buffer that many may write to.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// serve runs a sink until the test ends and returns a client of it.
func serve(t *testing.T, o Options) (*Sink, *gosmtp.Client) {
	t.Helper()
	ln, err := Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	c, err := gosmtp.Dial(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return s, c
}

func begin(t *testing.T, c *gosmtp.Client, from string, to ...string) io.WriteCloser {
	t.Helper()
	if err := c.Mail(from, nil); err != nil {
		t.Fatal(err)
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt, nil); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestExtensions(t *testing.T) {
	_, c := serve(t, Options{Out: io.Discard})
	for _, name := range []string{"8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "PIPELINING", "ENHANCEDSTATUSCODES"} {
		if ok, _ := c.Extension(name); !ok {
			t.Errorf("%s is not offered", name)
		}
	}
}

func TestReceive(t *testing.T) {
	var out output
	s, c := serve(t, Options{Out: &out, Print: true})
	w := begin(t, c, "a@example.com", "b@example.org", "c@example.org")
	if _, err := io.WriteString(w, "Subject: =?utf-8?q?=1B[2J?=\r\n two\r\n\r\n.\r\n\x1b]0;title\x07 body\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := "message 1 from <a@example.com> to <b@example.org>, <c@example.org>, 57 bytes, subject: ?[2J two\n" +
		"Subject: =?utf-8?q?=1B[2J?=\n two\n\n.\n?]0;title? body\n\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if got, want := s.Totals(), (Totals{Messages: 1, Recipients: 2, Bytes: 57}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLargeContentIsCutInPrint(t *testing.T) {
	var out output
	s, c := serve(t, Options{Out: &out, Print: true})
	w := begin(t, c, "", "b@example.org")
	line := strings.Repeat("x", 998) + "\r\n"
	for range 3000 {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Totals().Bytes; got != 3_000_000 {
		t.Errorf("%d bytes were counted, want all", got)
	}
	if text := out.String(); len(text) > maxShown+1000 || !strings.HasSuffix(text, "\n[1951424 bytes more not shown]\n\n") {
		t.Errorf("%d bytes were printed, and they end in %q", len(text), text[len(text)-50:])
	}
}

func TestAnswers(t *testing.T) {
	var out output
	answer, err := ParseAnswer("bob@example.org=452 4.2.2 Mailbox full")
	if err != nil {
		t.Fatal(err)
	}
	s, c := serve(t, Options{Out: &out, Answers: []Answer{answer}})
	if err := c.Mail("a@example.com", nil); err != nil {
		t.Fatal(err)
	}
	refused, ok := errors.AsType[*gosmtp.SMTPError](c.Rcpt("bob@example.org", nil))
	if !ok || refused.Code != 452 || refused.EnhancedCode != (gosmtp.EnhancedCode{4, 2, 2}) || refused.Message != "Mailbox full" {
		t.Errorf("got %v", refused)
	}
	if err := c.Rcpt("carol@example.org", nil); err != nil {
		t.Errorf("the other recipient: %v", err)
	}
	if want := "refused <bob@example.org>: 452 4.2.2 Mailbox full\n"; out.String() != want || s.Totals().Refused != 1 {
		t.Errorf("printed %q, %+v; want %q", out.String(), s.Totals(), want)
	}
}

// closed is an output that nobody reads any more.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestNobodyReads(t *testing.T) {
	_, c := serve(t, Options{Out: closed{}})
	w := begin(t, c, "", "b@example.org")
	refused, ok := errors.AsType[*gosmtp.SMTPError](w.Close())
	if !ok || refused.Code != 451 {
		t.Errorf("got %v, want 451: what was not printed may be wanted again", refused)
	}
}

func TestTotals(t *testing.T) {
	got := Totals{Messages: 1, Recipients: 2, Bytes: 3, Refused: 1}.String()
	if want := "received 1 message for 2 recipients, 3 bytes; refused 1 recipient"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
