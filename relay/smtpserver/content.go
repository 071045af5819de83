package smtpserver

import (
	"bytes"
	"errors"
	"io"

	gosmtp "github.com/emersion/go-smtp"
)

// errTooLarge is what a backend reads at the size limit. It is the reply, too.
var errTooLarge = &gosmtp.SMTPError{Code: 552, EnhancedCode: gosmtp.EnhancedCode{5, 3, 4}, Message: "Message exceeds the size limit"}

// errFlood ends the session of a client that goes on sending far beyond the
// limit.
var errFlood = errors.New("far more content than the size limit allows")

// content is a message as it arrives: a backend reads it like any reader, or
// has it written with WriteTo, which copies nothing.
type content struct {
	next  func() ([]byte, error) // the next piece, valid until the call after
	piece []byte
	size  int64
	limit int64 // 0 means none
	err   error // io.EOF at the true end; anything else is final as well
}

// advance makes piece non-empty, or returns why that cannot be.
func (c *content) advance() error {
	for len(c.piece) == 0 {
		if c.err != nil {
			return c.err
		}
		c.piece, c.err = c.next()
		c.size += int64(len(c.piece))
	}
	return nil
}

// over reports whether the content is larger than the limit.
func (c *content) over() bool { return c.limit > 0 && c.size > c.limit }

// Read returns errTooLarge at the size limit.
func (c *content) Read(p []byte) (int, error) {
	if err := c.advance(); err != nil {
		return 0, err
	}
	if c.over() {
		return 0, errTooLarge
	}
	n := copy(p, c.piece)
	c.piece = c.piece[n:]
	return n, nil
}

// WriteTo writes the content as it comes.
func (c *content) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if err := c.advance(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		if c.over() {
			return total, errTooLarge
		}
		n, err := w.Write(c.piece)
		total += int64(n)
		c.piece = nil
		if err != nil {
			return total, err
		}
	}
}

// drain reads on to the true end, whatever the backend left. Only then does
// what follows have a meaning.
func (c *content) drain() error {
	for {
		c.piece = nil
		if err := c.advance(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if c.limit > 0 && c.size > 2*c.limit+(64<<20) {
			return errFlood
		}
	}
}

// dotState is where in a line the DATA reader is.
type dotState uint8

const (
	lineStart dotState = iota
	inLine
	afterCR
)

var crlfDot = []byte("\r\n.")

// dotReader takes the transparency off a DATA body (RFC 5321 §4.5.2). The end
// is CRLF . CRLF and nothing else (§4.1.1.4); bare CR and LF pass through, for
// the backend to refuse.
type dotReader struct {
	in    *input
	state dotState
	given int // octets of the last piece, consumed at the next call
}

func (d *dotReader) next() ([]byte, error) {
	d.in.consume(d.given)
	d.given = 0
	for {
		if len(d.in.buffered()) == 0 {
			if err := d.in.fill(); err != nil {
				return nil, noEOF(err)
			}
		}
		b := d.in.buffered()
		switch {
		case d.state == lineStart && b[0] == '.':
			end, err := d.dot()
			if err != nil {
				return nil, err
			}
			if end {
				return nil, io.EOF
			}
			d.state = inLine
			continue
		case d.state == afterCR && b[0] == '\n':
			d.state, d.given = lineStart, 1
			return b[:1], nil
		}
		// Search for the next dot that begins a line.
		if i := bytes.Index(b, crlfDot); i >= 0 {
			b = b[:i+2]
		}
		d.state, d.given = stateAfter(b), len(b)
		return b, nil
	}
}

func stateAfter(b []byte) dotState {
	switch {
	case bytes.HasSuffix(b, crlfDot[:2]):
		return lineStart
	case b[len(b)-1] == '\r':
		return afterCR
	}
	return inLine
}

// dot consumes the dot that begins a line, and the CRLF behind it if there is
// one, which is the end.
func (d *dotReader) dot() (end bool, err error) {
	for {
		b := d.in.buffered()
		switch {
		case len(b) >= 3 && b[1] == '\r' && b[2] == '\n':
			d.in.consume(3)
			return true, nil
		case len(b) >= 3, len(b) == 2 && b[1] != '\r':
			d.in.consume(1)
			return false, nil
		}
		if err := d.in.fill(); err != nil {
			return false, noEOF(err)
		}
	}
}

// noEOF keeps the end of the connection from passing for the end of the
// content.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
