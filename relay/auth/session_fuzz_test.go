package auth

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtpserver"
	"waypost/relay/watch"
)

// gate is a backend whose sessions log in and do nothing else.
type gate struct {
	auth   *Authenticator
	mu     sync.Mutex
	logins []string
}

func (g *gate) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) { return g.BeginSession(c) }

func (g *gate) BeginSession(c smtpserver.Conn) (gosmtp.Session, error) {
	return &gateSession{gate: g, conn: c}, nil
}

type gateSession struct {
	gosmtp.Session // nil: no message gets that far
	gate           *gate
	conn           smtpserver.Conn
}

func (s *gateSession) Mail(string, *gosmtp.MailOptions) error {
	return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: "no mail"}
}

func (s *gateSession) Reset()                   {}
func (s *gateSession) Logout() error            { return nil }
func (s *gateSession) AuthMechanisms() []string { return s.gate.auth.Mechanisms(s.conn) }

func (s *gateSession) Auth(mechanism string) (sasl.Server, error) {
	return s.gate.auth.Begin(s.conn, mechanism, func(login string) {
		s.gate.mu.Lock()
		defer s.gate.mu.Unlock()
		s.gate.logins = append(s.gate.logins, login)
	})
}

// finite is a connection whose client says so much, and then closes its sending
// side.
type finite struct {
	net.Conn
	left int
}

func (c *finite) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	c.left -= n
	return n, err
}

// oneConn is a listener with one connection.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	if nc, ok := <-l; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// FuzzLogins gives a session whatever a client may say around a login, through
// the whole server. Every line gets its reply and the session stays in step,
// nobody becomes somebody whom the users file does not have, and success is told
// when, and only when, somebody has logged in.
func FuzzLogins(f *testing.F) {
	users, err := Parse([]byte("user:" + rfc7677))
	if err != nil {
		f.Fatal(err)
	}
	const plain, name, password = "AHVzZXIAcGVuY2ls", "dXNlcg==", "cGVuY2ls"
	for _, s := range []string{
		"AUTH PLAIN " + plain + "\r\n", "AUTH PLAIN\r\n" + plain + "\r\n", "AUTH PLAIN =\r\n", "AUTH PLAIN ====\r\n", "AUTH PLAIN AHUAdwA=\r\n",
		"AUTH LOGIN\r\n" + name + "\r\n" + password + "\r\n", "AUTH LOGIN " + name + "\r\n" + password + "\r\n", "AUTH LOGIN\r\n\r\n*\r\n", "AUTH LOGIN\r\n*\r\nAUTH PLAIN " + plain + "\r\n",
		"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9cg==\r\nYz1iaXdzLHI9cixwPXA=\r\n", "AUTH SCRAM-SHA-256\r\nbixhPXgsbj11c2VyLHI9cg==\r\n", "AUTH SCRAM-SHA-256 eSwsbj11c2VyLHI9cg==\r\n*\r\n",
		"AUTH SCRAM-SHA-256-PLUS x\r\n", "AUTH EXTERNAL =\r\n", "AUTH NTLM x\r\n", "AUTH\r\n", "AUTH PLAIN x y\r\n",
		"AUTH LOGIN\r\nEHLO x\r\n", "AUTH PLAIN " + plain + "\r\nAUTH PLAIN " + plain + "\r\n", "AUTH PLAIN\n" + plain + "\n", "AUTH LOGIN\r\n" + strings.Repeat("A", 13000) + "\r\nNOOP\r\n",
		strings.Repeat("AUTH PLAIN AHUAdwA=\r\n", 6),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		g := &gate{auth: New(Options{Users: watch.Fixed(users)})}
		g.auth.guard.delays = func(time.Duration) {}
		server := smtpserver.New(smtpserver.Options{Hostname: "relay.example", Backend: g, Auth: smtpserver.AuthOptional, AuthInClear: true})
		ours, theirs := net.Pipe()
		conns := make(oneConn, 1)
		// Whatever was sent, an end of a line, of an exchange and of the session follows.
		text := append(append([]byte("EHLO x\r\n"), sent...), "\r\n*\r\nQUIT\r\n"...)
		conns <- &finite{ours, len(text)}
		close(conns)
		if err := server.Serve(conns); err != net.ErrClosed {
			t.Fatal(err)
		}
		go theirs.Write(text) // which fails when the session ends early
		succeeded := 0
		for r := bufio.NewReader(theirs); ; {
			line, err := r.ReadString('\n')
			if err == io.EOF {
				break
			}
			if err != nil || len(line) < 5 || !strings.HasSuffix(line, "\r\n") || !strings.Contains("2345", line[:1]) || strings.Contains(line, "pencil") {
				t.Fatalf("reply %q, %v", line, err)
			}
			if strings.HasPrefix(line, "235 ") {
				succeeded++
			}
		}
		theirs.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(g.logins) != succeeded || len(g.logins) > 0 && g.logins[0] != "user" {
			t.Errorf("logged in: %q, told of %d", g.logins, succeeded)
		}
	})
}
