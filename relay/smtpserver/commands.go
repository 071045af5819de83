package smtpserver

import (
	"errors"
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// handler answers one command. An error ends the session.
type handler func(s *session, arg string) error

// place says where in a session a command may stand.
type place uint8

const (
	anywhere    place = iota
	afterHello        // EHLO or HELO came before
	inTransfer        // MAIL came before
	noArguments = 1 << 7
)

// verbs is the table of commands (RFC 5321 §4.1.1, §4.1.4).
var verbs = map[string]struct {
	where  place
	handle handler
}{
	"EHLO":     {anywhere, (*session).ehlo},
	"HELO":     {anywhere, (*session).helo},
	"MAIL":     {afterHello, (*session).mail},
	"RCPT":     {inTransfer, (*session).rcpt},
	"DATA":     {inTransfer | noArguments, (*session).data},
	"BDAT":     {anywhere, (*session).bdat}, // its octets must be read in any case
	"RSET":     {anywhere | noArguments, (*session).rset},
	"NOOP":     {anywhere, (*session).noop},
	"QUIT":     {anywhere | noArguments, (*session).quit},
	"HELP":     {anywhere, (*session).help},
	"VRFY":     {anywhere, (*session).vrfy},
	"STARTTLS": {afterHello | noArguments, (*session).startTLS},
	"AUTH":     {afterHello, (*session).auth},
}

// known are the verbs that exist and that we do not have (RFC 5321 §4.2.4).
const known = " EXPN ETRN ATRN TURN SEND SOML SAML XCLIENT XFORWARD LHLO BURL "

// command checks the place of a command and runs it.
func (s *session) command(verb, arg string) error {
	v, ok := verbs[verb]
	switch where := v.where &^ noArguments; {
	case !ok && verb != "" && strings.Contains(known, " "+verb+" "):
		return s.complain(502, code{5, 5, 1}, "Command not available", metrics.RefusedSyntax)
	case !ok:
		return s.complain(500, code{5, 5, 1}, "Command not recognised", metrics.RefusedSyntax)
	case v.where&noArguments != 0 && arg != "":
		return s.complain(501, code{5, 5, 4}, "This command has no parameters", metrics.RefusedSyntax)
	case s.server.TLSMode == TLSRequired && s.state == nil && !strings.Contains(" EHLO NOOP QUIT STARTTLS ", " "+verb+" "):
		// RFC 3207 §4.
		return s.complain(530, code{5, 7, 0}, "Say STARTTLS first", metrics.RefusedSequence)
	case where >= afterHello && s.backend == nil:
		return s.complain(503, code{5, 5, 1}, "Say EHLO first", metrics.RefusedSequence)
	case where == inTransfer && !s.tx.open:
		return s.complain(503, code{5, 5, 1}, "Say MAIL first", metrics.RefusedSequence)
	}
	if s.server.Auth == AuthRequired && !s.authenticated && strings.Contains(needAuth, " "+verb+" ") {
		return s.complain(530, code{5, 7, 0}, "Authentication required", metrics.RefusedAuth)
	}
	return v.handle(s, arg)
}

func (s *session) helo(arg string) error { return s.greeted(arg, false) }
func (s *session) ehlo(arg string) error { return s.greeted(arg, true) }

func (s *session) greeted(arg string, extended bool) error {
	name := strings.TrimSpace(arg)
	if !validHello(name) {
		return s.complain(501, code{5, 5, 4}, "Bad name or address literal", metrics.RefusedSyntax)
	}
	s.idle++
	if s.authenticated {
		s.reset() // whoever it is stays the same
		s.hello, s.extended = name, extended
	} else if !s.begin(name, extended) {
		return nil
	}
	if !extended {
		s.reply(250, noCode, s.server.Hostname) // RFC 5321 §3.2: one line
		return nil
	}
	s.reply(250, noCode, s.keywords()...)
	return nil
}

// begin begins the backend's session, or has given its refusal.
func (s *session) begin(name string, extended bool) bool {
	s.logout() // RFC 5321 §4.1.4: EHLO also resets
	s.hello, s.extended = name, extended
	backend, err := s.server.Backend.BeginSession(s)
	if err != nil {
		s.replyError(err)
		return false
	}
	s.backend = backend
	return true
}

// keywords lists what EHLO offers.
func (s *session) keywords() []string {
	list := []string{s.server.Hostname, "PIPELINING", "SIZE " + strconv.FormatInt(s.server.MaxSize, 10),
		"8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES", "VRFY", "HELP"}
	if s.canStartTLS() {
		list = append(list, "STARTTLS")
	}
	if all := s.mechanisms(); len(all) > 0 {
		list = append(list, "AUTH "+strings.Join(all, " "))
	}
	return list
}

func (s *session) canStartTLS() bool {
	return s.state == nil && (s.server.TLSMode == TLSOffered || s.server.TLSMode == TLSRequired)
}

func (s *session) startTLS(string) error {
	if !s.canStartTLS() {
		return s.complain(503, code{5, 5, 1}, "STARTTLS is not available here", metrics.RefusedSequence)
	}
	s.reply(220, code{2, 0, 0}, "Go ahead")
	if len(s.in.buffered()) > 0 {
		// Text that was sent ahead of the handshake could have been put
		// there by anybody: the session cannot be trusted any more.
		s.count(metrics.RefusedProtocol)
		s.out = nil
		s.reply(421, code{4, 7, 0}, s.server.Hostname+" Data ahead of the TLS handshake")
		return errEnd
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.logout()
	s.hello, s.extended = "", false
	if s.handshake() != nil {
		s.out = nil
		s.nc.Close()
		return errEnd
	}
	return nil
}

func (s *session) mail(arg string) error {
	if s.tx.open {
		// RFC 5321 §4.1.4: no nested MAIL.
		return s.complain(503, code{5, 5, 1}, "A transaction is open already", metrics.RefusedSequence)
	}
	path, params, ok := s.pathAndParams(arg, "FROM:")
	if !ok {
		return nil
	}
	opts, refusal := s.mailOptions(params)
	if refusal == nil && len(params) > 0 && !s.extended {
		refusal = errUnknownParam
	}
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
	if err := s.backend.Mail(contractPath(path), opts); err != nil {
		s.replyError(err)
		return nil
	}
	s.idle = 0
	s.tx = transaction{open: true, utf8: opts.UTF8}
	s.reply(250, code{2, 1, 0}, "Sender accepted")
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
	if err := s.backend.Rcpt(contractPath(path), opts); err != nil {
		s.rejected++
		s.replyError(err)
		return nil
	}
	s.tx.recipients++
	s.reply(250, code{2, 1, 5}, "Recipient accepted")
	return nil
}

func (s *session) refuseParams(refusal *gosmtp.SMTPError) error {
	reason := metrics.RefusedSyntax
	if refusal == errTooLarge {
		reason = metrics.RefusedSize
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

func (s *session) rset(string) error {
	s.idle++
	s.reset()
	s.reply(250, code{2, 0, 0}, "Flushed")
	return nil
}

func (s *session) noop(string) error {
	s.idle++
	s.reply(250, code{2, 0, 0}, "OK")
	return nil
}

func (s *session) help(string) error {
	s.idle++
	s.reply(214, code{2, 0, 0}, "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT", "The protocol is RFC 5321")
	return nil
}

// vrfy verifies nothing (RFC 5321 §3.5.3, §7.3).
func (s *session) vrfy(arg string) error {
	s.idle++
	if arg == "" {
		return s.complain(501, code{5, 5, 4}, "Expected an address", metrics.RefusedSyntax)
	}
	s.reply(252, code{2, 0, 0}, "Send some mail, and it will be tried")
	return nil
}

func (s *session) quit(string) error {
	s.reply(221, code{2, 0, 0}, s.server.Hostname+" Bye")
	return errEnd
}
