package smtpserver

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	// commandBuffer is also the longest command line. RFC 5321 §4.5.3.1.4
	// asks for 512 octets, RFC 3461 §5.4 for 1036 with its parameters.
	commandBuffer = 4096
	// contentBuffer is used while a message is read.
	contentBuffer = 64 << 10
	// maxJunk is how much of an over-long line is skipped before the session
	// ends.
	maxJunk = 64 << 10
)

var (
	errLineTooLong = errors.New("command line too long")
	errLineEnd     = errors.New("command line does not end in CRLF")
	errBinary      = errors.New("not a line of text")
	errJunk        = errors.New("line without end")
)

// input is what the client sends. An idle session has a small buffer; while a
// message is read it has a large one. A read error stays: nothing that comes
// after it is ever looked at.
type input struct {
	src  io.Reader
	buf  []byte // small or *big
	r, w int
	err  error

	small []byte
	big   *[]byte // nil while the small one is used
	pool  *sync.Pool
}

func newInput(src io.Reader, pool *sync.Pool) *input {
	small := make([]byte, commandBuffer)
	return &input{src: src, buf: small, small: small, pool: pool}
}

func newBufferPool() *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, contentBuffer); return &b }}
}

// buffered returns what has been read and not consumed.
func (in *input) buffered() []byte { return in.buf[in.r:in.w] }

func (in *input) consume(n int) { in.r += n }

// fill reads more behind what is buffered, at least one octet. The buffer must
// not be full.
func (in *input) fill() error {
	if in.err != nil {
		return in.err
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for range 100 {
		n, err := in.src.Read(in.buf[in.w:])
		in.w += n
		in.err = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	in.err = io.ErrNoProgress
	return in.err
}

// line returns the next line without its CRLF, which is at most limit octets
// long with it. It is valid until the next read. errLineTooLong and errLineEnd
// leave the session usable, and come with the beginning of the line.
func (in *input) line(limit int) ([]byte, error) {
	seen := 0
	for {
		if b := in.buffered(); len(b) > 0 && isBinary(b[0]) {
			// A TLS handshake, or worse: it may have no end of line at all.
			in.err = errBinary
			return nil, errBinary
		}
		if i := bytes.IndexByte(in.buffered()[seen:], '\n'); i >= 0 {
			line := in.buffered()[:seen+i]
			in.consume(seen + i + 1)
			if len(line) >= limit {
				return line, errLineTooLong
			}
			// RFC 5321 §2.3.8: nothing but CRLF ends a line, and neither
			// octet stands alone in it.
			if n := len(line) - 1; n < 0 || line[n] != '\r' || bytes.IndexByte(line[:n], '\r') >= 0 {
				return line, errLineEnd
			}
			return line[:len(line)-1], nil
		}
		seen = len(in.buffered())
		if seen >= limit {
			begin := bytes.Clone(in.buffered()[:16])
			return begin, in.skipLine()
		}
		if seen == len(in.buf) {
			in.enlarge()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// isBinary reports whether no line of text begins with c.
func isBinary(c byte) bool { return c < ' ' && c != '\r' && c != '\n' && c != '\t' }

// skipLine drops the rest of a line that is too long.
func (in *input) skipLine() error {
	for skipped := 0; skipped < maxJunk; {
		b := in.buffered()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			in.consume(i + 1)
			return errLineTooLong
		}
		skipped += len(b)
		in.consume(len(b))
		if err := in.fill(); err != nil {
			return err
		}
	}
	in.err = errJunk
	return errJunk
}

// enlarge takes a large buffer for reading a message.
func (in *input) enlarge() {
	if in.big != nil {
		return
	}
	in.big = in.pool.Get().(*[]byte)
	in.w = copy(*in.big, in.buffered())
	in.r, in.buf = 0, *in.big
}

// wipe overwrites what has been consumed.
func (in *input) wipe() {
	clear(in.buf[:in.r])
	clear(in.buf[in.w:])
	if in.big != nil {
		clear(in.small)
	}
}

// shrink goes back to the small buffer, if what is left fits.
func (in *input) shrink() {
	if in.big == nil || in.w-in.r > commandBuffer {
		return
	}
	in.w = copy(in.small, in.buffered())
	in.r, in.buf = 0, in.small
	in.pool.Put(in.big)
	in.big = nil
}
