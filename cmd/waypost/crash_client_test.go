package main_test

import (
	"bytes"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// client is one SMTP session with the program, in plain words: it knows
// nothing of the program's own packages.
type client struct {
	conn net.Conn
	text *textproto.Conn
}

// dial opens a session and greets.
func dial(address string) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return nil, err
	}
	c := &client{conn: conn, text: textproto.NewConn(conn)}
	if _, err := c.reply(220); err != nil {
		return nil, err
	}
	if _, err := c.command(250, "EHLO client.example"); err != nil {
		return nil, err
	}
	return c, nil
}

// mustDial is dial for tests in which nothing may go wrong.
func mustDial(t testing.TB, address string) *client {
	t.Helper()
	c, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func (c *client) close() { _ = c.text.Close() } // what was acknowledged is safe, however it ends

// reply reads a reply and returns its text. Another code than want is a
// *textproto.Error.
func (c *client) reply(want int) (string, error) {
	_, text, err := c.text.ReadResponse(want)
	return text, err
}

// command sends a line and reads the reply.
func (c *client) command(want int, format string, args ...any) (string, error) {
	if err := c.text.PrintfLine(format, args...); err != nil {
		return "", err
	}
	return c.reply(want)
}

// envelope is what goes with a content. The parameters begin with a blank.
type envelope struct {
	from, parameters string
	to               []string
}

// open sends the envelope.
func (c *client) open(e envelope) error {
	if _, err := c.command(250, "MAIL FROM:<%s>%s", e.from, e.parameters); err != nil {
		return err
	}
	for _, rcpt := range e.to {
		if _, err := c.command(250, "RCPT TO:<%s>", rcpt); err != nil {
			return err
		}
	}
	return nil
}

// data sends a message by DATA and returns its queue ID. The content has to
// end with CRLF unless it is empty (RFC 5321 §4.1.1.4).
func (c *client) data(e envelope, content []byte) (string, error) {
	if err := c.open(e); err != nil {
		return "", err
	}
	if _, err := c.command(354, "DATA"); err != nil {
		return "", err
	}
	if _, err := c.text.W.Write(stuffed(content)); err != nil {
		return "", err
	}
	return c.queued()
}

// stuffed doubles the dots at the start of lines and adds the final one
// (RFC 5321 §4.5.2).
func stuffed(content []byte) []byte {
	wire := bytes.ReplaceAll(content, []byte("\r\n."), []byte("\r\n.."))
	if bytes.HasPrefix(wire, []byte(".")) {
		wire = append([]byte("."), wire...)
	}
	return append(wire, ".\r\n"...)
}

// queued reads the reply that takes a message, and returns the queue ID.
func (c *client) queued() (string, error) {
	if err := c.text.W.Flush(); err != nil {
		return "", err
	}
	text, err := c.reply(250)
	if err != nil {
		return "", err
	}
	_, id, ok := strings.Cut(text, "queued as ")
	if !ok {
		return "", fmt.Errorf("no queue ID in %q", text)
	}
	return id, nil
}

// cutTrace takes the Received field on top of a content apart from the rest.
func cutTrace(content []byte) (field, rest string, err error) {
	s := string(content)
	if !strings.HasPrefix(s, "Received: ") {
		return "", "", fmt.Errorf("no trace field on top of %.100q", s)
	}
	for i := 0; ; {
		end := strings.Index(s[i:], "\r\n")
		if end < 0 {
			return "", "", fmt.Errorf("trace field without end: %.100q", s)
		}
		if i += end + 2; i == len(s) || s[i] != ' ' && s[i] != '\t' {
			return s[:i], s[i:], nil
		}
	}
}

// traceID returns the queue ID in a Received field.
func traceID(field string) string {
	words := strings.Fields(field)
	for i := range len(words) - 1 {
		if words[i] == "id" {
			// A copy, or who keeps the ID would keep the whole content.
			return strings.Clone(strings.TrimSuffix(words[i+1], ";"))
		}
	}
	return ""
}
