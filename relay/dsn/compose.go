package dsn

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"

	"waypost/relay/message"
	"waypost/relay/smtp"
)

// composer writes one report.
type composer struct {
	report   *Report
	out      *bufio.Writer
	count    *counter
	buf      []byte // one block of fields or text at a time
	host     string
	boundary string
	native   bool // recipients' addresses stand in UTF-8
	back     returned
}

// Compose writes the report r to w, streaming a content that is returned
// whole. It fails with an error from w or from r.Content, with ErrNullSender,
// ErrNoRecipients or ErrBoundary, and with io.ErrUnexpectedEOF when Content
// is shorter than ContentSize; what has reached w is of no use then.
func Compose(w io.Writer, r Report) (Composed, error) {
	c, err := newComposer(w, &r)
	if err != nil {
		return Composed{}, fmt.Errorf("compose report: %w", err)
	}
	c.header()
	c.text()
	c.status()
	if err := c.content(); err != nil {
		return Composed{}, fmt.Errorf("compose report: %w", err)
	}
	c.out.WriteString("\r\n--" + c.boundary + "--\r\n")
	if err := c.out.Flush(); err != nil {
		return Composed{}, fmt.Errorf("compose report: %w", err)
	}
	return Composed{
		EightBit: c.eightBit(),
		UTF8:     c.native || c.back.global || c.toEightBit(),
		Full:     c.back.full,
		Size:     c.count.n,
	}, nil
}

func newComposer(w io.Writer, r *Report) (*composer, error) {
	switch {
	// RFC 3461 §5.2: no report on a message from the null reverse-path.
	case r.To.IsNull():
		return nil, ErrNullSender
	case len(r.Recipients) == 0:
		return nil, ErrNoRecipients
	}
	c := &composer{report: r, host: hostname(r.Hostname), boundary: r.Boundary, count: &counter{w: w}}
	c.out = bufio.NewWriter(c.count)
	if c.boundary == "" {
		// "=_" cannot occur in base64 or in quoted-printable.
		c.boundary = "=_" + rand.Text()
	}
	if !validBoundary(c.boundary) {
		return nil, ErrBoundary
	}
	c.native = r.UTF8 && slices.ContainsFunc(r.Recipients, func(rcpt Recipient) bool { return needsUTF8(&rcpt) })
	return c, c.planReturn()
}

// eightBit reports whether any part has octets over 127, which both it and
// the whole have to declare (RFC 2045 §6.4).
func (c *composer) eightBit() bool {
	return c.native || c.back.eightBit || c.toEightBit()
}

// header writes the header section of the report.
func (c *composer) header() {
	r := c.report
	id := r.MessageID
	if id == "" {
		id = rand.Text() + "@" + c.host
	}
	b := c.buf[:0]
	b = field(b, "From", "", "Mail Delivery System <postmaster@"+c.host+">")
	b = c.appendTo(b)
	b = field(b, "Subject", "", subject(r.Kind))
	b = field(b, "Date", "", message.Date(r.Now))
	b = field(b, "Message-ID", "<"+message.ASCII(id)+">", "")
	// RFC 3834 §5: so that no responder answers.
	b = field(b, "Auto-Submitted", "", "auto-replied")
	if r.TLSOptional {
		// RFC 8689 §3.
		b = field(b, "TLS-Required", "", "No")
	}
	b = field(b, "MIME-Version", "", "1.0")
	// RFC 6522 §3: the type of the whole.
	b = field(b, "Content-Type", "", `multipart/report; report-type=delivery-status; boundary="`+c.boundary+`"`)
	if c.back.eightBit || c.native {
		b = field(b, "Content-Transfer-Encoding", "", "8bit")
	}
	b = append(b, "\r\nThis is a delivery status report in MIME format.\r\n"...)
	c.write(b)
}

// subject has no word of the original: a report is not to carry a stranger's
// text to where it is read first.
func subject(k Kind) string {
	switch k {
	case Delay:
		return "Delayed mail: delivery is still being tried"
	case Success:
		return "Mail delivery report: your message was passed on"
	}
	return "Undelivered mail: returned to its sender"
}

// status writes the part for programs (RFC 3464 §2.1, RFC 6533 §4).
func (c *composer) status() {
	if c.native {
		c.part("message/global-delivery-status", true)
	} else {
		c.part("message/delivery-status", false)
	}
	c.write(c.appendMessageFields(c.buf[:0]))
	for i := range c.report.Recipients {
		b := append(c.buf[:0], '\r', '\n')
		c.write(c.appendRecipientFields(b, &c.report.Recipients[i]))
	}
}

// part begins a part. The CRLF before the delimiter is not of the part
// before (RFC 2046 §5.1.1), so that a returned content keeps its own end.
func (c *composer) part(mediaType string, eightBit bool) {
	b := append(c.buf[:0], "\r\n--"+c.boundary+"\r\n"...)
	b = field(b, "Content-Type", "", mediaType)
	if eightBit {
		b = field(b, "Content-Transfer-Encoding", "", "8bit")
	}
	c.write(append(b, '\r', '\n'))
}

// write writes b, which was built on c.buf, and keeps its room for the next.
// An error stays in c.out and comes back from Flush.
func (c *composer) write(b []byte) {
	c.buf = b[:0]
	c.out.Write(b)
}

// hostname returns our name in ASCII. It is for the configuration to refuse
// a bad one; a report is not lost over it.
func hostname(s string) string {
	if _, err := smtp.ParseLiteral(s); err == nil {
		return s
	}
	if ascii, err := smtp.ASCIIDomain(s); err == nil {
		return ascii
	}
	return "localhost"
}

// validBoundary: RFC 2046 §5.1.1, but no spaces.
func validBoundary(s string) bool {
	const marks = "'()+_,-./:=?"
	return len(s) <= 70 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(marks, r)
	})
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
