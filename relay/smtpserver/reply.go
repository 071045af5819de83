package smtpserver

import (
	"errors"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

type code = smtp.EnhancedCode

// noCode goes with the replies that have no enhanced code: the greeting, the
// one to EHLO, and 3yz (RFC 2034 §4).
var noCode = code{}

// reply queues one reply; it leaves with the next read or flush.
func (s *session) reply(number int, enhanced code, lines ...string) {
	s.out = smtp.Reply{Code: number, Enhanced: enhanced, Lines: lines}.AppendWire(s.out)
}

// complain refuses a command for its syntax or its place.
func (s *session) complain(number int, enhanced code, text, reason string) error {
	s.errors++
	s.count(reason)
	s.reply(number, enhanced, text)
	return nil
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
	s.reply(reply.Code, enhanced, reply.Message)
}
