package smtpserver

import (
	"errors"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

type code = smtp.EnhancedCode

// noCode goes with the replies that have no enhanced code: the greeting, the
// one to EHLO, and 3yz (RFC 2034 §4).
var noCode = code{}

// reply queues one reply; it leaves with the next read or flush.
func (s *session) reply(number int, enhanced code, lines ...string) {
	before := len(s.out)
	s.out = smtp.Reply{Code: number, Enhanced: enhanced, Lines: lines}.AppendWire(s.out)
	if s.talk != nil {
		for line := range strings.Lines(string(s.out[before:])) {
			s.talk.Reply(true, strings.TrimRight(line, "\r\n"))
		}
	}
}

// complain refuses a command for its syntax or its place.
func (s *session) complain(number int, enhanced code, text, reason string) error {
	s.errors++
	s.count(reason)
	s.reply(number, enhanced, text)
	return nil
}

// dismiss refuses a client altogether: its last reply, and the end.
func (s *session) dismiss(number int, enhanced code, text, reason string) error {
	s.count(reason)
	s.reply(number, enhanced, text)
	s.unread = true
	return errEnd
}

func (s *session) count(reason string) { s.server.Metrics.Refused.WithLabelValues(reason).Inc() }

// replyError gives a backend's answer. An error that is no reply is our own
// fault: the client may try again, and learns nothing else (never 5yz: mail
// would be returned for a fault of ours).
func (s *session) replyError(err error) {
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	if !ok {
		s.server.Log.Error("command failed", "client", s.addr.String(), "error", err.Error())
		s.reply(451, code{4, 3, 0}, "Local error, try again later")
		return
	}
	enhanced := code(reply.EnhancedCode)
	if enhanced[0] != reply.Code/100 {
		enhanced = code{reply.Code / 100, 0, 0}
	}
	lines := strings.Split(reply.Message, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	s.reply(reply.Code, enhanced, lines...)
	if reply.Code == 421 {
		s.unread = true // which says that the connection is closed (RFC 5321 §3.8)
	}
}

// printable returns s with a question mark for what a reply may not have in it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// accepted gives a backend's success in its words, where it has some, or in
// ours. When it is none, the refusal has been given.
func (s *session) accepted(err error, enhanced code, text string) bool {
	if err == nil {
		s.reply(250, enhanced, text)
		return true
	}
	s.replyError(err)
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	return ok && reply.Code/100 == 2
}
