package smtpserver

import (
	"errors"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/relay/smtp"
)

func (s *session) mail(arg string) error {
	if s.tx.open {
		// RFC 5321 §4.1.4: no nested MAIL.
		return s.complain(503, code{5, 5, 1}, "A transaction is open already", metrics.RefusedSequence)
	}
	path, params, ok := s.pathAndParams(arg, "FROM:")
	if !ok {
		return nil
	}
	opts, refusal := s.mailParams(params)
	if refusal != nil {
		return s.refuseParams(refusal)
	}
	if path.IsPostmaster() && path.Domain == "" {
		return s.complain(501, code{5, 1, 7}, "Sender has no domain", metrics.RefusedSender)
	}
	if !opts.UTF8 && !path.ASCII() {
		// RFC 6531 §3.1.
		return s.complain(553, code{5, 6, 7}, "Non-ASCII address without SMTPUTF8", metrics.RefusedSender)
	}
	if most := s.server.MaxMessages; most > 0 && s.messages >= most {
		// RFC 9422 §4: the client was told, and goes on in a new session.
		return s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Too many messages in one session", metrics.RefusedLimit)
	}
	if session, ok := s.backend.(MailParametersSession); ok {
		session.MailParameters(opts.more)
	}
	if !s.accepted(s.backend.Mail(contractPath(path), &opts.MailOptions), code{2, 1, 0}, "Sender accepted") {
		return nil
	}
	s.idle = 0
	s.messages++
	s.tx = transaction{open: true, utf8: opts.UTF8, binary: opts.Body == gosmtp.BodyBinaryMIME}
	return nil
}

func (s *session) rcpt(arg string) error {
	if s.tx.chunks != nil {
		return s.complain(503, code{5, 5, 1}, "A message is being received", metrics.RefusedSequence)
	}
	path, params, ok := s.pathAndParams(arg, "TO:")
	if !ok {
		return nil
	}
	opts, orcpt, refusal := rcptOptions(params, s.tx.utf8)
	if refusal == nil && len(params) > 0 && !s.extended {
		refusal = errUnknownParam
	}
	if refusal != nil {
		return s.refuseParams(refusal)
	}
	switch {
	case path.IsNull():
		return s.complain(501, code{5, 1, 3}, "Recipient is empty", metrics.RefusedSyntax)
	case !s.tx.utf8 && !path.ASCII():
		return s.complain(553, code{5, 6, 7}, "Non-ASCII address without SMTPUTF8", metrics.RefusedRecipient)
	}
	if raw, ok := s.backend.(OriginalRecipientSession); ok {
		raw.OriginalRecipient(orcpt)
	}
	if !s.accepted(s.backend.Rcpt(contractPath(path), opts), code{2, 1, 5}, "Recipient accepted") {
		s.rejected++
		return nil
	}
	s.tx.recipients++
	return nil
}

func (s *session) refuseParams(refusal *gosmtp.SMTPError) error {
	reason := metrics.RefusedSyntax
	if refusal == errTooLarge {
		reason = metrics.RefusedSize
	}
	if refusal == errNeedTLS {
		reason = metrics.RefusedSequence
	}
	return s.complain(refusal.Code, code(refusal.EnhancedCode), refusal.Message, reason)
}

// contractPath writes a path as go-smtp's Session receives it: the local part
// not quoted.
func contractPath(p smtp.Path) string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// pathAndParams reads "FROM:<path> params" and the like; on a fault it has
// answered. A blank after the colon is common and tolerated.
func (s *session) pathAndParams(arg, word string) (smtp.Path, []param, bool) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		s.complain(501, code{5, 5, 4}, "Expected "+word+"<address>", metrics.RefusedSyntax)
		return smtp.Path{}, nil, false
	}
	// Whether UTF-8 is allowed is known only after the parameters.
	path, rest, err := smtp.ParsePath(strings.TrimLeft(arg[len(word):], " "), true)
	if err != nil {
		s.complain(501, pathCode(err, word), "Bad address: "+err.Error(), metrics.RefusedSyntax)
		return smtp.Path{}, nil, false
	}
	params, err := parseParams(rest)
	if err != nil {
		s.complain(501, code{5, 5, 4}, "Bad parameters", metrics.RefusedSyntax)
		return smtp.Path{}, nil, false
	}
	return path, params, true
}

// pathCode returns the enhanced code for a path that does not parse.
func pathCode(err error, word string) code {
	sender := word == "FROM:"
	switch {
	case errors.Is(err, smtp.ErrDomain) && sender:
		return code{5, 1, 8}
	case errors.Is(err, smtp.ErrDomain):
		return code{5, 1, 2}
	case sender:
		return code{5, 1, 7}
	}
	return code{5, 1, 3}
}
