package dsn

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"waypost/relay/message"
)

const (
	// maxHeader bounds a returned header section, in octets.
	maxHeader = 128 << 10
	// maxLine is the longest line without CRLF (RFC 5322 §2.1.1).
	maxLine = 998
)

// returned is the plan for the part that brings the content back.
type returned struct {
	mediaType string // empty: no such part
	header    []byte // the header section, ready to be written, unless full
	full      bool
	eightBit  bool
	global    bool // one of the types of RFC 6532 and RFC 6533
}

// planReturn decides what comes back. It reads a header section at once,
// since the report's own header has to tell whether there is UTF-8 in it.
func (c *composer) planReturn() error {
	r := c.report
	if r.Content == nil {
		return nil
	}
	if c.wantsFull() {
		c.back = returned{mediaType: "message/rfc822", full: true, eightBit: r.EightBit, global: r.EightBit && r.UTF8}
		if c.back.global {
			// RFC 6532 §3.7: message/rfc822 has no place for UTF-8 headers.
			c.back.mediaType = "message/global"
		}
		return nil
	}
	header, _, err := message.ReadHeader(r.Content, maxHeader)
	if err != nil {
		return err
	}
	header = cleanHeader(header, r.UTF8)
	c.back = returned{mediaType: "text/rfc822-headers", header: header}
	if !message.IsASCII(string(header)) {
		c.back.mediaType, c.back.eightBit, c.back.global = "message/global-headers", true, true
	}
	return nil
}

// wantsFull reports whether the whole content comes back: RFC 3461 §6.2 wants
// it for failures only, and lets a size limit stand above the sender's wish.
func (c *composer) wantsFull() bool {
	r := c.report
	if r.Return != Full || r.ContentSize <= 0 || r.ContentSize > cmp.Or(r.MaxReturn, DefaultMaxReturn) {
		return false
	}
	for i := range r.Recipients {
		if r.action(&r.Recipients[i]) == Failed {
			return true
		}
	}
	return false
}

// content writes the part that brings the content back.
func (c *composer) content() error {
	if c.back.mediaType == "" {
		return nil
	}
	c.part(c.back.mediaType, c.back.eightBit)
	if !c.back.full {
		c.out.Write(c.back.header)
		return nil
	}
	_, err := io.CopyN(c.out, c.report.Content, c.report.ContentSize)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("return content: %w", err)
	}
	return nil
}

// cleanHeader returns a header section in lines of at most 998 octets that
// end with CRLF, without control characters. What is not ASCII becomes
// question marks, unless native allows valid UTF-8.
func cleanHeader(header []byte, native bool) []byte {
	out := make([]byte, 0, len(header)+2)
	for line := range bytes.Lines(header) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		col := 0
		for len(line) > 0 {
			r, size := utf8.DecodeRune(line)
			piece := line[:size]
			switch {
			case r >= utf8.RuneSelf && (!native || r == utf8.RuneError && size == 1), unicode.IsControl(r) && r != '\t':
				piece = []byte("?")
			}
			if col+len(piece) > maxLine {
				out = append(out, '\r', '\n', ' ')
				col = 1
			}
			out = append(out, piece...)
			col += len(piece)
			line = line[size:]
		}
		out = append(out, '\r', '\n')
	}
	return out
}
