package smtpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"waypost/metrics"
)

// data receives a message until CRLF . CRLF (RFC 5321 §4.1.1.4).
func (s *session) data(string) error {
	switch {
	case s.tx.chunks != nil:
		return s.complain(503, code{5, 5, 1}, "DATA after BDAT", metrics.RefusedSequence)
	case s.tx.binary:
		// RFC 3030 §3: there is no telling where such content ends.
		return s.complain(503, code{5, 5, 1}, "BINARYMIME needs BDAT", metrics.RefusedSequence)
	case s.tx.recipients == 0:
		return s.complain(503, code{5, 5, 1}, "No valid recipients", metrics.RefusedSequence)
	}
	s.reply(354, noCode, "End data with <CR><LF>.<CR><LF>")
	s.beginTransfer()
	c := &content{next: (&dotReader{in: s.in}).next, limit: s.server.MaxSize}
	err := s.backend.Data(c)
	// Whatever came of it: the reply belongs behind the true end.
	if end := c.drain(); end != nil {
		s.reset()
		return end
	}
	s.finish(err)
	return nil
}

func (s *session) beginTransfer() {
	s.receiving, s.pace = true, pace{begin: time.Now()}
	s.in.enlarge()
}

// finish answers a message that has been read whole.
func (s *session) finish(err error) {
	if err == nil {
		s.reply(250, code{2, 0, 0}, "OK")
	} else {
		if errors.Is(err, errTooLarge) {
			s.count(metrics.RefusedSize)
		}
		s.replyError(err)
	}
	s.idle = 0
	s.tx = transaction{}
	s.backend.Reset()
}

// chunks is a message that arrives by BDAT (RFC 3030 §2). The backend reads it
// in a goroutine of its own, because a command comes between two chunks.
type chunks struct {
	w      *io.PipeWriter
	result chan error // what the backend said, once
	failed error      // the same, if it came before the last chunk
	size   int64
}

const (
	// smallChunk is the size under which a chunk costs more than it brings.
	// Only the last one of a message has a reason to be so small.
	smallChunk = 1024
	// maxSmall is how many of those one session may send.
	maxSmall = 1000
)

var errAborted = errors.New("transaction aborted")

func (c *chunks) abort() {
	c.w.CloseWithError(errAborted)
	<-c.result
}

// bdat receives one chunk. Its octets are read in any case: they must never
// be taken for commands.
func (s *session) bdat(arg string) error {
	size, last, ok := parseChunk(arg)
	if !ok {
		return s.dismissChunk()
	}
	limit := s.server.MaxSize
	if limit > 0 && size > 2*limit+(64<<20) {
		return s.dismiss(errTooLarge.Code, code(errTooLarge.EnhancedCode), errTooLarge.Message, metrics.RefusedSize)
	}
	if size < smallChunk && !last {
		if s.small++; s.small > maxSmall {
			return s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Too many small chunks, closing", metrics.RefusedLimit)
		}
	}
	s.beginTransfer()
	switch {
	case !s.tx.open || s.tx.recipients == 0:
		if err := s.skip(size); err != nil {
			return err
		}
		if s.needsTLS() {
			return s.refuseClear()
		}
		return s.complain(503, code{5, 5, 1}, "No valid recipients", metrics.RefusedSequence)
	case s.tx.chunks == nil:
		s.beginChunks()
	}
	return s.chunk(size, last)
}

// beginsChunk reports whether a line may be BDAT, however badly it is written.
func beginsChunk(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	return len(line) >= 4 && strings.EqualFold(string(line[:4]), "BDAT")
}

// dismissChunk ends the session of a client whose chunk has no size that can be
// read: where it ends is unknown, and what it holds must never be taken for
// commands.
func (s *session) dismissChunk() error {
	return s.dismiss(501, code{5, 5, 4}, "Expected BDAT and a size", metrics.RefusedSyntax)
}

func parseChunk(arg string) (size int64, last, ok bool) {
	number, word, _ := strings.Cut(arg, " ")
	if word = strings.TrimSpace(word); word != "" && !strings.EqualFold(word, "LAST") {
		return 0, false, false
	}
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return 0, false, false
	}
	size, err := strconv.ParseInt(number, 10, 64)
	return size, word != "", err == nil
}

func (s *session) beginChunks() {
	r, w := io.Pipe()
	c := &chunks{w: w, result: make(chan error, 1)}
	s.tx.chunks = c
	go func() {
		err := errors.New("panic in the backend")
		defer func() {
			if fault := recover(); fault != nil {
				s.server.Metrics.SessionPanics.Inc()
				s.server.Log.Error("panic in a session", "client", s.addr.String(), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
			}
			if err == nil {
				r.CloseWithError(io.ErrClosedPipe)
			} else {
				r.CloseWithError(err)
			}
			c.result <- err
			close(c.result)
		}()
		err = s.backend.Data(r)
	}()
}

// chunk passes one chunk to the backend.
func (s *session) chunk(size int64, last bool) error {
	c := s.tx.chunks
	c.size += size
	if s.server.MaxSize > 0 && c.size > s.server.MaxSize && c.failed == nil {
		c.failed = errTooLarge
		c.w.CloseWithError(errTooLarge)
	}
	if err := s.pass(size); err != nil {
		s.reset()
		return err
	}
	if c.failed != nil && !last {
		s.replyError(c.failed)
		return nil
	}
	if !last {
		s.reply(250, code{2, 0, 0}, strconv.FormatInt(size, 10)+" octets received")
		return nil
	}
	c.w.Close()
	err := <-c.result
	if c.failed != nil {
		err = c.failed
	}
	s.finish(err)
	return nil
}

// pass reads size octets and gives them to the backend, as long as it takes
// them.
func (s *session) pass(size int64) error {
	c := s.tx.chunks
	return s.eachPiece(size, func(b []byte) {
		if c.failed == nil {
			if _, err := c.w.Write(b); err != nil {
				c.failed = err
			}
		}
	})
}

func (s *session) skip(size int64) error { return s.eachPiece(size, func([]byte) {}) }

func (s *session) eachPiece(size int64, do func([]byte)) error {
	for size > 0 {
		if len(s.in.buffered()) == 0 {
			if err := s.in.fill(); err != nil {
				return noEOF(err)
			}
		}
		b := s.in.buffered()
		b = b[:min(int64(len(b)), size)]
		do(b)
		s.in.consume(len(b))
		size -= int64(len(b))
	}
	return nil
}
