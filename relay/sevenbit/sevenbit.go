// Package sevenbit rewrites content for hosts that take only 7 bits.
//
// What a host cannot take is never sent to it raw. Scan reads a content once and
// says which of its parts need an encoding; Convert reads it again and returns
// the same message in 7 bits: text as quoted-printable, everything else as
// base64, header fields as encoded words, and every other part as it was
// (RFC 6152 §3, RFC 2045 §6, RFC 2047). Neither holds more of a content than one
// header section and one block.
//
// A signature over what is rewritten breaks, which cannot be helped. It refuses
// content whose structure it cannot follow: too deep, or with a header section
// that does not end.
package sevenbit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrStructure means that a content cannot be converted.
var ErrStructure = errors.New("the structure of the message cannot be converted to 7 bits")

// Info is what Scan found out.
type Info struct {
	// HeaderEightBit says that a header section, of the message or of a part,
	// has octets over 127: only hosts with SMTPUTF8 take that as it is.
	HeaderEightBit bool
	leaves         []leaf
}

// leaf is a part that has no parts.
type leaf struct {
	eightBit bool // octets over 127
	bare     bool // a bare CR or LF, or NUL: no lines
	long     bool // a line of more than 998 octets
	other    bool // not valid UTF-8
}

func (l leaf) encoded() bool { return l.eightBit || l.bare || l.long }

// Scan reads a content to its end.
func Scan(r io.Reader) (*Info, error) {
	info := &Info{}
	p := newParser(r, &scanner{info: info})
	for {
		err := p.step()
		if err == io.EOF {
			return info, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Convert returns the content that was scanned, in 7 bits. r reads it from its
// beginning.
func (i *Info) Convert(r io.Reader) io.Reader {
	c := &converter{leaves: i.leaves}
	c.parser = newParser(r, c)
	return c
}

// blockSize bounds how much of a line is looked at in one piece.
const blockSize = 16 << 10

// handler is told what a parser finds, in the order of the content.
type handler interface {
	// header is a whole header section, with the empty line that ends it.
	header(h *section)
	// body is a piece of a leaf: a line with its end, or a part of a long one.
	body(piece []byte)
	// end is the end of a leaf. last says that the content ends with it;
	// otherwise the line end before it belongs to the boundary.
	end(last bool)
	// outside is a piece that belongs to no part: boundaries, and what stands
	// before the first and after the last.
	outside(piece []byte)
}

// parser follows the structure of a content (RFC 2046 §5.1.1).
type parser struct {
	br         *bufio.Reader
	to         handler
	boundaries []boundary // of the multiparts that are open, outermost first
	state      state
	head       []byte
	digest     bool // the parts' default type is message/rfc822
	lineStart  bool
	cr         bool // the last piece ended in CR
	top        bool // the next header section is that of a message
	done       bool
}

type boundary struct {
	text   string
	digest bool
}

type state uint8

const (
	inHeader state = iota
	inLeaf
	between // before the first part, or after the last one
)

// Limits of what is followed.
const (
	maxHeader = 256 << 10
	maxDepth  = 100
)

func newParser(r io.Reader, to handler) *parser {
	return &parser{br: bufio.NewReaderSize(r, blockSize), to: to, lineStart: true, top: true}
}

// step takes one piece of the content; io.EOF is its end.
func (p *parser) step() error {
	if p.done {
		return io.EOF
	}
	piece, err := p.br.ReadSlice('\n')
	if err == io.EOF && len(piece) == 0 {
		return p.finish()
	}
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("read content: %w", err)
	}
	atStart := p.lineStart
	// Only CRLF ends a line: within binary content an LF does not.
	p.lineStart = bytes.HasSuffix(piece, []byte("\r\n")) || p.cr && piece[0] == '\n'
	p.cr = piece[len(piece)-1] == '\r'
	found := atStart && p.boundary(piece)
	if p.state == inHeader {
		// A header section has lines whatever follows it: newSection agrees.
		p.lineStart = piece[len(piece)-1] == '\n'
	}
	if found {
		return nil
	}
	switch p.state {
	case inHeader:
		return p.headerLine(piece, atStart)
	case inLeaf:
		p.to.body(piece)
	default:
		p.to.outside(piece)
	}
	return nil
}

// finish is the end of the content, wherever it comes.
func (p *parser) finish() error {
	p.done = true
	if p.state == inHeader {
		p.endHeader()
	}
	if p.state == inLeaf {
		p.to.end(true)
	}
	return nil
}

func (p *parser) headerLine(piece []byte, atStart bool) error {
	if len(p.head)+len(piece) > maxHeader {
		return fmt.Errorf("%w: a header section of more than %d octets", ErrStructure, maxHeader)
	}
	empty := atStart && (string(piece) == "\r\n" || string(piece) == "\n")
	p.head = append(p.head, piece...)
	if !empty {
		return nil
	}
	if len(p.boundaries) > maxDepth {
		return fmt.Errorf("%w: more than %d parts within each other", ErrStructure, maxDepth)
	}
	p.lineStart = true
	p.endHeader()
	return nil
}

// endHeader decides what follows a header section.
func (p *parser) endHeader() {
	h := newSection(p.head, p.digest, p.top)
	p.head, p.top = p.head[:0], h.message()
	p.state, p.digest = inLeaf, false
	switch {
	case h.multipart():
		p.boundaries = append(p.boundaries, boundary{h.boundary, h.digest})
		p.state = between
	case h.message():
		p.state = inHeader
	}
	p.to.header(h)
}

// boundary takes a line that ends a part (RFC 2046 §5.1.1).
func (p *parser) boundary(line []byte) bool {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' || len(p.boundaries) == 0 {
		return false
	}
	for i := len(p.boundaries) - 1; i >= 0; i-- {
		last, ok := matches(line[2:], p.boundaries[i].text)
		if !ok {
			continue
		}
		if p.state == inHeader {
			p.endHeader()
		}
		if p.state == inLeaf {
			p.to.end(false)
		}
		p.boundaries = p.boundaries[:min(i+1, len(p.boundaries))]
		p.state, p.digest = inHeader, p.boundaries[i].digest
		if last {
			p.boundaries, p.state = p.boundaries[:i], between
		}
		p.to.outside(line)
		return true
	}
	return false
}

// matches compares what follows the two dashes. Blanks may follow a boundary.
func matches(line []byte, text string) (last, ok bool) {
	if len(line) < len(text) || string(line[:len(text)]) != text {
		return false, false
	}
	rest := line[len(text):]
	if len(rest) >= 2 && rest[0] == '-' && rest[1] == '-' {
		last, rest = true, rest[2:]
	}
	for _, c := range rest {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false, false
		}
	}
	return last, true
}
