package outbound

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"waypost/relay/sevenbit"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// This file makes a message fit for what a host offers, or says why it does not
// fit.

// fit returns the transaction for recipients that can be sent to over s, and
// those recipients. The content is to be closed. A refusal is our own reply for
// the whole message; a recipient that alone does not fit is decided.
func (a *attempt) fit(s *session, batch []int) (tx smtpclient.Transaction, fits []int, content io.Closer, err error) {
	if a.probe {
		return a.fitProbe(s, batch)
	}
	m, ext := a.message, s.client.Extensions()
	tx = smtpclient.Transaction{
		ReversePath: m.ReversePath, Size: m.Size, EightBit: m.EightBit, Binary: m.Binary, UTF8: m.UTF8,
		Return: m.Return, EnvelopeID: smtp.Xtext(m.EnvelopeID), Priority: int(m.Priority),
		RequireTLS: !s.local && (a.requiresTLS() || m.RequireTLS && ext.RequireTLS && s.tls != ""),
	}
	if tx.By, err = a.deliverBy(s, &ext); err != nil {
		return tx, nil, nil, err
	}
	for _, i := range batch {
		r := a.open[i]
		to := smtpclient.Recipient{Path: r.Path, Notify: r.Notify, OriginalRecipient: r.OriginalRecipient}
		if !ext.SMTPUTF8 {
			if to, err = asciiRecipient(to); err != nil && len(batch) > 1 {
				a.decide(i, failureOf(s.host, err).over(s.tls).result())
				continue
			} else if err != nil {
				return tx, nil, nil, err
			}
		}
		tx.Recipients, fits = append(tx.Recipients, to), append(fits, i)
	}
	if len(fits) == 0 {
		return tx, nil, nil, nil
	}
	if err := a.fitContent(&tx, &ext); err != nil {
		return tx, nil, nil, err
	}
	reader, err := m.Content()
	if err != nil {
		return tx, nil, nil, err
	}
	if tx.Content = reader; tx.Size == 0 && a.scanned != nil {
		tx.Content = a.scanned.Convert(reader)
	}
	return tx, fits, reader, nil
}

// fitContent has the content converted for a host that takes only 7 bits, and
// does without SMTPUTF8 where that is possible. A converted content has no size.
func (a *attempt) fitContent(tx *smtpclient.Transaction, ext *smtpclient.Extensions) error {
	if !ext.SMTPUTF8 && (tx.UTF8 || !tx.ReversePath.ASCII()) {
		info, err := a.scan()
		if err != nil {
			return err
		}
		sender, ok := asciiPath(tx.ReversePath)
		// RFC 6531 §3.2: without SMTPUTF8 such mail is not sent, and its header
		// is not ours to change.
		if !ok || tx.UTF8 && info.HeaderEightBit {
			return unfitError(553, smtp.EnhancedCode{5, 6, 7}, "message needs SMTPUTF8, which the host does not offer")
		}
		tx.ReversePath, tx.UTF8 = sender, false
	}
	if binary := tx.Binary && !(ext.BinaryMIME && ext.Chunking); binary || tx.EightBit && !ext.EightBitMIME {
		if _, err := a.scan(); err != nil {
			return err
		}
		// A host that is too small for it as it is will not take it longer.
		if ext.MaxSize == 0 || tx.Size <= ext.MaxSize {
			tx.EightBit, tx.Binary, tx.Size = false, false, 0
		}
	}
	return nil
}

// scan finds out once for an attempt what conversion would do.
func (a *attempt) scan() (*sevenbit.Info, error) {
	if a.scanned != nil {
		return a.scanned, nil
	}
	content, err := a.message.Content()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	info, err := sevenbit.Scan(content)
	if errors.Is(err, sevenbit.ErrStructure) {
		return nil, unfitError(554, smtp.EnhancedCode{5, 6, 3}, err.Error())
	}
	a.scanned = info
	return info, err
}

// deliverBy returns the BY parameter with the time that is left (RFC 2852 §4).
func (a *attempt) deliverBy(s *session, ext *smtpclient.Extensions) (string, error) {
	by := a.message.DeliverBy
	if by.Deadline.IsZero() {
		return "", nil
	}
	left := time.Until(by.Deadline)
	if by.Return {
		switch {
		case left <= 0:
			return "", unfitError(554, smtp.EnhancedCode{5, 4, 7}, "the time within which the message was to be delivered is over")
		// A mailbox server is where the message was to arrive.
		case !s.mailbox && (!ext.DeliverBy || left < ext.MinDeliverBy):
			return "", unfitError(554, smtp.EnhancedCode{5, 4, 7}, "message must be delivered in time or returned, which the host does not promise (DELIVERBY)")
		}
	}
	const most = 999_999_999 // nine digits (RFC 2852 §4)
	seconds, mode := min(max(int64(left/time.Second), -most), most), "N"
	if by.Return {
		seconds, mode = max(seconds, 1), "R"
	}
	if by.Trace {
		mode += "T"
	}
	return fmt.Sprintf("%d;%s", seconds, mode), nil
}

// tellsRelayed reports whether the sender is to hear that the host has the
// message: it wants to follow it, or its by-time is lost there (RFC 2852 §4). A
// mailbox server is no hop.
func (a *attempt) tellsRelayed(s *session) bool {
	by := a.message.DeliverBy
	return !by.Deadline.IsZero() && !s.mailbox && (by.Trace || !s.client.Extensions().DeliverBy)
}

// refusal is an error that is a reply of our own.
type refusal struct{ reply smtp.Reply }

func (r refusal) Error() string { return strings.Join(r.reply.Lines, " ") }

func unfitError(code int, enhanced smtp.EnhancedCode, text string) error {
	return refusal{smtp.NewReply(code, enhanced, text)}
}

// asciiRecipient writes a recipient for a host without SMTPUTF8.
func asciiRecipient(r smtpclient.Recipient) (smtpclient.Recipient, error) {
	p, ok := asciiPath(r.Path)
	if !ok {
		return r, unfitError(553, smtp.EnhancedCode{5, 6, 7}, "address needs SMTPUTF8, which the host does not offer")
	}
	r.Path = p
	r.OriginalRecipient = asciiOriginal(r.OriginalRecipient)
	return r, nil
}

// asciiPath returns the path with its domain as A-labels, if that is enough.
func asciiPath(p smtp.Path) (smtp.Path, bool) {
	if !p.ASCII() {
		if domain, err := smtp.ASCIIDomain(p.Domain); err == nil {
			p.Domain = domain
		}
	}
	return p, p.ASCII()
}

// asciiOriginal writes an ORCPT of UTF-8 in the form for hosts without SMTPUTF8
// (RFC 6533 §3: utf-8-addr-xtext).
func asciiOriginal(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}
