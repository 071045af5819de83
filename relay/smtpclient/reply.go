package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"waypost/relay/smtp"
)

// Bounds of one reply. RFC 5321 §4.5.3.1.5 knows lines of 512 octets; more
// than this is no reply but an attack on memory.
const (
	maxReplyLine  = 8 << 10
	maxReplyLines = 128
	maxReply      = 64 << 10
	// maxKept is how much of its text is kept where it decides about mail: it
	// stands in the queue for every recipient and every attempt.
	maxKept = 4 << 10
)

// replyReader reads replies and keeps the last one, in a form that costs
// nothing until somebody asks for it: most replies only say yes.
type replyReader struct {
	br   *bufio.Reader
	code int
	text []byte // the text of every line, end to end
	ends []int  // where each line ends in text
}

func newReplyReader(r io.Reader) replyReader {
	return replyReader{br: bufio.NewReaderSize(r, maxReplyLine)}
}

// read reads one whole reply and returns its code, 200 to 599.
func (r *replyReader) read() (int, error) {
	r.code, r.text, r.ends = 0, r.text[:0], r.ends[:0]
	for size := 0; ; {
		line, err := r.br.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return 0, fmt.Errorf("%w: reply line over %d octets", ErrProtocol, maxReplyLine)
		case errors.Is(err, io.EOF):
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		}
		if size += len(line); size > maxReply || len(r.ends) == maxReplyLines {
			return 0, fmt.Errorf("%w: endless reply", ErrProtocol)
		}
		more, err := r.add(line)
		if err != nil || !more {
			return r.code, err
		}
	}
}

// add takes one line of a reply and reports whether more of them follow.
func (r *replyReader) add(line []byte) (more bool, err error) {
	line = bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
	code, ok := replyCode(line)
	if !ok {
		return false, fmt.Errorf("%w: no reply: %q", ErrProtocol, line[:min(len(line), 80)])
	}
	// RFC 5321 §4.2.1: every line of a reply has the same code.
	if r.code != 0 && code != r.code {
		return false, fmt.Errorf("%w: code %d in a reply that began with %d", ErrProtocol, code, r.code)
	}
	r.code = code
	// RFC 5321 §4.2: a reply without text, and without the space before it,
	// must be taken.
	if len(line) > 3 {
		more = line[3] == '-'
		r.text = append(r.text, line[4:]...)
	}
	r.ends = append(r.ends, len(r.text))
	return more, nil
}

func replyCode(line []byte) (code int, ok bool) {
	if len(line) < 3 || (len(line) > 3 && line[3] != ' ' && line[3] != '-') {
		return 0, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false
		}
		code = code*10 + int(c-'0')
	}
	// RFC 5321 §4.2.1: the first digit is 2 to 5.
	return code, 200 <= code && code <= 599
}

// lines returns the text of each line of the last reply.
func (r *replyReader) lines() []string {
	text, lines, from := string(r.text), make([]string, len(r.ends)), 0
	for i, end := range r.ends {
		lines[i], from = text[from:end], end
	}
	return lines
}

// kept returns the last reply as it is kept: the first maxKept octets of its text,
// and not what these are cut from.
func (r *replyReader) kept() smtp.Reply {
	reply := r.reply()
	left := maxKept
	for i, line := range reply.Lines {
		if len(line) > left {
			reply.Lines[i] = line[:left] + " [shortened]"
			reply.Lines = strings.Split(strings.Join(reply.Lines[:i+1], "\n"), "\n")
			break
		}
		left -= len(line)
	}
	return reply
}

// reply returns the last reply, whole.
func (r *replyReader) reply() smtp.Reply {
	lines := r.lines()
	enhanced, _, ok := smtp.ParseEnhanced(lines[0])
	if !ok {
		return smtp.Reply{Code: r.code, Lines: lines}
	}
	// RFC 2034 §4: the enhanced code stands on every line.
	written, _, _ := strings.Cut(lines[0], " ")
	for i, line := range lines {
		if word, rest, _ := strings.Cut(line, " "); word == written {
			lines[i] = rest
		}
	}
	return smtp.Reply{Code: r.code, Enhanced: enhanced, Lines: lines}
}

// buffered reports whether something came that nobody asked for.
func (r *replyReader) buffered() bool { return r.br.Buffered() > 0 }
