package sendmail

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/drop"
)

// Server is where messages are submitted.
type Server struct {
	// Address is host:port. Implicit begins with TLS, StartTLS turns to it.
	// The server is on this host, so its certificate is not verified.
	Address            string
	Implicit, StartTLS bool
	// Hostname is our name in EHLO.
	Hostname string
	// Dialogue gets what both sides say, but for the content; nil is nobody.
	Dialogue io.Writer
}

// Refused lists the recipients that the server does not take. The others have
// been submitted.
type Refused []error

// Error has a line for each.
func (r Refused) Error() string { return errors.Join(r...).Error() }

const (
	connectTimeout = 10 * time.Second
	replyTimeout   = 5 * time.Minute
)

// Dial connects, without a word said.
func (s Server) Dial() (net.Conn, error) {
	d := net.Dialer{Timeout: connectTimeout}
	if s.Implicit {
		return tls.DialWithDialer(&d, "tcp", s.Address, s.tls())
	}
	return d.Dial("tcp", s.Address)
}

// tls does not verify: who can listen on our own loopback instead of waypost
// can read the file that is submitted as well.
func (s Server) tls() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// Submit sends a message. Refused means that some or all recipients were
// refused for good; of any other error Temporary tells what it is worth.
func (s Server) Submit(e drop.Envelope, content io.Reader, eightBit bool) error {
	conn, err := s.Dial()
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.Address, err)
	}
	secured := s.shown(conn)
	if s.StartTLS {
		if secured, err = s.startTLS(conn); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	c := gosmtp.NewClient(secured)
	defer c.Close()
	c.CommandTimeout, c.SubmissionTimeout = replyTimeout, 2*replyTimeout
	if err := c.Hello(s.Hostname); err != nil {
		return fmt.Errorf("greet %s: %w", s.Address, err)
	}
	refused, err := s.transaction(c, e, content, eightBit)
	if err != nil {
		return err
	}
	_ = c.Quit() // the message has been taken already
	if len(refused) > 0 {
		return refused
	}
	return nil
}

func (s Server) transaction(c *gosmtp.Client, e drop.Envelope, content io.Reader, eightBit bool) (refused Refused, err error) {
	mail := &gosmtp.MailOptions{UTF8: e.UTF8}
	if ok, _ := c.Extension("8BITMIME"); ok && eightBit {
		mail.Body = gosmtp.Body8BitMIME
	}
	dsn, _ := c.Extension("DSN")
	if dsn {
		mail.Return, mail.EnvelopeID = gosmtp.DSNReturn(e.Return), e.ID
	}
	if err := c.Mail(e.From, mail); err != nil {
		return nil, fmt.Errorf("sender <%s>: %w", e.From, err)
	}
	for _, to := range e.To {
		o := &gosmtp.RcptOptions{}
		if dsn && e.Notify != "" {
			for word := range strings.SplitSeq(e.Notify, ",") {
				o.Notify = append(o.Notify, gosmtp.DSNNotify(word))
			}
		}
		err := c.Rcpt(to, o)
		if err != nil && Temporary(err) {
			return nil, fmt.Errorf("recipient <%s>: %w", to, err)
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("recipient <%s>: %w", to, err))
		}
	}
	if len(refused) == len(e.To) {
		return refused, nil
	}
	w, err := c.Data()
	if err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	if _, err := io.Copy(w, content); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return refused, nil
}

// Temporary reports whether an error of Submit may go away: anything but a
// reply that says no.
func Temporary(err error) bool {
	if _, ok := errors.AsType[Refused](err); ok {
		return false
	}
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	return !ok || reply.Code/100 != 5
}

// shown is a connection of which the dialogue is shown to whoever wants it.
func (s Server) shown(conn net.Conn) net.Conn {
	if s.Dialogue == nil {
		return conn
	}
	return &dialogue{Conn: conn, out: s.Dialogue}
}

// startTLS turns a connection to TLS. go-smtp's own way would hide what is said
// under it. What goes wrong here is nothing that the message could help, and no
// error of it is for good.
func (s Server) startTLS(conn net.Conn) (net.Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return nil, err
	}
	text := textproto.NewConn(s.shown(conn))
	_, _, err := text.ReadResponse(220)
	for _, step := range []struct {
		command string
		code    int
	}{{"EHLO " + s.Hostname, 250}, {"STARTTLS", 220}} {
		if err == nil {
			err = text.PrintfLine("%s", step.command)
		}
		if err == nil {
			_, _, err = text.ReadResponse(step.code)
		}
	}
	if err == nil && text.R.Buffered() > 0 {
		err = errors.New("the server goes on in clear") // RFC 3207 §6
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, fmt.Errorf("turn to TLS with %s: %w", s.Address, err)
	}
	return &greeted{Conn: s.shown(tls.Client(conn, s.tls())), rest: []byte("220 \r\n")}, nil
}

// greeted is a connection on which the greeting was read already: a client that
// waits for one gets it.
type greeted struct {
	net.Conn
	rest []byte
}

// Read reads the greeting first.
func (g *greeted) Read(p []byte) (int, error) {
	if len(g.rest) > 0 {
		n := copy(p, g.rest)
		g.rest = g.rest[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

// dialogue is a connection of which every line is shown, but for the content.
type dialogue struct {
	net.Conn
	out     io.Writer
	data    bool // DATA was said
	content bool // and taken
	said    []byte
	heard   []byte
}

// Read shows what the server says.
func (d *dialogue) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	d.heard = d.show("<<< ", append(d.heard, p[:n]...), func(line string) {
		d.content = d.data && strings.HasPrefix(line, "354")
		d.data = d.data && d.content
	})
	return n, err
}

// Write shows what we say.
func (d *dialogue) Write(p []byte) (int, error) {
	if d.content {
		d.said = append(d.said, p...)
		if !bytes.HasSuffix(d.said, []byte("\r\n.\r\n")) && string(d.said) != ".\r\n" {
			d.said = d.said[max(len(d.said)-4, 0):]
		} else {
			d.said, d.content, d.data = nil, false, false
			fmt.Fprintln(d.out, ">>> (content) .")
		}
		return d.Conn.Write(p)
	}
	d.said = d.show(">>> ", append(d.said, p...), func(line string) { d.data = strings.EqualFold(line, "DATA") })
	return d.Conn.Write(p)
}

// show prints whole lines and returns the rest.
func (d *dialogue) show(before string, b []byte, seen func(line string)) []byte {
	for {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok {
			return b
		}
		seen(string(line))
		fmt.Fprintln(d.out, before+string(line))
		b = rest
	}
}
