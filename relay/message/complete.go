package message

import (
	"bytes"
	"io"
)

// Completer passes a new message on and completes its header section on the way,
// as a submission server does and no other relay may (RFC 6409 §8): it adds Date
// and Message-ID where they are missing, behind the fields that are there, and
// leaves out Bcc and Return-Path, which are for nobody to read. Everything else
// passes octet for octet. It holds no more than the beginning of one line.
type Completer struct {
	w io.Writer
	// date and id are the two fields, whole, for a message without.
	date, id []byte

	state completing
	begin []byte // of the line whose name is not known yet
	// continued is the kind of the field before, which a line that begins with
	// a blank goes on with; lineStart where there was none.
	continued completing
	hasDay    bool
	hasID     bool
}

// completing is where a Completer is.
type completing uint8

const (
	lineStart completing = iota // within the name of a field
	passing                     // within a field that stays
	dropping                    // within one that does not
	inBody
)

// maxFieldName is the longest name of a field that is looked at. The ones that
// count are shorter.
const maxFieldName = 80

// NewCompleter returns a Completer that writes to w. date is the value of the
// Date field, and id of the Message-ID field with its angle brackets, for a
// message that has none.
func NewCompleter(w io.Writer, date, id string) *Completer {
	d, i := NewField(nil, "Date"), NewField(nil, "Message-ID")
	d.Text(date)
	i.Word(id)
	return &Completer{w: w, date: d.End(), id: i.End()}
}

// Write takes the next piece. An error is of the writer behind.
func (c *Completer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if c.state == inBody {
			_, err := c.w.Write(p)
			return n, err
		}
		rest, err := c.header(p)
		if err != nil {
			return 0, err
		}
		p = rest
	}
	return n, nil
}

// Close completes a message that has ended within its header section. The
// writer behind stays open.
func (c *Completer) Close() error {
	if c.state == inBody {
		return nil
	}
	if c.state == lineStart && len(c.begin) > 0 {
		return c.startBody(true)
	}
	// A field that is left out has left nothing that would need an end.
	if c.state == passing {
		if _, err := c.w.Write([]byte("\r\n")); err != nil {
			return err
		}
	}
	c.state = inBody
	return c.add()
}

// header takes a part of the header section and returns what is left.
func (c *Completer) header(p []byte) (rest []byte, err error) {
	if c.state == lineStart {
		return c.name(p)
	}
	// To the end of the line; what follows it decides whether the field goes on.
	end := bytes.IndexByte(p, '\n') + 1
	whole := end > 0
	if !whole {
		end = len(p)
	}
	if c.state == passing {
		_, err = c.w.Write(p[:end])
	}
	if whole {
		// A line that begins with a blank belongs to this field: name sees that.
		c.begin = c.begin[:0]
		c.continued, c.state = c.state, lineStart
	}
	return p[end:], err
}

// name gathers the beginning of a line until it is known what that is.
func (c *Completer) name(p []byte) (rest []byte, err error) {
	for i, b := range p {
		c.begin = append(c.begin, b)
		switch first := c.begin[0]; {
		case len(c.begin) == 1 && (b == ' ' || b == '\t') && c.continued != lineStart:
			return p[i+1:], c.resume(c.continued)
		case b == ':':
			return p[i+1:], c.resume(c.field(c.begin[:len(c.begin)-1]))
		case b == '\n':
			// An empty line, or one that is no field: the body begins.
			return p[i+1:], c.startBody(first != '\r' && first != '\n' || len(c.begin) > 2)
		case len(c.begin) > maxFieldName:
			return p[i+1:], c.startLong()
		}
	}
	return nil, nil
}

// resume goes on within a field and passes what was held of it.
func (c *Completer) resume(kind completing) error {
	held := c.begin
	c.state = kind
	if kind == dropping {
		return nil
	}
	_, err := c.w.Write(held)
	return err
}

// field says what becomes of a field, by its name.
func (c *Completer) field(name []byte) completing {
	name = bytes.TrimRight(name, " \t")
	is := func(want string) bool { return bytes.EqualFold(name, []byte(want)) }
	switch {
	case is("bcc"), is("resent-bcc"), is("return-path"):
		return dropping
	case is("date"):
		c.hasDay = true
	case is("message-id"):
		c.hasID = true
	}
	return passing
}

// startLong begins the body at a line that is too long to be a field; one with
// blanks in its name is none, either.
func (c *Completer) startLong() error {
	if bytes.ContainsAny(c.begin, " \t") {
		return c.startBody(true)
	}
	return c.resume(passing)
}

// startBody adds what is missing, and passes what was held. text says that it is
// not the empty line but text already, which needs one before it.
func (c *Completer) startBody(text bool) error {
	held := bytes.Clone(c.begin)
	c.state = inBody
	if err := c.add(); err != nil {
		return err
	}
	if text {
		held = append([]byte("\r\n"), held...)
	}
	_, err := c.w.Write(held)
	return err
}

func (c *Completer) add() error {
	var missing []byte
	if !c.hasDay {
		missing = append(missing, c.date...)
	}
	if !c.hasID {
		missing = append(missing, c.id...)
	}
	if len(missing) == 0 {
		return nil
	}
	_, err := c.w.Write(missing)
	return err
}
