package smtpclient

import (
	"fmt"
	"io"
	"strings"

	"waypost/relay/smtp"
)

// Transaction is one message on its way to one host: the envelope and where
// the content comes from.
type Transaction struct {
	// ReversePath is the argument of MAIL; the zero value is the null path.
	ReversePath smtp.Path
	// Size is the content's size in octets, without dot-stuffing; 0 when it
	// is not known. It is declared where the host offers SIZE (RFC 1870).
	Size int64
	// EightBit says that the content has octets over 127. To a host without
	// 8BITMIME it is not sent (RFC 6152 §3).
	EightBit bool
	// Binary says that the content may have lines of any length and line ends
	// of any kind. To a host without BINARYMIME it is not sent (RFC 3030 §3).
	Binary bool
	// RequireTLS asks the host to go on under TLS only (RFC 8689). To a host
	// that does not offer that, and in clear, the message is not sent.
	RequireTLS bool
	// Priority is the value of MT-PRIORITY; 0 is the usual one. It is passed on
	// where that is offered (RFC 6710).
	Priority int
	// By is the value of BY, "120;R"; empty when there is none. It is passed on
	// where that is offered (RFC 2852); what else to do is for the caller.
	By string
	// UTF8 says that the message needs SMTPUTF8 (RFC 6531). A path that is
	// not ASCII needs it too, whatever is said here.
	UTF8 bool
	// Return is the value of RET, "FULL" or "HDRS"; empty when none was
	// received (RFC 3461 §4.3).
	Return string
	// EnvelopeID is the value of ENVID exactly as it was received, in xtext;
	// empty when there was none (RFC 3461 §4.4).
	EnvelopeID string
	// Recipients are the forward-paths, at least one.
	Recipients []Recipient
	// Content is read once, to its end, when the host is ready for it. Its
	// lines end in CRLF; nothing is dot-stuffed.
	Content io.Reader
	// Probe asks only whether the recipients would be taken: no content is
	// sent, and a recipient is decided by the reply to its RCPT, good or bad.
	// That MAIL is refused says nothing of them, and decides none for good.
	Probe bool
}

// Recipient is one forward-path with what its sender asked for.
type Recipient struct {
	// Path is the argument of RCPT.
	Path smtp.Path
	// Notify is the value of NOTIFY; zero when none was received.
	Notify smtp.Notify
	// OriginalRecipient is the value of ORCPT exactly as it was received,
	// "rfc822;xtext"; empty when there was none (RFC 3461 §4.2).
	OriginalRecipient string
}

// Result says what became of each recipient.
type Result struct {
	// Recipients has one reply for each recipient of the transaction, in its
	// order: the reply that decided it. That is the reply to its RCPT when
	// that refused, else the one to MAIL or DATA when that refused, else the
	// one to the final dot. Code is zero where nothing was decided; Send
	// then returns the error that stands for these recipients. Recipients
	// that share a reply share its Lines.
	Recipients []smtp.Reply
	// Local says that the replies are ours: the host lacks what the message
	// needs, and nothing was sent to it. Another host may offer it.
	Local bool
	// Ambiguous says that the final dot was sent and no reply to it was
	// understood: the host may have the message (RFC 1047).
	Ambiguous bool
}

// decide gives reply to every recipient that has none yet.
func (r *Result) decide(reply smtp.Reply) {
	for i := range r.Recipients {
		if r.Recipients[i].Code == 0 {
			r.Recipients[i] = reply
		}
	}
}

// decided reports whether every recipient has its reply.
func (r *Result) decided() bool {
	for i := range r.Recipients {
		if r.Recipients[i].Code == 0 {
			return false
		}
	}
	return true
}

// check refuses an envelope that would write something else than its own
// commands. Paths and parameters are clean when they come from a parser; this
// is the last gate.
func (tx *Transaction) check() error {
	if len(tx.Recipients) == 0 || tx.Content == nil && !tx.Probe {
		return fmt.Errorf("%w: no recipient or no content", ErrEnvelope)
	}
	if !pathOK(tx.ReversePath) || !plain(tx.EnvelopeID) || !plain(tx.Return) || !plain(tx.By) {
		return fmt.Errorf("%w: bad reverse-path or parameter", ErrEnvelope)
	}
	for i := range tx.Recipients {
		r := &tx.Recipients[i]
		if r.Path.IsNull() || !pathOK(r.Path) || !plain(r.OriginalRecipient) {
			return fmt.Errorf("%w: bad path or parameter of recipient %d", ErrEnvelope, i+1)
		}
	}
	return nil
}

// pathOK: a local part is quoted when it is written, so that only control
// characters can do harm there; a domain stands as it is.
func pathOK(p smtp.Path) bool {
	for i := range len(p.Local) {
		if p.Local[i] < ' ' || p.Local[i] == 0x7f {
			return false
		}
	}
	return plain(p.Domain) && !strings.ContainsAny(p.Domain, "<>")
}

// refusal returns our own reply for a message that needs what the host does
// not offer; ok is false when there is nothing in the way.
func (tx *Transaction) refusal(ext *Extensions) (reply smtp.Reply, ok bool) {
	switch {
	// RFC 1870 §4: a larger message can only be refused for good.
	case ext.MaxSize > 0 && tx.Size > ext.MaxSize:
		return smtp.NewReply(552, smtp.EnhancedCode{5, 3, 4},
			fmt.Sprintf("message of %d octets is larger than the %d that the host takes", tx.Size, ext.MaxSize)), true
	// RFC 6531 §3.2: without SMTPUTF8 the message must not be sent.
	case !ext.SMTPUTF8 && tx.needsUTF8():
		return smtp.NewReply(553, smtp.EnhancedCode{5, 6, 7}, "message needs SMTPUTF8, which the host does not offer"), true
	// RFC 8689 §4.2.1: such mail goes to hosts that promise to keep to it.
	case tx.RequireTLS && !ext.RequireTLS:
		return smtp.NewReply(550, smtp.EnhancedCode{5, 7, 30}, "message requires TLS all the way, which the host does not promise (REQUIRETLS)"), true
	// RFC 3030 §3: binary content goes by BDAT to hosts that offer it.
	case tx.Binary && !(ext.BinaryMIME && ext.Chunking && tx.Size > 0):
		return smtp.NewReply(554, smtp.EnhancedCode{5, 6, 3}, "message has binary content, which the host does not take"), true
	// RFC 6152 §3: 8-bit content must not be sent without 8BITMIME.
	case !ext.EightBitMIME && tx.EightBit:
		return smtp.NewReply(554, smtp.EnhancedCode{5, 6, 3}, "message has 8-bit content, which the host does not take"), true
	}
	return smtp.Reply{}, false
}

func (tx *Transaction) needsUTF8() bool {
	if tx.UTF8 || !tx.ReversePath.ASCII() {
		return true
	}
	for i := range tx.Recipients {
		if r := &tx.Recipients[i]; !r.Path.ASCII() || !ascii(r.OriginalRecipient) {
			return true
		}
	}
	return false
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
