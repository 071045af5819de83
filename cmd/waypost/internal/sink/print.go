package sink

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/smtp"
)

const (
	// maxSubject is how far into a content the subject is looked for.
	maxSubject = 64 << 10
	// maxShown is how much of a content is printed.
	maxShown = 1 << 20
)

// content counts what is written to it and keeps its beginning.
type content struct {
	keep int
	head []byte
	size int64
}

// Write takes the next piece.
func (c *content) Write(p []byte) (int, error) {
	c.head = append(c.head, p[:min(len(p), c.keep-len(c.head))]...)
	c.size += int64(len(p))
	return len(p), nil
}

// subject returns the decoded Subject, or "" when there is none that can be
// read.
func (c *content) subject() string {
	// A field that the kept beginning cuts through is left out by the reader's
	// error, and the ones before it are there.
	header, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(c.head))).ReadMIMEHeader()
	raw := header.Get("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(raw); err == nil {
		raw = decoded
	}
	return smtp.Printable(raw)
}

// Event is what a sink prints as JSON; one of its fields is set.
type Event struct {
	// Message was taken.
	Message *Received `json:"message,omitempty"`
	// Refused is a recipient that was refused.
	Refused *Refused `json:"refused,omitempty"`
	// Totals is what came until the end.
	Totals *Totals `json:"totals,omitempty"`
}

// Received is one message that was taken.
type Received struct {
	// Number counts messages from 1.
	Number int64 `json:"number"`
	// From and To are the envelope's, without angle brackets; From is "" for
	// the null reverse-path.
	From string   `json:"from"`
	To   []string `json:"to"`
	// Size is in octets.
	Size int64 `json:"size"`
	// Subject is the decoded field; left out where there is none.
	Subject string `json:"subject,omitempty"`
	// Content is what --print shows, without what is not UTF-8; else it is
	// left out.
	Content string `json:"content,omitempty"`
}

// Refused is one recipient that was refused.
type Refused struct {
	To    string `json:"to"`
	Reply string `json:"reply"`
}

// print prints the event on a line.
func (e Event) print(w io.Writer) error {
	text, err := terminal.JSON(e, "")
	if err == nil {
		_, err = fmt.Fprintln(w, text)
	}
	return err
}

// received counts and prints a message, and makes the reply.
func (s *Sink) received(from smtp.Path, to []smtp.Path, c *content) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Messages++
	s.totals.Recipients += int64(len(to))
	s.totals.Bytes += c.size
	if err := s.print(from, to, c); err != nil {
		return refusal(451, gosmtp.EnhancedCode{4, 3, 0}, "The output of this sink is closed")
	}
	return &gosmtp.SMTPError{
		Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: fmt.Sprintf("OK, message %d of this sink", s.totals.Messages),
	}
}

func (s *Sink) print(from smtp.Path, to []smtp.Path, c *content) error {
	if s.o.Quiet {
		return nil
	}
	if s.o.JSON {
		return s.printJSON(from, to, c)
	}
	line := fmt.Sprintf("message %d from %s to %s, %s", s.totals.Messages, mailbox(from), mailboxes(to), number(c.size, "byte"))
	if subject := c.subject(); subject != "" {
		line += ", subject: " + subject
	}
	if _, err := fmt.Fprintln(s.o.Out, line); err != nil || !s.o.Print {
		return err
	}
	w := terminal.NewWriter(s.o.Out)
	if _, err := w.Write(c.head); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	end := "\n"
	if hidden := c.size - int64(len(c.head)); hidden > 0 {
		end = fmt.Sprintf("\n[%s more not shown]\n\n", number(hidden, "byte"))
	}
	_, err := io.WriteString(s.o.Out, end)
	return err
}

func (s *Sink) printJSON(from smtp.Path, to []smtp.Path, c *content) error {
	m := &Received{Number: s.totals.Messages, From: from.String(), Size: c.size, Subject: c.subject()}
	for _, p := range to {
		m.To = append(m.To, p.String())
	}
	if s.o.Print {
		m.Content = string(c.head)
	}
	return Event{Message: m}.print(s.o.Out)
}

// refused counts and prints a recipient that was refused.
func (s *Sink) refused(to smtp.Path, reply smtp.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Refused++
	// A message that comes later finds out when nobody reads any more.
	switch {
	case s.o.Quiet:
	case s.o.JSON:
		_ = Event{Refused: &Refused{to.String(), reply.String()}}.print(s.o.Out)
	default:
		_, _ = fmt.Fprintf(s.o.Out, "refused %s: %s\n", mailbox(to), reply)
	}
}

func mailbox(p smtp.Path) string { return "<" + smtp.Printable(p.String()) + ">" }

func mailboxes(all []smtp.Path) string {
	var list []string
	for _, p := range all {
		list = append(list, mailbox(p))
	}
	return strings.Join(list, ", ")
}
