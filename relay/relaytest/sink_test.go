package relaytest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// peer is a client of bare text.
type peer struct {
	t    *testing.T
	conn net.Conn
	*textproto.Reader
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t, conn, textproto.NewReader(bufio.NewReader(conn))}
}

func dial(t *testing.T, s *Sink) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, conn)
}

// say sends text, if any, and expects the first line of a reply.
func (p *peer) say(text, want string) {
	p.t.Helper()
	if text != "" {
		if _, err := io.WriteString(p.conn, text); err != nil {
			p.t.Fatalf("write %q: %v", text, err)
		}
	}
	line, err := p.ReadLine()
	for err == nil && len(line) > 3 && line[3] == '-' {
		var next string
		if next, err = p.ReadLine(); len(next) < 4 || next[3] == ' ' {
			break
		}
	}
	if err != nil || !strings.HasPrefix(line, want) {
		p.t.Fatalf("after %q: got %q, %v; want %q", text, line, err, want)
	}
}

// gone expects the end of the connection.
func (p *peer) gone() error {
	p.t.Helper()
	line, err := p.ReadLine()
	if err == nil {
		p.t.Fatalf("got %q, want the end of the connection", line)
	}
	return err
}

func (p *peer) envelope(mailbox string) {
	p.t.Helper()
	p.say("", "220 ")
	p.say("EHLO c.example\r\n", "250-sink.example")
	p.say("MAIL FROM:<s@c.example>\r\n", "250 ")
	p.say("RCPT TO:<"+mailbox+">\r\n", "250 ")
}

func TestSinkKeepsWhatItTakes(t *testing.T) {
	s := NewSink(t, "127.0.0.5:0")
	p := dial(t, s)
	p.say("", "220 sink.example ")
	p.say("EHLO c.example\r\n", "250-sink.example")
	p.say("MAIL FROM:<s@c.example> SIZE=5\r\n", "250 ")
	p.say("RCPT TO:<\"a>b\"@d.example> NOTIFY=NEVER\r\n", "250 ")
	p.say("DATA\r\n", "354 ")
	p.say("a: b\r\n\r\n..\r\n.\r\n", "250 ")
	p.say("QUIT\r\n", "221 ")
	m := s.Wait(1)[0]
	if m.Hello != "c.example" || !m.Extended || m.TLS || m.Conn != 1 || m.From != "s@c.example" ||
		m.MailLine != "MAIL FROM:<s@c.example> SIZE=5" || len(m.To) != 1 || m.To[0] != `"a>b"@d.example` {
		t.Errorf("message %+v", m)
	}
	if got := string(m.Content); got != "a: b\r\n\r\n.\r\n" {
		t.Errorf("content %q", got)
	}
	if got := string(m.Wire); got != "a: b\r\n\r\n..\r\n.\r\n" {
		t.Errorf("on the wire %q", got)
	}
	s.WaitIdle()
	if s.Connections() != 1 || s.Count() != 1 {
		t.Errorf("%d connections, %d messages", s.Connections(), s.Count())
	}
}

func TestSinkScript(t *testing.T) {
	s := NewSink(t, "127.0.0.5:0", WithLeniency())
	s.OnRcpt("no@d.example", "550 5.1.1 no")
	s.OnNth("RCPT", 3, Action{Reply: "451 4.2.0 third"})
	s.OnNth("MAIL", 2, Action{Raw: "garbage\r\n"})
	s.OnNth("NOOP", 1, Action{Silent: true})
	s.Script(func(c Command) (Action, bool) { return Action{Drop: true, Silent: true}, c.Line == "NOOP die" })
	p := dial(t, s)
	p.envelope("yes@d.example")
	p.say("RCPT TO:<NO@d.example>\r\n", "550 5.1.1 no")
	p.say("RCPT TO:<yes@d.example>\r\n", "451 ")
	p.say("RSET\r\n", "250 ")
	p.say("MAIL FROM:<>\r\n", "garbage")
	p.say("NOOP\r\nNOOP\r\n", "250 ") // one of the two
	if _, err := io.WriteString(p.conn, "NOOP die\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := p.gone(); !errors.Is(err, io.EOF) {
		t.Errorf("dropped with %v", err)
	}
	s.Behave()
	dial(t, s).envelope("no@d.example")
}

func TestSinkDropsAndResets(t *testing.T) {
	for name, test := range map[string]struct {
		rule   Rule
		stored int
		want   error
	}{
		"after the dot, kept":     {Rule{Verb: "DOT", Action: Action{Silent: true, Drop: true, Store: true}}, 1, io.EOF},
		"after the dot, not kept": {Rule{Verb: "DOT", Action: Action{Silent: true, Drop: true}}, 0, io.EOF},
		"within the content":      {Rule{Verb: "CONTENT", Action: Action{After: 6, Drop: true}}, 0, io.EOF},
		"a reset":                 {Rule{Verb: "DOT", Action: Action{Silent: true, Reset: true}}, 0, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSink(t, "127.0.0.5:0")
			s.Add(test.rule)
			p := dial(t, s)
			p.envelope("a@d.example")
			p.say("DATA\r\n", "354 ")
			if _, err := io.WriteString(p.conn, "a: b\r\n"); err != nil {
				t.Fatal(err)
			}
			if test.rule.Verb == "DOT" {
				if _, err := io.WriteString(p.conn, ".\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.gone(); !errors.Is(err, test.want) {
				t.Errorf("ended with %v", err)
			}
			s.WaitIdle()
			if s.Count() != test.stored {
				t.Errorf("%d messages stored", s.Count())
			}
		})
	}
}

func TestSinkGateAndListener(t *testing.T) {
	s := NewSink(t, "127.0.0.5:0")
	gate := make(chan struct{})
	s.OnNth("CONNECT", 1, Action{Gate: gate})
	slow := dial(t, s)
	s.WaitCommand("CONNECT", 1)
	dial(t, s).say("", "220 ") // others are served meanwhile
	close(gate)
	slow.say("", "220 ")
	s.CloseListener()
	if conn, err := net.Dial("tcp", s.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed listener gave %v, %v", conn, err)
	}
	slow.say("NOOP\r\n", "250 ")
	s.Reopen()
	dial(t, s).say("", "220 ")
	if s.Port() == 0 || s.Connections() != 3 {
		t.Errorf("port %d, %d connections", s.Port(), s.Connections())
	}
	s.DropAll()
	_ = slow.gone()
}

func TestSinkTLS(t *testing.T) {
	ca := NewCA(t)
	s := NewSink(t, "127.0.0.5:0", WithCertificate(ca.Leaf("sink.example", "127.0.0.5")), WithAuth("u", "p"))
	s.OnNth("HANDSHAKE", 2, Action{Raw: "not TLS\r\n"})
	good, bad := dial(t, s), dial(t, s)
	for _, p := range []*peer{good, bad} {
		p.say("", "220 ")
		p.say("EHLO c.example\r\n", "250-sink.example")
		p.say("STARTTLS\r\n", "220 ")
		conn := tls.Client(p.conn, &tls.Config{ServerName: "sink.example", RootCAs: ca.Pool()})
		err := conn.Handshake()
		if p == bad {
			if err == nil {
				t.Error("a handshake succeeded that should not have")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		p = newPeer(t, conn)
		p.say("EHLO c.example\r\n", "250-sink.example")
		p.say("AUTH PLAIN AHUAeA==\r\n", "535 ")
		p.say("AUTH PLAIN AHUAcA==\r\n", "235 ")
		p.say("MAIL FROM:<>\r\n", "250 ")
		p.say("RCPT TO:<a@d.example>\r\n", "250 ")
		p.say("DATA\r\n", "354 ")
		p.say(".\r\n", "250 ")
		if m := s.Wait(1)[0]; !m.TLS || m.User != "u" || len(m.Content) != 0 {
			t.Errorf("message %+v", m)
		}
	}
}

// Each row is something that a client must not do.
func TestSinkSeesViolations(t *testing.T) {
	for name, text := range map[string]string{
		"parameter not offered":  "EHLO c\r\nMAIL FROM:<> BY=10;R\r\n",
		"repeated parameter":     "EHLO c\r\nMAIL FROM:<> SIZE=1 SIZE=1\r\n",
		"not ASCII":              "EHLO c\r\nMAIL FROM:<é@c.example>\r\n",
		"MAIL before EHLO":       "MAIL FROM:<>\r\n",
		"MAIL twice":             "EHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n",
		"bare LF":                "EHLO c\n",
		"bare LF in content":     "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\n.\r\n",
		"bare CR in content":     "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\ry\r\n.\r\n",
		"dot not doubled":        "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.x\r\n.\r\n",
		"8-bit without BODY":     "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n\xe9\r\n.\r\n",
		"STARTTLS not offered":   "EHLO c\r\nSTARTTLS\r\n",
		"unknown command":        "HELLO c\r\n",
		"space before the path":  "EHLO c\r\nMAIL FROM: <>\r\n",
		"group with EHLO inside": "", // below
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSink(t, "127.0.0.5:0", WithLeniency())
			p := dial(t, s)
			p.say("", "220 ")
			if text == "" {
				text = "EHLO c\r\nNOOP\r\n"
				p.say(text, "250-")
			}
			for line := range strings.SplitAfterSeq(strings.TrimSuffix(text, "EHLO c\r\nNOOP\r\n"), "\n") {
				if line == "x\n" || line == "x\ry\r\n" || line == ".x\r\n" || line == "\xe9\r\n" {
					_, _ = io.WriteString(p.conn, line)
				} else if line != "" {
					p.say(line, "")
				}
			}
			_, _ = io.WriteString(p.conn, "QUIT\r\n")
			s.WaitIdle()
			if len(s.Violations()) == 0 {
				t.Error("the sink saw nothing wrong")
			}
		})
	}
}

func TestSinkInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSink(t, "")
		s.On("CONNECT", Action{Reply: "220 slow", Drip: time.Second, Delay: time.Minute})
		p := newPeer(t, s.Pipe())
		start := time.Now()
		p.say("", "220 slow")
		if took, want := time.Since(start), time.Minute+10*time.Second; took != want {
			t.Errorf("the banner took %v, want %v", took, want)
		}
		p.say("QUIT\r\n", "221 ")
		s.WaitIdle()
	})
}
