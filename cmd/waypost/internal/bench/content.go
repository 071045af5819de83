package bench

import (
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// Body is a kind of content.
type Body string

// The kinds of content.
const (
	// BodyText is lines of 76 letters.
	BodyText Body = "text"
	// BodyDots is short lines that all begin with a dot, so that each is
	// stuffed (RFC 5321 §4.5.2).
	BodyDots Body = "dots"
	// BodyLong is lines as long as they may be (RFC 5321 §4.5.3.1.6).
	BodyLong Body = "long"
	// BodyEightBit is lines of UTF-8, sent with BODY=8BITMIME (RFC 6152).
	BodyEightBit Body = "8bit"
)

// lines has one line of each kind, with its end.
var lines = map[Body]string{
	BodyText:     strings.Repeat("x", 76) + "\r\n",
	BodyDots:     ".dots" + strings.Repeat(".", 20) + "\r\n",
	BodyLong:     strings.Repeat("y", 998) + "\r\n",
	BodyEightBit: strings.Repeat("é", 38) + "\r\n",
}

// MinSize and MaxSize bound the size of a content: its header has a place to
// be, and the memory is not used up.
const (
	MinSize = 320
	MaxSize = 100_000_000
)

// tag begins the field with a message's number. What stands below it arrives
// as it was sent; above it relays add their own fields.
const tag = "X-Bench: "

// contents makes messages, of few contents that are made once.
type contents struct {
	load   *Load
	run    string
	date   string
	shapes map[shape]*rest
}

type shape struct {
	size int
	body Body
}

// rest is what all messages of one shape have in common: all below the number.
type rest struct {
	wire []byte // with stuffed dots and the final one
	sum  uint32
}

// message is one message as it is sent.
type message struct {
	head, rest []byte
	eightBit   bool
}

func newContents(l *Load, run string) *contents {
	c := &contents{load: l, run: run, date: time.Now().Format(time.RFC1123Z), shapes: map[shape]*rest{}}
	for _, size := range l.Sizes {
		for _, body := range l.bodies() {
			s := shape{size.Value, body.Value}
			c.shapes[s] = newRest(s, len(c.head(0)))
		}
	}
	return c
}

// shapeOf returns the shape of message n.
func (l *Load) shapeOf(n int) shape {
	// The kinds change after each round of sizes, so that all pairs come.
	return shape{l.Sizes.at(n), l.bodies().at(n / max(l.Sizes.total(), 1))}
}

func (l *Load) bodies() Mix[Body] {
	if len(l.Bodies) == 0 {
		return Mix[Body]{{BodyText, 1}}
	}
	return l.Bodies
}

// head returns the header of message n up to the field with its number.
func (c *contents) head(n int) []byte {
	return fmt.Appendf(nil, "From: <sender@bench.example>\r\nTo: <receiver@bench.example>\r\nDate: %s\r\nMessage-ID: <%s.%010d@bench.example>\r\n%s%s %010d\r\n",
		c.date, c.run, n, tag, c.run, n)
}

func (c *contents) message(n int) message {
	s := c.load.shapeOf(n)
	return message{c.head(n), c.shapes[s].wire, s.body == BodyEightBit}
}

// newRest makes what stands below the head, so that both together have the
// size of the shape before dots are stuffed.
func newRest(s shape, head int) *rest {
	kind := ""
	if s.body == BodyEightBit {
		kind = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
	}
	top := "Subject: bench\r\n" + kind + "\r\n"
	line, left := lines[s.body], max(s.size-head-len(top), 0)
	body := strings.Repeat(line, left/len(line))
	if left -= len(body); left >= len("\r\n") {
		body += strings.Repeat("z", left-len("\r\n")) + "\r\n"
	}
	wire := []byte(strings.ReplaceAll(top+body, "\r\n.", "\r\n.."))
	return &rest{append(wire, ".\r\n"...), crc32.Checksum(wire, castagnoli)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
