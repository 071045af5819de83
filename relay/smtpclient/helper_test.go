package smtpclient_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"waypost/relay/relaytest"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

const plainExtensions = "SIZE 1000000" // what a host without PIPELINING offers

// counter counts the writes to a connection, and can fake where it leads.
type counter struct {
	net.Conn
	writes atomic.Int32
	remote net.Addr
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func (c *counter) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

func dial(t *testing.T, s *relaytest.Sink) *counter {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &counter{Conn: conn}
}

func options() smtpclient.Options { return smtpclient.Options{Hostname: "relay.example"} }

// open opens a session that must succeed.
func open(t *testing.T, s *relaytest.Sink, o smtpclient.Options) *smtpclient.Client {
	t.Helper()
	c, err := smtpclient.New(t.Context(), dial(t, s), o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func path(t testing.TB, s string) smtp.Path {
	t.Helper()
	p, rest, err := smtp.ParsePath("<"+s+">", true)
	if err != nil || rest != "" {
		t.Fatalf("path %q: %v", s, err)
	}
	return p
}

// message returns a transaction with a small content.
func message(t testing.TB, mailboxes ...string) smtpclient.Transaction {
	t.Helper()
	const content = "Subject: test\r\n\r\n.hello\r\n.\r\n"
	tx := smtpclient.Transaction{
		ReversePath: path(t, "sender@relay.example"),
		Size:        int64(len(content)),
		Content:     strings.NewReader(content),
	}
	for _, m := range mailboxes {
		tx.Recipients = append(tx.Recipients, smtpclient.Recipient{Path: path(t, m)})
	}
	return tx
}

// letter returns a content of about n octets in ordinary lines.
func letter(n int) []byte {
	b := []byte("Subject: a letter\r\n\r\n")
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%06d %s\r\n", i, strings.Repeat("lorem ", 11))
	}
	return b
}

// codes returns the codes of a result, "250 550".
func codes(r smtpclient.Result) string {
	var b strings.Builder
	for i, reply := range r.Recipients {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, reply.Code)
	}
	return b.String()
}

// sent expects a result without an error.
func sent(t *testing.T, c *smtpclient.Client, tx smtpclient.Transaction, want string) smtpclient.Result {
	t.Helper()
	res, err := c.Send(t.Context(), tx)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	if got := codes(res); got != want {
		t.Fatalf("replies %s, want %s", got, want)
	}
	if res.Ambiguous {
		t.Error("ambiguous")
	}
	return res
}

// failed expects an *Error of one stage.
func failed(t *testing.T, err error, stage smtpclient.Stage) *smtpclient.Error {
	t.Helper()
	e, ok := errors.AsType[*smtpclient.Error](err)
	if !ok {
		t.Fatalf("got %v (%T), want an *Error", err, err)
	}
	if e.Stage != stage {
		t.Fatalf("stage %v (%v), want %v", e.Stage, err, stage)
	}
	if e.Permanent() != errors.Is(err, smtpclient.ErrBareLineEnd) {
		t.Errorf("permanent: %v", err)
	}
	return e
}

// steps returns the verbs that the sink saw after the last of EHLO and HELO.
func steps(s *relaytest.Sink) string {
	var verbs []string
	for _, c := range s.Commands() {
		if c.Verb == "EHLO" || c.Verb == "HELO" {
			verbs = nil
		} else {
			verbs = append(verbs, c.Verb)
		}
	}
	return strings.Join(verbs, " ")
}

func clientTLS(ca *relaytest.CA) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: "sink.example"}
}

func equal(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("content differs: %d octets, want %d", len(got), len(want))
	}
}
