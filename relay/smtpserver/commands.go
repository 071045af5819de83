package smtpserver

import (
	"maps"
	"slices"
	"strings"

	"waypost/metrics"
)

// place says where in a session a command may stand.
type place uint8

const (
	anywhere    place = iota
	afterHello        // EHLO or HELO came before
	inTransfer        // MAIL came before
	noArguments = 1 << 7
)

// command is one verb.
type command struct {
	where  place
	handle func(s *session, arg string) error // an error ends the session
	usage  string                             // what HELP says
	// offered says whether this session has the command at all; nil means
	// that every one has.
	offered func(s *session) bool
}

// commands is the table of verbs (RFC 5321 §4.1.1, §4.1.4).
func commands() map[string]command {
	return map[string]command{
		"EHLO": {where: anywhere, handle: (*session).ehlo, usage: "EHLO name: greet us and see what we offer"},
		"HELO": {where: anywhere, handle: (*session).helo, usage: "HELO name: greet us as in 1982"},
		"MAIL": {where: afterHello, handle: (*session).mail, usage: "MAIL FROM:<path> [parameters]: begin a transaction"},
		"RCPT": {where: inTransfer, handle: (*session).rcpt, usage: "RCPT TO:<path> [parameters]: name a recipient"},
		"DATA": {where: inTransfer | noArguments, handle: (*session).data, usage: "DATA: send the message, until a line with only a dot"},
		// The octets of a chunk must be read wherever it stands.
		"BDAT":    {where: anywhere, handle: (*session).bdat, usage: "BDAT octets [LAST]: send a chunk of the message"},
		"RSET":    {where: anywhere | noArguments, handle: (*session).rset, usage: "RSET: forget the transaction"},
		"NOOP":    {where: anywhere, handle: (*session).noop, usage: "NOOP: do nothing"},
		"QUIT":    {where: anywhere | noArguments, handle: (*session).quit, usage: "QUIT: end the session"},
		"HELP":    {where: anywhere, handle: (*session).help, usage: "HELP [command]: show the commands, or explain one"},
		"VRFY":    {where: anywhere, handle: (*session).vrfy, usage: "VRFY address: ask whether a mailbox exists"},
		"EXPN":    {where: anywhere, handle: (*session).expn, usage: "EXPN list: ask for the members of a list", offered: (*session).canExpand},
		"ETRN":    {where: afterHello, handle: (*session).etrn, usage: "ETRN domain: try the mail that waits for a domain", offered: (*session).canStartQueue},
		"AUTH":    {where: afterHello, handle: (*session).auth, usage: "AUTH mechanism [response]: log in", offered: func(s *session) bool { return s.server.Auth != AuthNone }},
		"XCLIENT": {where: anywhere, handle: (*session).xclientCommand, usage: "XCLIENT attribute=value...: speak for another client", offered: (*session).mayXClient},
		"STARTTLS": {where: afterHello | noArguments, handle: (*session).startTLS, usage: "STARTTLS: go on under TLS",
			offered: func(s *session) bool { return s.server.TLSMode != TLSNone }},
	}
}

// known are the verbs that exist and that we do not have (RFC 5321 §4.2.4).
const known = " ATRN TURN SEND SOML SAML XFORWARD LHLO BURL "

// clearVerbs are what is possible in clear where TLS is required (RFC 3207
// §4). BDAT is refused, too, but behind its chunk.
const clearVerbs = " EHLO NOOP QUIT STARTTLS BDAT "

// needsTLS reports whether the client has to say STARTTLS before anything else.
func (s *session) needsTLS() bool { return s.server.TLSMode == TLSRequired && s.state == nil }

func (s *session) refuseClear() error {
	return s.complain(530, code{5, 7, 0}, "Say STARTTLS first", metrics.RefusedSequence)
}

// needAuth are the commands that are refused before AUTH where it is required
// (RFC 4954 §6, reply 530).
const needAuth = " MAIL VRFY EXPN ETRN "

// command checks the place of a command and runs it.
func (s *session) command(verb, arg string) error {
	v, ok := s.server.commands[verb]
	has := func(list string) bool { return strings.Contains(list, " "+verb+" ") }
	switch where := v.where &^ noArguments; {
	case verb == "XCLIENT" && !s.mayXClient():
		return s.complain(550, code{5, 7, 1}, "XCLIENT is not accepted from your address", metrics.RefusedProtocol)
	case ok && v.offered != nil && !v.offered(s), !ok && verb != "" && has(known):
		return s.complain(502, code{5, 5, 1}, "Command not available", metrics.RefusedSyntax)
	case !ok:
		return s.complain(500, code{5, 5, 1}, "Command not recognised", metrics.RefusedSyntax)
	case v.where&noArguments != 0 && arg != "":
		return s.complain(501, code{5, 5, 4}, "This command has no parameters", metrics.RefusedSyntax)
	case s.needsTLS() && !has(clearVerbs):
		return s.refuseClear()
	case where >= afterHello && s.backend == nil:
		return s.complain(503, code{5, 5, 1}, "Say EHLO first", metrics.RefusedSequence)
	case where == inTransfer && !s.tx.open:
		return s.complain(503, code{5, 5, 1}, "Say MAIL first", metrics.RefusedSequence)
	case s.server.Auth == AuthRequired && !s.authenticated && has(needAuth):
		return s.complain(530, code{5, 7, 0}, "Authentication required", metrics.RefusedAuth)
	}
	return v.handle(s, arg)
}

// verbs lists the commands that this session has.
func (s *session) verbs() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.server.commands)), func(verb string) bool {
		offered := s.server.commands[verb].offered
		return offered != nil && !offered(s)
	})
}
