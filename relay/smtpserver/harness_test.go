package smtpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/relaytest"
)

// memory is a backend that keeps what it is given.
type memory struct {
	mu       sync.Mutex
	messages []received
	// dataError, if set, is what Data returns after reading; early, before.
	dataError, early error
	mailError        error
	panics           bool
	started          chan struct{} // told when Data begins, if set
	// mechanisms makes the sessions able to authenticate.
	mechanisms map[string]func() sasl.Server
	conn       Conn // of the last session
	knows      bool // sessions answer VRFY, EXPN and ETRN
}

type received struct {
	from, content string
	to            []string
	orcpt         []string
	mail          gosmtp.MailOptions
	more          MailParameters
}

func (m *memory) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) { return m.BeginSession(c) }

func (m *memory) BeginSession(c Conn) (gosmtp.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = c
	if m.mechanisms != nil {
		return &authSession{memorySession{memory: m}}, nil
	}
	if m.knows {
		return &knowingSession{memorySession{memory: m}}, nil
	}
	return &memorySession{memory: m}, nil
}

// knowingSession answers VRFY, EXPN and ETRN.
type knowingSession struct{ memorySession }

func (s *knowingSession) Verify(mailbox string) error {
	switch mailbox {
	case "a b@ok.example":
		return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 1, 5}, Message: "<\"a b\"@ok.example>"}
	case "no@ok.example":
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox"}
	}
	return nil
}

func (s *knowingSession) MayExpand() bool { return true }

func (s *knowingSession) Expand(list string) ([]string, error) {
	if list == "list@ok.example" {
		return []string{"a@ok.example", "b@ok.example"}, nil
	}
	return nil, nil
}

func (s *knowingSession) MayStartQueue() bool { return true }

func (s *knowingSession) StartQueue(domain string, below bool) (bool, error) {
	switch {
	case domain == "not.example":
		return false, &gosmtp.SMTPError{Code: 459, EnhancedCode: gosmtp.EnhancedCode{4, 7, 1}, Message: "Not allowed"}
	case domain == "below.example":
		return below, nil
	}
	return domain == "ok.example", nil
}

// authSession is a session that can authenticate.
type authSession struct{ memorySession }

func (s *authSession) AuthMechanisms() []string {
	return slices.Sorted(maps.Keys(s.memory.mechanisms))
}

func (s *authSession) Auth(name string) (sasl.Server, error) {
	return s.memory.mechanisms[name](), nil
}

func (m *memory) all() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]received(nil), m.messages...)
}

type memorySession struct {
	memory *memory
	tx     received
}

func (s *memorySession) Reset()                       { s.tx = received{} }
func (s *memorySession) Logout() error                { return nil }
func (s *memorySession) OriginalRecipient(raw string) { s.tx.orcpt = append(s.tx.orcpt, raw) }

func (s *memorySession) MailParameters(p MailParameters) { s.tx.more = p }

func (s *memorySession) Mail(from string, o *gosmtp.MailOptions) error {
	if err := s.memory.mailError; err != nil {
		return err
	}
	s.tx.from, s.tx.mail = from, *o
	return nil
}

func (s *memorySession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "no") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	s.tx.to = append(s.tx.to, to)
	return nil
}

func (s *memorySession) Data(r io.Reader) error {
	if s.memory.started != nil {
		s.memory.started <- struct{}{}
	}
	if s.memory.panics {
		panic("fault")
	}
	if s.memory.early != nil {
		return s.memory.early
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.memory.dataError != nil {
		return s.memory.dataError
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.tx.content = string(b)
	s.memory.messages = append(s.memory.messages, s.tx)
	return nil
}

// start serves a backend on loopback.
func start(t testing.TB, m *memory, edit func(*Options)) (s *Server, address string) {
	t.Helper()
	o := Options{Hostname: "relay.example", Backend: m, MaxSize: 1 << 20}
	if edit != nil {
		edit(&o)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = New(o)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-ended; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, ln.Addr().String()
}

// client is a raw connection to a server.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	return dialFrom(t, "", address)
}

// dialFrom connects from a loopback address of choice.
func dialFrom(t testing.TB, host, address string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	nc, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, nc, bufio.NewReader(nc)}
}

func (c *client) say(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// reply reads one reply, its lines joined by "|".
func (c *client) reply() string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || err != nil && strings.Contains(err.Error(), "reset by peer"):
			return "closed"
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.t.Fatal("no reply")
		case err != nil:
			c.t.Fatalf("read: %v", err)
		case !strings.HasSuffix(line, "\r\n"):
			c.t.Fatalf("reply %q does not end in CRLF", line)
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
		if len(line) > 3 && line[3] == ' ' {
			return strings.Join(lines, "|")
		}
	}
}

// expect reads replies, each of which must begin as wanted.
func (c *client) expect(wants ...string) {
	c.t.Helper()
	for _, want := range wants {
		if got := c.reply(); !strings.HasPrefix(got, want) {
			c.t.Fatalf("reply %q, want %q", got, want)
		}
	}
}

// ready greets and opens a transaction up to the reply to DATA.
func (c *client) ready() *client {
	c.t.Helper()
	c.expect("220 relay.example ")
	c.say("EHLO c.example\r\n")
	c.expect("250-relay.example|")
	return c
}

const envelope = "MAIL FROM:<s@a.example>\r\nRCPT TO:<r@ok.example>\r\n"

func (c *client) inData() *client {
	c.t.Helper()
	c.ready().say(envelope + "DATA\r\n")
	c.expect("250 2.1.0 ", "250 2.1.5 ", "354 ")
	return c
}

func certificate(t testing.TB) tls.Certificate {
	return relaytest.NewCA(t).Leaf("relay.example", "127.0.0.1")
}
