package smtpserver

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
)

// AuthMode says what a listener does about AUTH.
type AuthMode uint8

// The modes of AUTH. The zero value is none.
const (
	AuthNone     AuthMode = iota
	AuthOptional          // AUTH is offered
	AuthRequired          // nothing is sent without it
)

const (
	// maxAuthLine is the longest line of an exchange, with its CRLF: RFC 4954 §4
	// asks for 12288 octets of base64.
	maxAuthLine = 12288 + 2
	// maxAuthFailures is how many attempts may fail in one session.
	maxAuthFailures = 5
)

// mechanisms are those that can be used now: none in clear, unless that is
// allowed (RFC 4954 §4).
func (s *session) mechanisms() []string {
	session, ok := s.backend.(gosmtp.AuthSession)
	if !ok || s.server.Auth == AuthNone || !s.extended || s.state == nil && !s.server.AuthInClear {
		return nil
	}
	return session.AuthMechanisms()
}

// auth authenticates the client (RFC 4954 §4).
func (s *session) auth(arg string) error {
	switch {
	case !s.extended:
		return s.complain(503, code{5, 5, 1}, "Say EHLO first", metrics.RefusedSequence)
	case s.authenticated:
		return s.complain(503, code{5, 5, 1}, "Already authenticated", metrics.RefusedSequence)
	case s.tx.open:
		return s.complain(503, code{5, 5, 1}, "Not in a transaction", metrics.RefusedSequence)
	case s.state == nil && !s.server.AuthInClear:
		return s.complain(538, code{5, 7, 11}, "Encryption required, say STARTTLS first", metrics.RefusedSequence)
	}
	name, initial, _ := strings.Cut(arg, " ")
	if name == "" {
		return s.complain(501, code{5, 5, 4}, "Expected a mechanism", metrics.RefusedSyntax)
	}
	if name = strings.ToUpper(name); !slices.Contains(s.mechanisms(), name) {
		return s.complain(504, code{5, 5, 4}, "Mechanism not available", metrics.RefusedSyntax)
	}
	mechanism, err := s.backend.(gosmtp.AuthSession).Auth(name)
	if err != nil {
		return s.authFailed(err)
	}
	// What the client sends is a secret: it does not stay in the buffers, which
	// others use after it.
	defer s.in.wipe()
	return s.exchange(mechanism, strings.TrimSpace(initial))
}

// exchange passes challenges and responses until the mechanism is done.
func (s *session) exchange(mechanism sasl.Server, initial string) error {
	response, err := []byte(nil), error(nil) // nil: there was no initial response
	if initial != "" {
		if response, err = decodeResponse(initial); err != nil {
			return s.complain(501, code{5, 5, 2}, "Bad base64", metrics.RefusedSyntax)
		}
	}
	for {
		challenge, done, err := mechanism.Next(response)
		if err != nil {
			return s.authFailed(err)
		}
		if done && len(challenge) == 0 {
			break
		}
		var ok bool
		if response, ok, err = s.challenge(challenge); !ok {
			return err
		}
		if done {
			// The last word was the mechanism's, and the response to it says
			// nothing (RFC 4954 §4).
			break
		}
	}
	s.authenticated, s.idle = true, 0
	s.reply(235, code{2, 7, 0}, "Authentication succeeded")
	return nil
}

// challenge sends a challenge and reads the response to it. When ok is false
// the exchange is over and has been answered, or err ends the session.
func (s *session) challenge(challenge []byte) (response []byte, ok bool, err error) {
	s.reply(334, noCode, base64.StdEncoding.EncodeToString(challenge))
	line, err := s.readResponse()
	switch {
	case errors.Is(err, errLineTooLong):
		return nil, false, s.complain(500, code{5, 5, 6}, "Line too long", metrics.RefusedSyntax)
	case errors.Is(err, errLineEnd):
		return nil, false, s.complain(500, code{5, 5, 2}, "Lines end in CRLF", metrics.RefusedProtocol)
	case err != nil:
		return nil, false, err
	case string(line) == "*":
		return nil, false, s.complain(501, code{5, 7, 0}, "Authentication cancelled", metrics.RefusedAuth)
	}
	if response, err = base64.StdEncoding.DecodeString(string(line)); err != nil {
		return nil, false, s.complain(501, code{5, 5, 2}, "Bad base64", metrics.RefusedSyntax)
	}
	return response, true, nil
}

// decodeResponse decodes an initial response, where "=" stands for an empty
// one (RFC 4954 §4).
func decodeResponse(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(s)
}

// authFailed answers a failed attempt, and ends the session of a client that
// keeps trying.
func (s *session) authFailed(err error) error {
	s.authFailures++
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	switch {
	case ok:
		s.count(metrics.RefusedAuth)
		s.replyError(reply)
	case errors.Is(err, sasl.ErrUnexpectedClientResponse):
		s.complain(501, code{5, 5, 2}, "Unexpected response", metrics.RefusedAuth)
	default:
		s.count(metrics.RefusedAuth)
		s.server.Log.Error("authentication not possible", "client", s.addr.String(), "error", err.Error())
		s.reply(454, code{4, 7, 0}, "Temporary authentication failure")
	}
	if s.authFailures < maxAuthFailures {
		return nil
	}
	return s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Too many failed attempts, closing", metrics.RefusedLimit)
}
