package sevenbit

import (
	"bytes"
	"encoding/base64"
	"io"
)

// converter is a content in 7 bits, made as it is read.
type converter struct {
	parser *parser
	leaves []leaf // of what is to come
	out    []byte // made, and not read yet
	from   int    // of out, what was read
	err    error
	mode   mode
	column int    // quoted-printable: of the line that is being written
	held   []byte // base64: octets that do not fill a line yet
}

// mode is what is done to a leaf.
type mode uint8

const (
	asIs mode = iota
	quotedPrintable
	base64Lines
	escaped  // quoted-printable already, with octets that must not be there
	stripped // any other encoding, with such octets
)

// Read makes as much as it takes to return something.
func (c *converter) Read(p []byte) (int, error) {
	for c.from == len(c.out) {
		if c.err != nil {
			return 0, c.err
		}
		c.out, c.from = c.out[:0], 0
		c.err = c.parser.step()
	}
	n := copy(p, c.out[c.from:])
	c.from += n
	return n, nil
}

// header writes a header section, with the encoding of what follows.
func (c *converter) header(h *section) {
	c.mode, c.column = asIs, 0
	encoding, charset := "", "utf-8"
	switch {
	case h.multipart() || h.message():
		// RFC 2045 §6.4: nothing but 7bit is left for these.
		if h.encoding == "8bit" || h.encoding == "binary" {
			encoding = "7bit"
		}
		c.out = h.write(c.out, encoding, charset)
		return
	case len(c.leaves) > 0:
		encoding, charset = c.choose(h, c.leaves[0])
		c.leaves = c.leaves[1:]
	}
	c.out = h.write(c.out, encoding, charset)
}

// choose decides what is done to a leaf.
func (c *converter) choose(h *section, l leaf) (encoding, charset string) {
	charset = "utf-8"
	if l.other {
		charset = "unknown-8bit"
	}
	switch {
	case !l.encoded() && (h.encoding == "8bit" || h.encoding == "binary"):
		return "7bit", charset
	case !l.encoded():
		return "", charset
	case h.encoding == "quoted-printable":
		c.mode = escaped
		return "", charset
	case !h.identity():
		c.mode = stripped
		return "", charset
	case h.text() && !l.bare:
		c.mode = quotedPrintable
		return "quoted-printable", charset
	}
	c.mode = base64Lines
	return "base64", charset
}

func (c *converter) body(piece []byte) {
	switch c.mode {
	case asIs:
		c.out = append(c.out, piece...)
	case quotedPrintable:
		c.quote(piece)
	case base64Lines:
		c.held = append(c.held, piece...)
		c.encode(len(c.held) - 2) // a line end may belong to a boundary
	case escaped:
		for _, o := range piece {
			if o >= 0x80 {
				c.out = appendHex(c.out, o)
			} else {
				c.out = append(c.out, o)
			}
		}
	case stripped:
		for _, o := range piece {
			if o < 0x80 {
				c.out = append(c.out, o)
			}
		}
	}
}

func (c *converter) end(last bool) {
	if c.mode == base64Lines {
		if !last {
			c.held = bytes.TrimSuffix(c.held, []byte("\r\n"))
		}
		c.encode(len(c.held))
		if len(c.held) > 0 {
			c.line(c.held)
		}
		c.held = c.held[:0]
	}
	c.mode = asIs
}

func (c *converter) outside(piece []byte) { c.out = append(c.out, question(piece)...) }

// perLine is how many octets make a line of base64: 76 characters.
const perLine = 57

// encode writes the full lines among the first n octets that are held.
func (c *converter) encode(n int) {
	done := 0
	for ; done+perLine <= n; done += perLine {
		c.line(c.held[done : done+perLine])
	}
	c.held = append(c.held[:0], c.held[done:]...)
}

func (c *converter) line(octets []byte) {
	c.out = append(base64.StdEncoding.AppendEncode(c.out, octets), "\r\n"...)
}

// maxQuoted is the longest line of quoted-printable, without its end and the
// sign that it goes on (RFC 2045 §6.7).
const maxQuoted = 75

// quote writes a piece of text as quoted-printable. Its line ends are line ends
// there, too.
func (c *converter) quote(piece []byte) {
	text, ended := bytes.CutSuffix(piece, []byte("\r\n"))
	for i, o := range text {
		blank := o == ' ' || o == '\t'
		plain := o >= '!' && o <= '~' && o != '=' || blank && i < len(text)-1
		width := 3
		if plain {
			width = 1
		}
		if c.column+width > maxQuoted {
			c.out = append(c.out, "=\r\n"...)
			c.column = 0
		}
		if plain {
			c.out = append(c.out, o)
		} else {
			c.out = appendHex(c.out, o)
		}
		c.column += width
	}
	if ended {
		c.out = append(c.out, "\r\n"...)
		c.column = 0
	}
}

func appendHex(b []byte, o byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '=', digits[o>>4], digits[o&15])
}

var _ io.Reader = (*converter)(nil)
