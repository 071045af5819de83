package smtpclient

import (
	"context"
	"fmt"

	"waypost/relay/smtp"
)

// Send carries one transaction and returns what became of its recipients.
//
// The error, always an *Error, is nil when every recipient was decided by a
// reply, good or bad. Else it stands for the recipients without a reply: the
// session failed (and its connection has been closed), or the transaction
// could not be written. A cancelled ctx ends Send at once; a Content that
// blocks is not interrupted.
func (c *Client) Send(ctx context.Context, tx Transaction) (Result, error) {
	res := Result{Recipients: make([]smtp.Reply, len(tx.Recipients))}
	if err := tx.check(); err != nil {
		return res, &Error{Stage: StageMail, Scope: ScopeTransaction, Err: err}
	}
	if !c.Reusable() {
		return res, &Error{Stage: StageMail, Err: ErrNotUsable}
	}
	if reply, ok := tx.refusal(&c.ext); ok {
		res.decide(reply)
		res.Local = true
		return res, nil
	}
	t := transfer{c: c, tx: &tx, res: &res, chunked: c.ext.Chunking && tx.Size > 0 && (c.ext.Pipelining || tx.Binary)}
	stop := c.wire.watch(ctx)
	inStep := false
	defer func() {
		if !inStep { // a panic: nobody knows what the next reply answers
			c.abandon()
		}
	}()
	err := t.run()
	inStep = true
	if !stop() {
		c.over.Store(true)
	}
	if c.over.Load() {
		c.abandon()
	}
	if err == nil || res.decided() {
		return res, nil
	}
	return res, err
}

// transfer is one transaction under way.
type transfer struct {
	c        *Client
	tx       *Transaction
	res      *Result
	mail     bool // MAIL was accepted
	dead     bool // MAIL was refused; what follows is noise
	accepted int  // RCPTs accepted
	goAhead  bool // DATA was answered with 354
	chunked  bool // the content goes by BDAT
	sent     bool // it went with the envelope
}

func (t *transfer) run() error {
	// A host that spoke while nobody asked is closing, or out of step.
	if t.c.replies.buffered() {
		return t.unasked()
	}
	if err := t.envelope(); err != nil {
		return err
	}
	switch {
	case t.sent:
		return nil
	case t.chunked && t.accepted > 0:
		return t.chunk()
	case !t.goAhead:
		t.c.mustRSET = t.mail
		return nil
	case t.accepted == 0 && t.c.options.LMTP:
		// RFC 2033 §4.2: it must refuse, and would say nothing after a dot.
		return t.c.misplaced(StageData)
	case t.accepted == 0:
		// RFC 2920 §3.1: the host took DATA for no recipient and waits.
		t.c.out = append(t.c.out[:0], ".\r\n"...)
		_, err := t.c.exchange(StageDot)
		return err
	}
	return t.content()
}

// unasked ends a session in which the host spoke out of turn.
func (t *transfer) unasked() error {
	fail := t.c.failure(StageMail, fmt.Errorf("%w: reply without a command", ErrProtocol))
	if t.c.late() { // a 421, most often
		fail.Reply = t.c.replies.kept()
	}
	return fail
}

// finish reads the reply to the final dot. By LMTP there is one for each
// recipient that was accepted, in their order (RFC 2033 §4.2).
func (t *transfer) finish() error {
	if !t.c.options.LMTP {
		return t.verdict(t.res.decide)
	}
	for i := range t.res.Recipients {
		if t.res.Recipients[i].Code != 0 {
			continue
		}
		if err := t.verdict(func(r smtp.Reply) { t.res.Recipients[i] = r }); err != nil {
			// One of them may be delivered without our hearing of it.
			t.res.Ambiguous = t.res.Ambiguous || i < len(t.res.Recipients)-1
			return err
		}
	}
	return nil
}

// verdict reads one reply to the content.
func (t *transfer) verdict(decide func(smtp.Reply)) error {
	code, err := t.c.receive(StageDot)
	switch {
	case code == 421:
		return err // it said no
	case err != nil:
		t.res.Ambiguous = true
		return err
	case code < 400 && code >= 300:
		t.res.Ambiguous = true
		return t.c.misplaced(StageDot)
	}
	if t.chunked && code >= 400 {
		// RFC 3030 §2: what state the host is in is not known.
		t.c.mustRSET = true
	}
	decide(t.c.replies.kept())
	return nil
}
