package queue

import (
	"io"
	"slices"
	"time"

	"waypost/relay/smtp"
)

// Envelope is what is kept of a message besides its content and recipients.
// It never changes once the message is in the queue.
type Envelope struct {
	// ReversePath is where reports go; null for a message that is itself a
	// report (RFC 5321 §4.5.5).
	ReversePath smtp.Path
	// EnvelopeID is the decoded ENVID; empty when none was given.
	EnvelopeID string
	// Return is RET: "FULL", "HDRS", or empty when it was not given.
	Return string
	// UTF8 says that SMTPUTF8 was asked for (RFC 6531).
	UTF8 bool
	// EightBit says that the content has octets over 127 (RFC 6152).
	EightBit bool
	// Arrival is when the message was taken, to the millisecond. Its
	// lifetime counts from here.
	Arrival time.Time
	// Size is the length of the content in octets, our trace field included.
	Size int64
	// Client names who sent it, as "name ([address])"; empty for messages of
	// our own.
	Client string
}

// State is where a recipient stands.
type State uint8

// The states of a recipient. Queued and Deferred are open, the others final.
// In flight is no state: after a crash the recipient is due again.
const (
	Queued State = iota
	Deferred
	Delivered
	Failed
	Expired
)

var stateNames = [...]string{"queued", "deferred", "delivered", "failed", "expired"}

// String returns the state's word.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// ParseState returns the state of that word.
func ParseState(s string) (State, bool) {
	i := slices.Index(stateNames[:], s)
	return State(max(i, 0)), i >= 0
}

// Open reports whether a recipient in this state still waits for delivery.
func (s State) Open() bool { return s == Queued || s == Deferred }

// Recipient is one forward-path of a message, with what has become of it.
type Recipient struct {
	Path smtp.Path
	// Notify is the value of NOTIFY (RFC 3461 §4.1).
	Notify smtp.Notify
	// OriginalRecipient is ORCPT as it was received, "rfc822;xtext"; empty
	// when it was not given.
	OriginalRecipient string
	State             State
	// Last is the newest result; its zero value means that there was none.
	Last Result
	// LastAttempt is when Last was seen; zero before the first attempt.
	LastAttempt time.Time
}

// Result is what one attempt meant for one recipient.
type Result struct {
	// State is Delivered, Deferred or Failed.
	State State
	// Reply is the decisive reply of the host; its code is zero when no host
	// said anything.
	Reply smtp.Reply
	// Reason says in words what happened when there is no reply.
	Reason string
	// Status is the enhanced code for reports, of Reply or of Reason.
	Status smtp.EnhancedCode
	// Host is the host that answered or was tried last, "name[address]:port".
	Host string
	// Reported says that the next hop took over the duty to report success
	// (it offers DSN; RFC 3461 §5.2.2).
	Reported bool
}

// Text returns the reply, or the reason when there was none, on one line.
func (r Result) Text() string {
	if r.Reply.Code != 0 {
		return r.Reply.String()
	}
	return smtp.Printable(r.Reason)
}

// Delivery is the recipients of one message for one destination: what is
// attempted together, and what one record in the index holds.
type Delivery struct {
	// ID is the message's; Index tells its deliveries apart.
	ID    ID
	Index uint16
	// Destination is the next hop that these recipients wait for.
	Destination string
	// Size is that of the message's content, in octets, so that a scan of
	// deliveries need not touch the messages.
	Size int64
	// Attempts counts the attempts made so far.
	Attempts int
	// Next is when the next attempt is due.
	Next time.Time
	// Held keeps the delivery from being attempted until it is released.
	Held bool
	// Warned says that the delay warning is done with.
	Warned     bool
	Recipients []Recipient
	sum        uint32 // the record's checksum, to see whether it changed
}

// Open returns how many recipients still wait.
func (d *Delivery) Open() int {
	n := 0
	for i := range d.Recipients {
		if d.Recipients[i].State.Open() {
			n++
		}
	}
	return n
}

// Message is a queued message as a Deliverer or Reporter sees it.
type Message struct {
	ID ID
	Envelope
	queue  *Queue
	inline []byte // content, when it is kept in the index
	sum    uint32
	file   bool
}

// Content opens the content for reading. It reads what was acknowledged or
// fails: a content that does not match its checksum ends in ErrDamaged
// instead of io.EOF. The caller closes it.
func (m *Message) Content() (io.ReadCloser, error) { return m.queue.openContent(m) }

// Outcome is what one attempt of a delivery came to.
type Outcome struct {
	// Results has one entry for each open recipient, in their order.
	Results []Result
	// Unreachable says that no host of the destination took a session, so
	// that there is no sense in trying the other messages that wait for it.
	Unreachable bool
	// Interrupted says that the attempt was cut short because waypost stops.
	// What was deferred by it counts as not attempted.
	Interrupted bool
}
