package relay

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/resolver/dnstest"
)

// service is a running relay with a DNS of its own.
type service struct {
	*Relay
	t    testing.TB
	dns  *dnstest.Server
	stop func() error
}

// start runs a relay on loopback. Mail hosts are tried on port.
func start(t testing.TB, port int, edit func(*configs.Config)) *service {
	t.Helper()
	return startLogged(t, port, edit, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func startLogged(t testing.TB, port int, edit func(*configs.Config), log *slog.Logger) *service {
	t.Helper()
	dns := dnstest.New(t)
	c := configs.Default()
	c.Hostname, c.DataDir = "relay.example", t.TempDir()
	c.Listeners[0].Address, c.Metrics.Address = "127.0.0.1:0", "127.0.0.1:0"
	c.Resolver.Servers, c.Delivery.AllowPrivate = []string{dns.Addr}, []string{"127.0.0.0/8"}
	c.Delivery.SMTPPort = port
	c.Queue.MinFree, c.Queue.Ephemeral = 0, true
	if edit != nil {
		edit(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := New(&c, Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	s := &service{Relay: r, t: t, dns: dns}
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// dial opens a session from a loopback address of choice and greets.
func (s *service) dial(from string) *textproto.Conn {
	s.t.Helper()
	return s.dialListener(0, from)
}

// dialListener is dial, at one of several listeners.
func (s *service) dialListener(i int, from string) *textproto.Conn {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", s.SMTPAddrs()[i].String())
	if err != nil {
		s.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	c := textproto.NewConn(nc)
	s.t.Cleanup(func() { c.Close() })
	s.expect(c, 220)
	s.cmd(c, 250, "EHLO client.example")
	return c
}

func (s *service) expect(c *textproto.Conn, code int) string {
	s.t.Helper()
	_, text, err := c.ReadResponse(code)
	if err != nil {
		s.t.Fatalf("want %d: %v", code, err)
	}
	return text
}

func (s *service) cmd(c *textproto.Conn, code int, format string, args ...any) string {
	s.t.Helper()
	if err := c.PrintfLine(format, args...); err != nil {
		s.t.Fatal(err)
	}
	return s.expect(c, code)
}

// send sends one message and returns its queue ID.
func (s *service) send(from, content string, to ...string) queue.ID {
	s.t.Helper()
	c := s.dial("127.0.0.1")
	s.cmd(c, 250, "MAIL FROM:<%s>", from)
	for _, rcpt := range to {
		s.cmd(c, 250, "RCPT TO:<%s>", rcpt)
	}
	s.cmd(c, 354, "DATA")
	w := c.DotWriter()
	io.WriteString(w, strings.ReplaceAll(content, "\r\n", "\n"))
	w.Close()
	text := s.expect(c, 250)
	id, err := queue.ParseID(text[strings.LastIndexByte(text, ' ')+1:])
	if err != nil {
		s.t.Fatalf("no queue ID in %q", text)
	}
	return id
}

// below returns what stands under our own trace field.
func below(t testing.TB, content []byte) string {
	t.Helper()
	s := string(content)
	if !strings.HasPrefix(s, "Received: from ") {
		t.Fatalf("no trace field on top of %.200q", s)
	}
	for i := 0; ; {
		end := strings.Index(s[i:], "\r\n")
		if end < 0 {
			t.Fatalf("trace field without end: %.200q", s)
		}
		if i += end + 2; i == len(s) || s[i] != ' ' && s[i] != '\t' {
			return s[i:]
		}
	}
}

const hello = "From: s@a.example\r\nTo: r@b.example\r\nSubject: hello\r\n\r\nHello.\r\n.\r\n..x\r\n"

func TestMessageGoesThrough(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	s := start(t, sink.Port(), nil)
	s.dns.Add("b.example. 60 IN MX 10 mx.b.example.", "mx.b.example. 60 IN A 127.0.0.5")
	id := s.send("s@a.example", hello, "r@b.example")
	m := sink.Wait(1)[0]
	if got := below(t, m.Content); got != hello {
		t.Errorf("content changed to %q", got)
	}
	trace := string(m.Content[:len(m.Content)-len(hello)])
	for _, part := range []string{"from client.example ([127.0.0.1])", "by relay.example with ESMTP id " + id.String(), "for <r@b.example>"} {
		if !strings.Contains(strings.Join(strings.Fields(trace), " "), part) {
			t.Errorf("trace field %q lacks %q", trace, part)
		}
	}
}

// TestReportReachesTheSender: a report goes to the reverse-path, from the null one.
//
// 5321-3.6.3-a 5321-6.1-b 1123-5.3.3-a
//
// 5321-4.1.1.4-c: what fails later is told by mail.
func TestReportReachesTheSender(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	sink.OnRcpt("gone@b.example", "550 5.1.1 no such user")
	s := start(t, sink.Port(), nil)
	for _, d := range []string{"a", "b"} {
		s.dns.Add(d+".example. 60 IN MX 10 mx.example.", "mx.example. 60 IN A 127.0.0.5")
	}
	id := s.send("s@a.example", hello, "gone@b.example", "r@b.example")
	var report *relaytest.Message
	for _, m := range sink.Wait(2) {
		if m.From == "" {
			report = &m
		}
	}
	if report == nil {
		t.Fatal("no report")
	}
	for _, part := range []string{"Final-Recipient: rfc822; gone@b.example", "Action: failed", "Status: 5.1.1",
		"Remote-MTA: dns; mx.example", "Diagnostic-Code: smtp; 550 5.1.1 no such user", "Final-Log-ID: " + id.String(), "Subject: hello"} {
		if !strings.Contains(string(report.Content), part) {
			t.Errorf("report lacks %q:\n%s", part, report.Content)
		}
	}
}

// 1047-a 5321-6.1-c: the client's last reply does not wait for the next hop, which
// here says nothing at all.
func TestReplyDoesNotWaitForDelivery(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := start(t, 1, func(c *configs.Config) {
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + silent.Addr().String()), TLS: configs.TLSNone}}
	})
	s.send("s@a.example", hello, "r@b.example")
	s.send("s@a.example", hello, "q@b.example")
	nc, err := silent.Accept() // the first is under way, and the replies have come
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestStrangersMayNotRelay(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	s := start(t, sink.Port(), func(c *configs.Config) {
		c.Relay.Networks, c.Relay.Domains = []string{"127.0.0.1"}, []string{"ok.example"}
	})
	c := s.dial("127.0.0.3")
	s.cmd(c, 250, "MAIL FROM:<s@ok.example>")
	s.cmd(c, 550, "RCPT TO:<v@evil.test>")
	s.cmd(c, 550, `RCPT TO:<"v@ok.example"@evil.test>`)
	s.cmd(c, 250, "RCPT TO:<v@ok.example>")
	s.cmd(c, 250, "RCPT TO:<postmaster>")
}

func TestMetricsAndHealth(t *testing.T) {
	s := start(t, 1, nil)
	for page, want := range map[string]string{"/metrics": "waypost_queue_messages 0", "/healthz": "ok", "/readyz": "ok"} {
		resp, err := http.Get(fmt.Sprintf("http://%s%s", s.MetricsAddr(), page))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(bufio.NewReader(resp.Body))
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %.200s", page, resp.Status, body)
		}
	}
}
