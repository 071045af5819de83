package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// freshFor is how long after its last reply a host is believed to be there
// still. When a whole transaction is written and nothing comes back nobody knows
// whether the host has it, so it is written to nobody who may have hung up.
const freshFor = 2 * time.Second

var errLength = errors.New("content is not as long as was said")

// fits reports whether the content may follow the commands that stand in c.out,
// which end the envelope. All of it is then no more than the buffers between
// two hosts hold, so that neither waits for the other to read (RFC 2920 §3.1).
func (t *transfer) fits() bool {
	const command = 32 // "BDAT", a number, "LAST"
	return t.chunked && t.c.ext.Pipelining && int64(len(t.c.out)+command)+t.tx.Size < blockSize && t.present()
}

// present reports whether the host is there, as far as can be told.
func (t *transfer) present() bool {
	t.c.wire.limit(t.c.options.Timeouts.of(StageMail)) // the last one may be over
	return time.Since(t.c.heard) < freshFor && t.c.wire.quiet()
}

// together sends the commands that stand in c.out and all of the content in one
// write, and then takes the replies: a round trip for the whole transaction
// (RFC 3030 §4.2). Whether any recipient is accepted is not known before; a host
// throws away what it has no use for (RFC 3030 §2).
func (t *transfer) together(first, next int) error {
	buffers := blocks.Get().(*[2][blockSize]byte)
	defer blocks.Put(buffers)
	group, err := t.whole(append(appendChunk(append(buffers[0][:0], t.c.out...), t.tx.Size), " LAST\r\n"...))
	if err != nil {
		return t.unreadable(err)
	}
	t.sent = true
	t.c.record(StageMail)
	t.recordChunk(" LAST")
	if err := t.c.write(StageContent, group); err != nil {
		return err // the end of the chunk did not leave
	}
	if err := t.replies(first, next); err != nil {
		// Whatever it did not say, it may have gone on to the content.
		t.res.Ambiguous = !t.dead && !refusedSession(err)
		return err
	}
	if t.dead || t.accepted == 0 {
		t.c.mustRSET = t.mail
		_, err := t.c.receive(StageDot)
		return err
	}
	return t.finish()
}

// refusedSession reports whether the error is a 421: the host said no.
func refusedSession(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reply.Code == 421
}

// whole appends all of the content to b, which has room for it, and checks it.
func (t *transfer) whole(b []byte) ([]byte, error) {
	from := len(b)
	n, err := io.ReadFull(t.tx.Content, b[from:from+int(t.tx.Size)+1])
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("read content: %w", err)
	case int64(n) != t.tx.Size:
		return nil, errLength
	}
	b = b[:from+n]
	lines := lineChecker{off: t.tx.Binary}
	if err := lines.add(b[from:]); err != nil {
		return nil, err
	}
	return b, lines.end()
}

// unreadable ends a session in which the content could not be sent: the host
// must not see an end of it.
func (t *transfer) unreadable(err error) error {
	fail := t.c.failure(StageContent, err)
	fail.Scope = ScopeTransaction
	return fail
}

func appendChunk(b []byte, n int64) []byte {
	return strconv.AppendInt(append(b, "BDAT "...), n, 10)
}

// lastChunk ends the content. It is a chunk of its own, so that a host which
// takes a lost connection for the end of a chunk, as some do, is not left with
// half a message that it believes to be whole.
const lastChunk = "BDAT 0 LAST\r\n"

// recordChunk tells who reads along that the content leaves as one chunk.
func (t *transfer) recordChunk(end string) {
	if talk := t.c.options.Talk; talk != nil {
		talk.Command(true, string(appendChunk(nil, t.tx.Size))+end)
		talk.Note("content")
	}
}

// chunk sends the content as one chunk, whose length is known, and then the last
// one, and reads the replies. A block is written only once the next one was
// read: the end not before the content has proved to be whole.
func (t *transfer) chunk() error {
	buffers := blocks.Get().(*[2][blockSize]byte)
	defer blocks.Put(buffers)
	lines := lineChecker{off: t.tx.Binary}
	left := t.tx.Size
	t.recordChunk("")
	block, ended, err := t.fill(append(appendChunk(buffers[0][:0], t.tx.Size), "\r\n"...), &lines, &left)
	for turn := 1; err == nil; turn++ {
		var next []byte
		if !ended {
			if next, ended, err = t.fill(buffers[turn%2][:0], &lines, &left); err != nil {
				break
			}
		}
		last := len(next) == 0 && t.c.ext.Pipelining
		if last && len(block)+len(lastChunk) <= cap(block) {
			block = append(block, lastChunk...)
			last = false
		}
		if err := t.writeBlock(block); err != nil {
			return err
		}
		if block = next; len(block) > 0 {
			continue
		}
		if last {
			if err := t.writeBlock([]byte(lastChunk)); err != nil {
				return err
			}
		}
		return t.finishChunk()
	}
	return t.unreadable(err)
}

func (t *transfer) writeBlock(p []byte) error {
	err := t.write(p)
	if fail, ok := errors.AsType[*Error](err); ok {
		return t.interrupted(fail)
	}
	return err
}

// finishChunk reads the reply to the chunk, and what there is to the last one.
func (t *transfer) finishChunk() error {
	code, err := t.c.receive(StageDot)
	switch {
	case err != nil:
		t.res.Ambiguous = t.c.ext.Pipelining && !refusedSession(err) // the last chunk is there, too
		return err
	case code >= 300 && code < 400:
		t.res.Ambiguous = t.c.ext.Pipelining
		return t.c.misplaced(StageDot)
	case code >= 400:
		t.res.decide(t.c.replies.kept())
		t.c.mustRSET = true
		if !t.c.ext.Pipelining {
			return nil
		}
		if t.c.options.LMTP {
			// How many replies follow is for the host to know.
			t.c.over.Store(true)
			return nil
		}
		_, err := t.c.receive(StageDot)
		return err
	case !t.c.ext.Pipelining:
		if err := t.c.write(StageContent, []byte(lastChunk)); err != nil {
			return err
		}
	}
	return t.finish()
}

// fill appends to b as much of the content as it has room for, and checks it.
func (t *transfer) fill(b []byte, lines *lineChecker, left *int64) (block []byte, ended bool, err error) {
	n, err := io.ReadFull(t.tx.Content, b[len(b):cap(b)])
	ended = err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !ended {
		return nil, false, fmt.Errorf("read content: %w", err)
	}
	if *left -= int64(n); *left < 0 || ended && *left > 0 {
		return nil, false, errLength
	}
	if err := lines.add(b[len(b) : len(b)+n]); err != nil {
		return nil, false, err
	}
	if ended {
		err = lines.end()
	} else {
		err = nil
	}
	return b[:len(b)+n], ended, err
}

// lineChecker refuses content with a bare CR or LF (RFC 5321 §2.3.8; RFC 3030
// §4.2 has text by BDAT end its lines the same way).
type lineChecker struct {
	off bool // the content is binary
	cr  bool // the last octet was CR
}

func (l *lineChecker) add(p []byte) error {
	if l.off || len(p) == 0 {
		return nil
	}
	if l.cr && p[0] != '\n' {
		return ErrBareLineEnd
	}
	ends := bytes.Count(p, []byte("\r\n"))
	crs, lfs := ends, ends
	if l.cr {
		lfs++
	}
	if l.cr = p[len(p)-1] == '\r'; l.cr {
		crs++
	}
	if bytes.Count(p, []byte{'\r'}) != crs || bytes.Count(p, []byte{'\n'}) != lfs {
		return ErrBareLineEnd
	}
	return nil
}

func (l *lineChecker) end() error {
	if l.cr {
		return ErrBareLineEnd
	}
	return nil
}
