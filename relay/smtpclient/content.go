package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// blockSize is how much content is read, and written, at a time.
const blockSize = 32 << 10

// blocks lends the two buffers of a transfer of content. It is package state
// that holds nothing: sessions wait far longer than they transfer, and should
// not keep 64 KiB each meanwhile.
var blocks = sync.Pool{New: func() any { return new([2][blockSize]byte) }}

// content sends the content and the final dot, and reads the reply.
func (t *transfer) content() error {
	buffers := blocks.Get().(*[2][blockSize]byte)
	defer blocks.Put(buffers)
	s := stuffer{flush: t.write, out: buffers[1][:0], start: true}
	err := t.copy(&s, buffers[0][:])
	// A host that refuses content on its way often does so again behind it: the
	// second reply must not be taken for one to the next message.
	early := t.c.replies.buffered() || !t.c.wire.quiet()
	if err == nil {
		err = s.finish()
	}
	if early {
		defer t.c.over.Store(true)
	}
	if err == nil {
		return t.finish()
	}
	// Whatever happened, the host is in the middle of content: it must not
	// see an end of it.
	fail, known := errors.AsType[*Error](err)
	if known {
		return t.interrupted(fail)
	}
	fail = t.c.failure(StageContent, err)
	fail.Scope = ScopeTransaction
	return fail
}

// copy moves the content through the stuffer.
func (t *transfer) copy(s *stuffer, block []byte) error {
	for {
		n, err := t.tx.Content.Read(block)
		if n > 0 {
			if err := s.add(block[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
	}
}

// write writes one block, which has the limit of a block for itself
// (RFC 5321 §4.5.3.2.5).
func (t *transfer) write(p []byte) error {
	t.c.wire.limit(t.c.options.Timeouts.of(StageContent))
	if _, err := t.c.wire.conn.Write(p); err != nil {
		return t.c.failure(StageContent, fmt.Errorf("write: %w", err))
	}
	return nil
}

// interrupted deals with a write that failed. The host may have refused the
// content and closed, and its reply may be here: it decides, as the reply to
// the dot would have. The dot itself was not sent, since it stands at the end
// of the write that failed.
func (t *transfer) interrupted(fail *Error) error {
	if !t.c.late() {
		return fail
	}
	fail.Reply = t.c.replies.kept()
	if fail.Reply.Code != 421 {
		t.res.decide(fail.Reply)
	}
	return fail
}
