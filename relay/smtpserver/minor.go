package smtpserver

import (
	"strings"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// This file has the commands that move no mail. Each counts as idle: a client
// that does nothing else is sent away.

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

// help lists the commands or explains one (RFC 5321 §4.1.1.8).
func (s *session) help(arg string) error {
	s.idle++
	if arg == "" {
		s.reply(214, code{2, 0, 0}, "Commands: "+strings.Join(s.verbs(), " "), "Say HELP and a command for more; the protocol is RFC 5321")
		return nil
	}
	v, ok := s.server.commands[strings.ToUpper(arg)]
	if !ok || v.offered != nil && !v.offered(s) {
		return s.complain(504, code{5, 5, 4}, "No such command to explain", metrics.RefusedSyntax)
	}
	s.reply(214, code{2, 0, 0}, v.usage)
	return nil
}

func (s *session) quit(string) error {
	s.reply(221, code{2, 0, 0}, s.server.Hostname+" Bye")
	return errEnd
}

// vrfy asks the backend about a mailbox. Without an answer from there it
// verifies nothing (RFC 5321 §3.5.3, §7.3).
func (s *session) vrfy(arg string) error {
	s.idle++
	path, ok := s.lookedFor(arg)
	if !ok {
		return nil
	}
	if session, ok := s.backend.(VerifySession); ok && !path.IsNull() {
		if err := session.Verify(contractPath(path)); err != nil {
			s.replyError(err)
			return nil
		}
	}
	s.reply(252, code{2, 0, 0}, "Cannot verify, but will take a message and try")
	return nil
}

func (s *session) canExpand() bool {
	session, ok := s.backend.(ExpandSession)
	return ok && session.MayExpand()
}

// expn shows the members of a list (RFC 5321 §3.5.2).
func (s *session) expn(arg string) error {
	s.idle++
	path, ok := s.lookedFor(arg)
	if !ok {
		return nil
	}
	if path.IsNull() {
		return s.complain(550, code{5, 1, 1}, "No such list", metrics.RefusedRecipient)
	}
	members, err := s.backend.(ExpandSession).Expand(contractPath(path))
	switch {
	case err != nil:
		s.replyError(err)
	case len(members) == 0:
		return s.complain(550, code{5, 1, 1}, "No such list", metrics.RefusedRecipient)
	default:
		lines := make([]string, len(members))
		for i, m := range members {
			lines[i] = "<" + m + ">"
		}
		s.reply(250, code{2, 1, 5}, lines...)
	}
	return nil
}

// lookedFor reads the argument of VRFY and EXPN: an address with brackets or
// without, perhaps with SMTPUTF8 behind it (RFC 6531 §3.7.4.2). A bare name is
// one of this host; what can be none, such as "Ann Smith", is the null path. When ok is false it has
// been answered.
func (s *session) lookedFor(arg string) (path smtp.Path, ok bool) {
	utf8 := false
	if smtp.HasSuffixFold(arg, " SMTPUTF8") {
		arg, utf8 = strings.TrimSpace(arg[:len(arg)-len(" SMTPUTF8")]), true
	}
	if arg == "" {
		s.complain(501, code{5, 5, 4}, "Expected an address", metrics.RefusedSyntax)
		return smtp.Path{}, false
	}
	if !strings.HasPrefix(arg, "<") {
		arg = "<" + arg + ">"
	}
	path, rest, err := smtp.ParsePath(arg, true)
	switch {
	case err != nil && !strings.Contains(arg, "@"):
		// RFC 5321 §3.5.1: a user of this host, or somebody's name.
		if local, rest, err := smtp.ParsePath(arg[:len(arg)-1]+"@"+s.server.Hostname+">", utf8); err == nil && rest == "" {
			return local, true
		}
		return smtp.Path{}, true
	case err != nil || rest != "":
		s.complain(501, code{5, 1, 3}, "Bad address", metrics.RefusedSyntax)
		return smtp.Path{}, false
	case !utf8 && !path.ASCII():
		s.complain(553, code{5, 6, 7}, "Non-ASCII address without SMTPUTF8", metrics.RefusedRecipient)
		return smtp.Path{}, false
	}
	return path, true
}

func (s *session) canStartQueue() bool {
	session, ok := s.backend.(QueueSession)
	return ok && session.MayStartQueue()
}

// etrn has the queue try what waits for a domain (RFC 1985). The mail leaves
// by the routes that it always has, never on this connection.
func (s *session) etrn(arg string) error {
	s.idle++
	if s.tx.open {
		return s.complain(503, code{5, 5, 1}, "Not in a transaction", metrics.RefusedSequence)
	}
	if arg == "" {
		return s.complain(501, code{5, 5, 4}, "Expected a domain", metrics.RefusedSyntax)
	}
	domain, below := strings.CutPrefix(arg, "@")
	domain, err := smtp.ASCIIDomain(domain)
	if err != nil {
		// A queue named by "#" is something that we do not have (§5.3).
		return s.complain(501, code{5, 5, 4}, "Bad domain", metrics.RefusedSyntax)
	}
	waiting, err := s.backend.(QueueSession).StartQueue(domain, below)
	switch {
	case err != nil:
		s.replyError(err)
	case waiting:
		s.reply(250, code{2, 0, 0}, "OK, queuing for "+domain+" started")
	default:
		s.reply(251, code{2, 0, 0}, "OK, no messages waiting for "+domain)
	}
	return nil
}
