package smtpclient

import (
	"strconv"

	"waypost/relay/smtp"
)

// maxGroup bounds the commands that are written before their replies are
// read. As much always fits into the buffers between two hosts, so that we
// never wait for a host to read while it waits for us (RFC 2920 §3.1).
const maxGroup = 16 << 10

// The envelope is a sequence of steps: RSET where one is due, MAIL, the
// RCPTs, DATA. A step is numbered by its recipient; the others lie around.
const (
	stepReset = -2
	stepMail  = -1
)

// envelope sends every step and takes every reply: in groups where the host
// offers PIPELINING, one by one where it does not. It stops early when nothing
// can come of the rest. Where the content goes by BDAT there is no DATA, and
// the content may go with the last group.
func (t *transfer) envelope() error {
	next, data := stepMail, len(t.tx.Recipients)
	if t.chunked || t.tx.Probe {
		data--
	}
	if t.c.mustRSET {
		next = stepReset
		t.c.mustRSET = false
	}
	for next <= data && !t.dead {
		first := next
		if first == len(t.tx.Recipients) && t.accepted == 0 {
			return nil
		}
		t.c.out = t.c.out[:0]
		for next <= data && (next == first || t.c.ext.Pipelining && len(t.c.out) < maxGroup) {
			t.append(next)
			next++
		}
		if next > data && t.fits() {
			return t.together(first, next)
		}
		if err := t.c.send(t.stage(first)); err != nil {
			return err
		}
		if err := t.replies(first, next); err != nil {
			return err
		}
	}
	return nil
}

// replies takes the replies to the steps of a group.
func (t *transfer) replies(first, next int) error {
	// RFC 2920 §3.1: every reply is read and counted.
	for step := first; step < next; step++ {
		code, err := t.c.receive(t.stage(step))
		if err == nil {
			err = t.take(step, code)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *transfer) stage(step int) Stage {
	switch {
	case step == stepReset:
		return StageReset
	case step == stepMail:
		return StageMail
	case step == len(t.tx.Recipients):
		return StageData
	}
	return StageRcpt
}

// take acts on the reply to one step, by its first digit (RFC 5321 §4.3.2).
func (t *transfer) take(step, code int) error {
	stage, class := t.stage(step), code/100
	if class == 2 && stage == StageData || class == 3 && stage != StageData || class > 3 && stage == StageReset {
		return t.c.misplaced(stage)
	}
	switch good := class < 4; {
	case stage == StageMail && good:
		t.mail = true
	case stage == StageMail:
		t.dead = true
		t.res.decide(t.refusedMail())
	case stage == StageRcpt && good && !t.dead:
		t.accepted++
		if t.tx.Probe {
			t.res.Recipients[step] = t.c.replies.kept()
		}
	case stage == StageRcpt && !t.dead:
		t.res.Recipients[step] = t.refusal()
	case stage == StageData && good:
		t.goAhead = true
	case stage == StageData:
		t.res.decide(t.c.replies.kept())
	}
	return nil
}

// refusedMail returns what the refusal of MAIL means for the recipients.
func (t *transfer) refusedMail() smtp.Reply {
	r := t.c.replies.kept()
	if t.tx.Probe && r.Permanent() {
		return smtp.NewReply(450, smtp.EnhancedCode{4, 1, 0}, "the sender was refused: "+r.String())
	}
	return r
}

// refusal returns the reply that refused one recipient.
func (t *transfer) refusal() smtp.Reply {
	r := t.c.replies.kept()
	// RFC 5321 §4.5.3.1.10: 552 for "too many recipients" comes from an
	// error in RFC 821 and means 452. A host that took none yet, or that
	// gives another reason, means what it says.
	if r.Code == 552 && t.accepted > 0 && (r.Enhanced == smtp.EnhancedCode{} || r.Enhanced == smtp.EnhancedCode{5, 5, 3}) {
		r.Code, r.Enhanced = 452, smtp.EnhancedCode{4, 5, 3}
	}
	return r
}

// append writes the command of one step.
func (t *transfer) append(step int) {
	switch t.stage(step) {
	case StageReset:
		t.c.out = append(t.c.out, "RSET"...)
	case StageMail:
		t.appendMail()
	case StageRcpt:
		t.appendRcpt(&t.tx.Recipients[step])
	case StageData:
		t.c.out = append(t.c.out, "DATA"...)
	}
	t.c.out = append(t.c.out, '\r', '\n')
}

// appendMail writes MAIL with the parameters that are needed and offered
// (RFC 5321 §4.1.1.11: never one that was not offered).
func (t *transfer) appendMail() {
	t.c.mails++
	ext, tx := &t.c.ext, t.tx
	b := append(t.c.out, "MAIL FROM:<"...)
	b = append(append(b, tx.ReversePath.String()...), '>')
	if ext.Size && tx.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), tx.Size, 10)
	}
	switch {
	case t.chunked && ext.BinaryMIME && tx.Binary:
		b = append(b, " BODY=BINARYMIME"...)
	case ext.EightBitMIME && tx.EightBit:
		b = append(b, " BODY=8BITMIME"...)
	}
	if ext.SMTPUTF8 && tx.needsUTF8() {
		b = append(b, " SMTPUTF8"...)
	}
	if tx.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if ext.Priority && tx.Priority != 0 {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(tx.Priority), 10)
	}
	if ext.DeliverBy && tx.By != "" {
		b = append(append(b, " BY="...), tx.By...)
	}
	if ext.DSN && tx.Return != "" {
		b = append(append(b, " RET="...), tx.Return...)
	}
	if ext.DSN && tx.EnvelopeID != "" {
		b = append(append(b, " ENVID="...), tx.EnvelopeID...)
	}
	t.c.out = b
}

// appendRcpt writes RCPT. What the sender asked for is passed on exactly as
// it came, or not at all (RFC 3461 §5.2.1, §5.2.2).
func (t *transfer) appendRcpt(r *Recipient) {
	b := append(t.c.out, "RCPT TO:<"...)
	b = append(append(b, r.Path.String()...), '>')
	if t.c.ext.DSN && r.Notify != 0 {
		b = append(append(b, " NOTIFY="...), r.Notify.String()...)
	}
	if t.c.ext.DSN && r.OriginalRecipient != "" {
		b = append(append(b, " ORCPT="...), r.OriginalRecipient...)
	}
	t.c.out = b
}
