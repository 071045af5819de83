package smtpclient

import (
	"errors"

	"waypost/relay/smtp"
)

// Causes that a caller may want to tell apart. They are wrapped in an Error;
// compare with errors.Is.
var (
	// ErrProtocol means that the host sent something that is no SMTP reply,
	// or a reply that is no answer to the command.
	ErrProtocol = errors.New("protocol error")
	// ErrNoSTARTTLS means that TLS is required and the host does not offer it.
	ErrNoSTARTTLS = errors.New("STARTTLS is required and not offered")
	// ErrInjected means that bytes came in clear between the reply to
	// STARTTLS and the handshake: somebody may be tampering.
	ErrInjected = errors.New("unexpected bytes in clear before the TLS handshake")
	// ErrNoAuth means that there are credentials, and that the host offers no
	// mechanism for them.
	ErrNoAuth = errors.New("no known AUTH mechanism is offered")
	// ErrClearAuth means that the password would have crossed a network in
	// clear; it was not sent.
	ErrClearAuth = errors.New("credentials are not sent without TLS")
	// ErrBareLineEnd means that the content has a CR without LF or an LF
	// without CR. It can be sent to nobody (RFC 5321 §2.3.8).
	ErrBareLineEnd = errors.New("content has a bare CR or LF")
	// ErrEnvelope means that the transaction cannot be written as commands:
	// a control character in a path or parameter, no recipient, no content.
	ErrEnvelope = errors.New("envelope cannot be sent")
	// ErrNotUsable means that Send was called on a session that is over.
	ErrNotUsable = errors.New("the session is over")
)

// Stage is the step of a session in which something happened.
type Stage uint8

// The stages, in the order in which a session passes them. StageConnect, the
// zero value, is never reported by this package: it is there for the callers
// that dial.
const (
	StageConnect Stage = iota
	StageGreeting
	StageHello
	StageSTARTTLS
	StageHandshake
	StageAuth
	StageMail
	StageRcpt
	StageData
	StageContent
	StageDot
	StageQuit
	StageReset
)

// String returns the stage as it stands in logs: "rcpt".
func (s Stage) String() string {
	names := [...]string{"connect", "greeting", "hello", "starttls", "handshake", "auth",
		"mail", "rcpt", "data", "content", "dot", "quit", "rset"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Scope says what an error condemns.
type Scope uint8

const (
	// ScopeSession, the zero value: the session failed, with this host. The
	// next host may do better.
	ScopeSession Scope = iota
	// ScopeTransaction: the transaction itself cannot be sent, because its
	// envelope or content is damaged or cannot be read. No host does better.
	ScopeTransaction
)

// String returns "session" or "transaction".
func (s Scope) String() string {
	if s == ScopeTransaction {
		return "transaction"
	}
	return "session"
}

// Error is the one type of error that New and Send return.
type Error struct {
	// Stage is where it happened.
	Stage Stage
	// Scope says whether another host may do better.
	Scope Scope
	// Reply is what the host said, if it said something; else zero.
	Reply smtp.Reply
	// Err is the cause when there is more to it than the reply; else nil. A
	// time-out is os.ErrDeadlineExceeded, a cancelled context its cause.
	Err error
}

// Error returns the stage, the cause and the host's reply on one line.
func (e *Error) Error() string {
	s := e.Stage.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Reply.Code != 0 {
		s += ": host said " + e.Reply.String()
	}
	return s
}

// Unwrap returns the cause, which may be nil.
func (e *Error) Unwrap() error { return e.Err }

// Permanent reports whether the mail can never be sent. That is so for
// content with a bare line end alone. A 5yz greeting, a refused EHLO or a
// refused AUTH is our own trouble with the host and must not bounce the mail
// of others; what a 521 means, of a host that takes no mail at all, is for the
// caller. Whatever is unknown is temporary.
func (e *Error) Permanent() bool { return errors.Is(e.Err, ErrBareLineEnd) }

// Status returns the enhanced code that a report gives for the error, of
// class 4, or 5 when it is permanent (RFC 3463 §3).
func (e *Error) Status() smtp.EnhancedCode {
	switch {
	case e.Permanent():
		return smtp.EnhancedCode{5, 6, 0}
	case e.Reply.Enhanced != (smtp.EnhancedCode{}):
		return smtp.EnhancedCode{4, e.Reply.Enhanced[1], e.Reply.Enhanced[2]}
	case e.Scope == ScopeTransaction:
		return smtp.EnhancedCode{4, 3, 0}
	case e.Stage == StageSTARTTLS, e.Stage == StageHandshake, e.Stage == StageAuth:
		return smtp.EnhancedCode{4, 7, 0}
	case e.Reply.Code != 0:
		return smtp.EnhancedCode{4, 0, 0}
	case errors.Is(e.Err, ErrProtocol):
		return smtp.EnhancedCode{4, 5, 0}
	case e.Stage == StageConnect:
		return smtp.EnhancedCode{4, 4, 1}
	}
	return smtp.EnhancedCode{4, 4, 2}
}
