package inbound

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/policy"
	"waypost/relay/recipient"
	"waypost/relay/smtp"
	"waypost/relay/smtpserver"
)

// session is one client between EHLO and the end.
type session struct {
	backend *Backend
	conn    smtpserver.Conn
	client  netip.Addr
	// clientName is the client's verified name; empty where nobody told it.
	clientName string
	login      string // who has authenticated; empty for nobody
	local      bool   // of a program on this host
	tx         transaction
	// What the engine tells ahead: ORCPT of the next Rcpt as it was written,
	// and more parameters of the next Mail.
	orcpt string
	more  smtpserver.MailParameters
}

// transaction is a message without its content.
type transaction struct {
	open       bool
	envelope   queue.Envelope
	named      []smtp.Path // as RCPT named them
	recipients audience    // who they are, with aliases expanded
	aliases    []string    // those of named that are aliases
	lists      []list      // those of mailing lists that have an owner
	expanded   []Expanded  // aliases to be reported on
	size       int64       // as MAIL declared it
	id         queue.ID    // under which it is in the queue; 0 before
}

var (
	_ smtpserver.OriginalRecipientSession = (*session)(nil)
	_ smtpserver.MailParametersSession    = (*session)(nil)
	_ smtpserver.QueueSession             = (*session)(nil)
	_ smtpserver.VerifySession            = (*session)(nil)
	_ smtpserver.ExpandSession            = (*session)(nil)
	_ gosmtp.AuthSession                  = (*session)(nil)
)

// Reset forgets the transaction.
func (s *session) Reset() { s.tx, s.orcpt, s.more = transaction{}, "", smtpserver.MailParameters{} }

// Logout ends the session.
func (s *session) Logout() error {
	s.Reset()
	return nil
}

// OriginalRecipient is told ORCPT as it was written, before Rcpt.
func (s *session) OriginalRecipient(raw string) { s.orcpt = raw }

// Mail opens a transaction.
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	b := s.backend
	if s.tx.open {
		// RFC 5321 §4.1.4: no nested MAIL.
		return b.refuse(metrics.RefusedSequence, 503, gosmtp.EnhancedCode{5, 5, 1}, "A transaction is open already")
	}
	path, err := smtp.SplitPath(from, o.UTF8)
	switch {
	case errors.Is(err, smtp.ErrUTF8):
		return b.refuse(metrics.RefusedSender, 553, gosmtp.EnhancedCode{5, 6, 7}, "Non-ASCII address without SMTPUTF8")
	case err != nil:
		return b.refuse(metrics.RefusedSender, 501, gosmtp.EnhancedCode{5, 1, 7}, "Bad sender address")
	}
	if err := s.submits(path); err != nil {
		return err
	}
	if d := b.Rules.Sender(s.who(), path); !d.Allowed {
		return s.denied(metrics.RefusedSender, d, path, smtp.Path{})
	}
	if b.Recipients != nil && !path.IsNull() {
		if d := b.Recipients.CheckSender(context.Background(), path); !d.Allowed && !s.later(d) {
			return s.denied(metrics.RefusedSender, d, path, smtp.Path{})
		}
	}
	if d := b.Rules.Room(s.who(), path, policy.Bytes, o.Size, time.Now()); !d.Allowed {
		return s.denied(metrics.RefusedLimit, d, path, smtp.Path{})
	}
	if d := b.Rules.Take(s.who(), path, policy.Messages, 1, time.Now()); !d.Allowed {
		return s.denied(metrics.RefusedLimit, d, path, smtp.Path{})
	}
	if err := b.Queue.Room(o.Size); err != nil {
		return s.storageError(err)
	}
	s.tx = transaction{open: true, size: o.Size, envelope: queue.Envelope{
		ReversePath: path, EnvelopeID: o.EnvelopeID, Return: string(o.Return), UTF8: o.UTF8,
		Binary: o.Body == gosmtp.BodyBinaryMIME, RequireTLS: o.RequireTLS,
	}}
	s.arrival(&s.tx.envelope)
	return s.extend(&s.tx.envelope)
}

// Rcpt adds a recipient.
func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	b, orcpt := s.backend, s.orcpt
	s.orcpt = ""
	path, err := smtp.SplitPath(to, s.tx.envelope.UTF8)
	switch {
	case errors.Is(err, smtp.ErrUTF8):
		return b.refuse(metrics.RefusedRecipient, 553, gosmtp.EnhancedCode{5, 6, 7}, "Non-ASCII address without SMTPUTF8")
	case errors.Is(err, smtp.ErrDomain):
		return b.refuse(metrics.RefusedRecipient, 501, gosmtp.EnhancedCode{5, 1, 2}, "Bad recipient domain")
	case err != nil || path.IsNull():
		return b.refuse(metrics.RefusedRecipient, 501, gosmtp.EnhancedCode{5, 1, 3}, "Bad recipient address")
	}
	if b.Submission && !s.local {
		if d := b.Rules.QualifiedRecipient(path, b.Aliases.Table().IsLocal(path)); !d.Allowed {
			return s.denied(metrics.RefusedRecipient, d, s.tx.envelope.ReversePath, path)
		}
	}
	if d := b.Rules.Relay(s.who(), path); !d.Allowed {
		reason := metrics.RefusedRelay
		if d.Gateway {
			reason = metrics.RefusedGateway
		}
		return s.denied(reason, d, s.tx.envelope.ReversePath, path)
	}
	if len(s.tx.named) >= b.MaxRecipients && !s.local {
		// RFC 5321 §4.5.3.1.10: the client sends the rest later.
		return b.refuse(metrics.RefusedLimit, 452, gosmtp.EnhancedCode{4, 5, 3}, "Too many recipients")
	}
	if path.Domain == "" {
		path.Domain = b.Hostname // RFC 5321 §4.5.1: our own postmaster
	}
	if slices.Contains(s.tx.named, path) {
		return nil
	}
	if d := b.Rules.Take(s.who(), s.tx.envelope.ReversePath, policy.Recipients, 1, time.Now()); !d.Allowed {
		return s.denied(metrics.RefusedLimit, d, s.tx.envelope.ReversePath, path)
	}
	r := queue.Recipient{Path: path, Notify: notify(o.Notify), OriginalRecipient: originalRecipient(orcpt, o)}
	if a, ok := b.Aliases.Table().Expand(path); ok {
		s.expand(&r, &a)
		if b.Disclose {
			return forwarded(&a)
		}
		return nil
	}
	if b.Recipients != nil {
		q := recipient.Question{Envelope: &s.tx.envelope, Path: path, Relayed: b.Rules.Relayed(path), Size: s.tx.size}
		if d := b.Recipients.Check(context.Background(), q); !d.Allowed && !s.later(d) {
			return s.denied(metrics.RefusedRecipient, d, s.tx.envelope.ReversePath, path)
		}
	}
	s.tx.named = append(s.tx.named, path)
	s.tx.recipients.add(r)
	return nil
}

// later reports whether a refusal is for now only, of mail that can wait in the
// queue as well: its client does not come back with it.
func (s *session) later(d policy.Decision) bool { return s.local && d.Reply.Temporary() }

func notify(words []gosmtp.DSNNotify) smtp.Notify {
	var n smtp.Notify
	for _, w := range words {
		flag, err := smtp.ParseNotify(string(w))
		if err == nil {
			n |= flag
		}
	}
	return n
}

// originalRecipient returns ORCPT as it was written, where the engine says so,
// and written anew where not.
func originalRecipient(raw string, o *gosmtp.RcptOptions) string {
	switch {
	case raw != "" || o.OriginalRecipient == "":
		return raw
	case o.OriginalRecipientType == gosmtp.DSNAddressTypeUTF8:
		return "utf-8;" + o.OriginalRecipient
	}
	return "rfc822;" + smtp.Xtext(o.OriginalRecipient)
}

// storageError answers what went wrong on our side of the transaction.
func (s *session) storageError(err error) error {
	b := s.backend
	if isFull(err) {
		b.Log.Warn("no room for another message", "client", s.client.String(), "error", err.Error())
		return b.refuse(metrics.RefusedStorage, 452, gosmtp.EnhancedCode{4, 3, 1}, "Not enough room, try again later")
	}
	b.Log.Error("message not stored", "client", s.client.String(), "error", err.Error())
	return b.refuse(metrics.RefusedStorage, 451, gosmtp.EnhancedCode{4, 3, 0}, "Local error, try again later")
}
