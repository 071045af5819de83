package dsn

import (
	"errors"
	"io"
	"time"

	"waypost/relay/smtp"
)

// DefaultMaxReturn is the largest content that is returned whole where the
// report sets no limit of its own: 1 MiB.
const DefaultMaxReturn = 1 << 20

// Reasons why a report is not composed. Compare with errors.Is.
var (
	// ErrNullSender means that the report would go to the null reverse-path.
	ErrNullSender = errors.New("a report to the null reverse-path")
	// ErrNoRecipients means that there is nothing to report.
	ErrNoRecipients = errors.New("a report without recipients")
	// ErrBoundary means that a boundary was given that MIME does not allow
	// (RFC 2046 §5.1.1).
	ErrBoundary = errors.New("bad boundary")
)

// Kind is what a report tells.
type Kind uint8

const (
	// Failure: the message will not be delivered to these recipients.
	Failure Kind = iota
	// Delay: it has not been delivered yet, and is still being tried.
	Delay
	// Success: it was delivered, or handed to a next hop that sends no
	// reports of its own.
	Success
)

// Return is how much of the content a report brings back (RFC 3461 §4.3).
type Return uint8

const (
	// Headers returns the header section only. It is the default.
	Headers Return = iota
	// Full returns the whole content, if the report is of a failure
	// (RFC 3461 §6.2) and the content is not larger than Report.MaxReturn.
	Full
)

// Action is what was done for one recipient (RFC 3464 §2.3.3).
type Action uint8

const (
	// ActionOfKind is the zero value: failed, delayed or relayed, as the
	// report's kind says.
	ActionOfKind Action = iota
	// Failed: it could not be delivered, and no more attempts are made.
	Failed
	// Delayed: it has not been delivered yet; attempts go on.
	Delayed
	// Relayed: it was handed to a next hop that sends no reports
	// (RFC 3461 §5.2.2).
	Relayed
	// Delivered: it reached the recipient's mailbox.
	Delivered
	// Expanded: it went to the addresses behind this one.
	Expanded
)

// String returns the action as the field has it: "failed". It is empty for
// ActionOfKind.
func (a Action) String() string {
	switch a {
	case Failed:
		return "failed"
	case Delayed:
		return "delayed"
	case Relayed:
		return "relayed"
	case Delivered:
		return "delivered"
	case Expanded:
		return "expanded"
	}
	return ""
}

// Report is what Compose is told.
type Report struct {
	// Kind is what the report tells. The zero value is Failure.
	Kind Kind
	// Hostname is our own name: the Reporting-MTA, and the domain of the
	// postmaster whom the report is from. Empty becomes "localhost".
	Hostname string
	// To is the reverse-path of the message. The null path is an error.
	To smtp.Path
	// QueueID is the queue ID of the message; empty when there is none.
	QueueID string
	// EnvelopeID is ENVID, decoded; empty when the sender gave none.
	EnvelopeID string
	// Arrival is when the message was received; zero leaves the field out.
	Arrival time.Time
	// DeliverBy is the end of the time that the sender set for the delivery;
	// zero leaves the field out.
	DeliverBy time.Time
	// Now is the date of the report.
	Now time.Time
	// ReceivedFrom is the client that the message came from, as
	// "name ([192.0.2.1])"; empty leaves the field out.
	ReceivedFrom string
	// MessageID is the Message-ID without angle brackets. Empty means a new,
	// random one.
	MessageID string
	// Boundary separates the parts. Empty means a new one of at least 128
	// random bits: drawn after the content was written, so that nothing in
	// the content can match it but by guessing, which is why the content is
	// not searched for it.
	Boundary string
	// UTF8 says that the message came with SMTPUTF8, so that its sender can
	// be sent UTF-8: the types of RFC 6533 are used where they are needed.
	// Without it, the report is in ASCII but for a content returned whole.
	UTF8 bool
	// Recipients are those that the report is about, at least one.
	Recipients []Recipient
	// Return is how much of the content the sender asked for.
	Return Return
	// Content is the content of the message, from its beginning. Nil means
	// that there is nothing to return.
	Content io.Reader
	// ContentSize is the size of Content in octets. Zero means that it is not
	// known: only the header section is returned then.
	ContentSize int64
	// MaxReturn is the size in octets over which a content is not returned
	// whole. Zero means DefaultMaxReturn.
	MaxReturn int64
	// EightBit says that the content has octets over 127.
	EightBit bool
	// TLSOptional says that the message had "TLS-Required: No"; the report has
	// it too, so that it travels on the same terms.
	TLSOptional bool
}

// Recipient is the state of one recipient.
type Recipient struct {
	// Final is the recipient as RCPT gave it to us.
	Final smtp.Path
	// Original is ORCPT as it was received: "rfc822;user+2B1@example.org".
	// Empty when there was none.
	Original string
	// Action is what was done. The zero value follows the report's kind.
	Action Action
	// Status is the enhanced code. Where it is missing, that of Diagnostic
	// is used; its class is made to match the action.
	Status smtp.EnhancedCode
	// RemoteMTA is the name of the host that spoke to us; empty when none did
	// (RFC 3464 §2.3.5).
	RemoteMTA string
	// Diagnostic is the reply that decided; its zero value means none.
	Diagnostic smtp.Reply
	// Reason says in a few words of our own, without a full stop, what went
	// wrong: "the domain does not exist". Only people read it. It stands
	// beside Diagnostic where both are set.
	Reason string
	// LastAttempt is when delivery was last tried; zero leaves it out.
	LastAttempt time.Time
	// WillRetryUntil is when attempts end; zero leaves it out. It is only
	// told for a delayed recipient (RFC 3464 §2.3.9).
	WillRetryUntil time.Time
}

// Composed is what the sending of a report has to know.
type Composed struct {
	// EightBit says that the report has octets over 127 (BODY=8BITMIME).
	EightBit bool
	// UTF8 says that its header sections have UTF-8 (SMTPUTF8).
	UTF8 bool
	// Full says that the content was returned whole.
	Full bool
	// Size is the size of the report in octets.
	Size int64
}

// action returns the action of one recipient of the report.
func (r *Report) action(rcpt *Recipient) Action {
	if rcpt.Action != ActionOfKind {
		return rcpt.Action
	}
	switch r.Kind {
	case Delay:
		return Delayed
	case Success:
		return Relayed
	}
	return Failed
}
