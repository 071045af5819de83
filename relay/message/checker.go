package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Defaults of Limits.
const (
	// DefaultReceived is the number of hops after which a message is taken
	// for a loop (RFC 5321 §6.3: at least 100).
	DefaultReceived = 100
	// DefaultOwn is how often a message may have been here before. Filters that
	// give mail back and addresses that lead back here take a few.
	DefaultOwn = 10
	// DefaultHeader is the largest header section, in octets.
	DefaultHeader = 1 << 20
)

// MaxLine is the longest line that every host takes, in octets without its CRLF
// (RFC 5322 §2.1.1).
const MaxLine = 998

// Reasons why a content may not be taken. They come wrapped with detail;
// compare with errors.Is.
var (
	// ErrBareLineEnd means that there is a CR without LF or an LF without CR.
	// Taking one for a line end is how messages are smuggled (RFC 5321
	// §2.3.8).
	ErrBareLineEnd = errors.New("bare CR or LF in the content")
	// ErrHeader means that the header section is larger than the limit.
	ErrHeader = errors.New("header section too large")
	// ErrLoop means that the message has too many Received fields.
	ErrLoop = errors.New("too many hops")
)

// Limits are the bounds that a Checker holds a content to.
type Limits struct {
	// Received is the greatest number of Received fields that passes. Zero
	// means DefaultReceived.
	Received int
	// Hostname is our own name in Received fields. Empty means that none is ours.
	Hostname string
	// Own is the greatest number of Received fields of our own that passes. Zero
	// means DefaultOwn.
	Own int
	// Header is the greatest size of the header section, in octets with the
	// empty line. Zero means DefaultHeader.
	Header int64
	// Binary allows CR and LF to stand alone: the content came with
	// BODY=BINARYMIME (RFC 3030 §3).
	Binary bool
	// Fields are names of header fields to keep, in lower case.
	Fields []string
}

// Seen is a field of the header section, or how it begins.
type Seen struct {
	// Name is in lower case; Value is what stands behind the colon on the
	// first line, up to 998 octets.
	Name, Value string
}

// maxFields bounds the fields that are kept of one content.
const maxFields = 100

// Result is what a Checker saw, as though the content had ended there.
type Result struct {
	// Size is the number of octets.
	Size int64
	// HeaderSize is the size of the header section with the empty line that
	// ends it, in octets: the whole content where no line is empty.
	HeaderSize int64
	// Received is the number of Received fields in the header section.
	Received int
	// Own is how many of them were written under our own name.
	Own int
	// MessageID is what the first Message-ID field has, without its angle
	// brackets, up to 998 octets; empty where there is none. It is not checked
	// and may hold anything but line ends.
	MessageID string
	// LongestLine is the length of the longest line without its CRLF, in
	// octets.
	LongestLine int64
	// BareCR and BareLF tell of a CR without LF and an LF without CR.
	BareCR, BareLF bool
	// NUL tells of a NUL octet.
	NUL bool
	// HeaderEightBit and BodyEightBit tell of octets over 127.
	HeaderEightBit, BodyEightBit bool
	// Terminated is true when the content is empty or ends with CRLF. A client
	// that sends it has to add one otherwise (RFC 5321 §4.1.1.4).
	Terminated bool
}

// EightBit reports whether there are octets over 127 anywhere: the next hop
// must offer 8BITMIME then (RFC 6152 §3).
func (r Result) EightBit() bool { return r.HeaderEightBit || r.BodyEightBit }

// Checker inspects a content that is written to it in pieces of any size. It
// finds the same whatever the pieces are, in constant memory, and a fault
// never stops it: the caller has to read on to the true end of the data, or
// the rest would be taken for commands. Make one with NewChecker.
type Checker struct {
	limits Limits
	res    Result

	cr, crlf int64 // CRs seen, and those with an LF behind
	lineLen  int64 // octets of the current line so far
	last     byte  // the last octet, where lineLen is not zero
	openEnd  bool  // the last octets are not CRLF
	inBody   bool
	line     [maxHeaderLine]byte // how the current header line begins
	id       []byte              // of the Message-ID field, as far as it was seen
	fields   []Seen
	inID     bool // the last header line belongs to it
	hop      hop  // the Received field that it belongs to, if it does
}

// hop is where a Checker is in a Received field.
type hop uint8

const (
	noHop  hop = iota // in another field, or behind the name
	inHop             // before "by"
	byHost            // at the name
)

const (
	receivedName  = "received"
	messageIDName = "message-id"

	// maxMessageID is how much of a Message-ID is kept: as much as a line has
	// room for (RFC 5322 §2.1.1).
	maxMessageID = 998
	// maxHeaderLine is how much of a header line is looked at.
	maxHeaderLine = len(messageIDName) + 4 + maxMessageID
)

// NewChecker returns a Checker for one content.
func NewChecker(limits Limits) *Checker {
	if limits.Received == 0 {
		limits.Received = DefaultReceived
	}
	if limits.Own == 0 {
		limits.Own = DefaultOwn
	}
	if limits.Header == 0 {
		limits.Header = DefaultHeader
	}
	return &Checker{limits: limits}
}

// Write inspects the next piece. It takes all of p and never fails.
func (c *Checker) Write(p []byte) (int, error) {
	n := len(p)
	c.res.Size += int64(n)
	c.res.NUL = c.res.NUL || bytes.IndexByte(p, 0) >= 0
	// Counting is a vector operation: the bare CRs are those that are left
	// when every line end has had its own.
	c.cr += int64(bytes.Count(p, []byte{'\r'}))
	if !c.inBody {
		rest := c.header(p)
		head := p[:n-len(rest)]
		c.res.HeaderSize += int64(len(head))
		c.res.HeaderEightBit = c.res.HeaderEightBit || hasEightBit(head)
		p = rest
	}
	c.res.BodyEightBit = c.res.BodyEightBit || hasEightBit(p)
	c.body(p)
	return n, nil
}

// Result returns what has been seen so far.
func (c *Checker) Result() Result {
	r := c.res
	r.BareCR = c.cr > c.crlf
	line := c.lineLen
	if line > 0 && c.last == '\r' {
		line--
	}
	r.LongestLine = max(r.LongestLine, line)
	r.Terminated = !c.openEnd
	r.MessageID = messageID(c.id)
	return r
}

// Fields returns the header fields that the limits ask for, up to 100 of them.
func (c *Checker) Fields() []Seen { return c.fields }

// Err returns the gravest reason why the content may not be taken, in the
// order of the Err values, or nil. Call it when the content has ended. A NUL
// octet is no such reason: it is odd, but it can be passed on.
func (c *Checker) Err() error {
	r := c.Result()
	switch {
	case (r.BareCR || r.BareLF) && !c.limits.Binary:
		return ErrBareLineEnd
	case r.HeaderSize > c.limits.Header:
		return fmt.Errorf("%w: over %d octets", ErrHeader, c.limits.Header)
	case r.Received > c.limits.Received:
		return fmt.Errorf("%w: %d Received fields", ErrLoop, r.Received)
	case r.Own > c.limits.Own:
		return fmt.Errorf("%w: it was here %d times before", ErrLoop, r.Own)
	}
	return nil
}

// header inspects lines up to the empty one and returns what follows it.
func (c *Checker) header(p []byte) (body []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if c.lineLen < int64(len(c.line)) {
			copy(c.line[c.lineLen:], part)
		}
		if i < 0 {
			c.keep(part)
			return nil
		}
		known := min(c.lineLen+int64(len(part)), int64(len(c.line)))
		p = p[i+1:]
		if c.endLine(part) == 0 {
			c.inBody = true
			return p
		}
		c.headerLine(c.line[:known])
	}
	return nil
}

// headerLine takes a whole line of the header section, or how a long one
// begins.
func (c *Checker) headerLine(line []byte) {
	if c.inID && (line[0] == ' ' || line[0] == '\t') {
		c.id = append(c.id, line...) // folded
		c.inID = len(c.id) < maxMessageID
		return
	}
	if line[0] == ' ' || line[0] == '\t' {
		c.by(line)
		return
	}
	c.hop = noHop
	for _, name := range c.limits.Fields {
		if len(c.fields) < maxFields && isField(line, name) {
			_, value, _ := bytes.Cut(line, []byte{':'})
			c.fields = append(c.fields, Seen{name, string(bytes.TrimSpace(value))})
		}
	}
	c.inID = c.id == nil && isField(line, messageIDName)
	switch {
	case c.inID:
		_, value, _ := bytes.Cut(line, []byte{':'})
		c.id = append([]byte{}, value...)
	case isField(line, receivedName):
		c.res.Received++
		c.hop = inHop
		_, value, _ := bytes.Cut(line, []byte{':'})
		c.by(value)
	}
}

// by looks for our own name behind "by" in a part of a Received field (RFC 5321
// §4.4).
func (c *Checker) by(part []byte) {
	if c.hop == noHop || c.limits.Hostname == "" {
		return
	}
	for word := range bytes.FieldsSeq(part) {
		switch {
		case c.hop == byHost:
			c.hop = noHop
			if bytes.EqualFold(bytes.TrimRight(word, ";"), []byte(c.limits.Hostname)) {
				c.res.Own++
			}
			return
		case bytes.EqualFold(word, []byte("by")):
			c.hop = byHost
		}
	}
}

// messageID returns the ID in the value of a Message-ID field: what stands
// between the first angle brackets, or all of it where there are none. White
// space within is obsolete syntax and no part of it (RFC 5322 §4.5.4).
func messageID(value []byte) string {
	if _, after, ok := bytes.Cut(value, []byte{'<'}); ok {
		value, _, _ = bytes.Cut(after, []byte{'>'})
	}
	id := bytes.Join(bytes.FieldsFunc(value, func(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }), nil)
	return string(id[:min(len(id), maxMessageID)])
}

// body inspects the lines of p.
func (c *Checker) body(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.keep(p)
			return
		}
		c.endLine(p[:i])
		p = p[i+1:]
	}
}

// keep takes a part of a line of which no end has come yet.
func (c *Checker) keep(part []byte) {
	if len(part) > 0 {
		c.lineLen += int64(len(part))
		c.last = part[len(part)-1]
		c.openEnd = true
	}
}

// endLine takes the last part of a line, without its LF, and returns the
// length of the whole line without its end.
func (c *Checker) endLine(part []byte) int64 {
	n, last := c.lineLen+int64(len(part)), c.last
	if len(part) > 0 {
		last = part[len(part)-1]
	}
	c.openEnd = n == 0 || last != '\r'
	if c.openEnd {
		c.res.BareLF = true
	} else {
		c.crlf++
		n--
	}
	c.res.LongestLine = max(c.res.LongestLine, n)
	c.lineLen = 0
	return n
}

// isField reports whether a line is the field of that name, which is given in
// lower case. White space before the colon is obsolete syntax that still counts
// (RFC 5322 §4.5); a line that begins with white space is folded text.
func isField(line []byte, name string) bool {
	if len(line) <= len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return false
	}
	c := line[len(name)]
	return c == ':' || c == ' ' || c == '\t'
}

// hasEightBit reports whether p has an octet over 127. It looks at 32 octets
// in a step.
func hasEightBit(p []byte) bool {
	const high = 0x8080808080808080
	le := binary.LittleEndian
	for len(p) >= 32 {
		q := p[:32]
		if (le.Uint64(q)|le.Uint64(q[8:])|le.Uint64(q[16:])|le.Uint64(q[24:]))&high != 0 {
			return true
		}
		p = p[32:]
	}
	for len(p) >= 8 {
		if le.Uint64(p)&high != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
