package queue

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
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
	// Binary says that the content came with BODY=BINARYMIME: it may have
	// lines of any length, and line ends of any kind (RFC 3030 §3).
	Binary bool
	// RequireTLS is REQUIRETLS: no next hop may have the message in clear
	// (RFC 8689).
	RequireTLS bool
	// Priority is MT-PRIORITY, from -9 to 9; 0 is the usual (RFC 6710).
	Priority int8
	// Class is the name of the message class; "" is the default one.
	Class string
	// ClassRule says which rule put the message there, for people.
	ClassRule string
	// DeliverBy is BY; its zero value means that it was not given.
	DeliverBy DeliverBy
	// HoldUntil is when the message may first be attempted, to the
	// millisecond (RFC 4865); zero means at once.
	HoldUntil time.Time
	// MessageID is that of the header section, without angle brackets, up to
	// 998 octets; empty where there is none.
	MessageID string
	// Arrival is when the message was taken, to the millisecond. Its
	// lifetime counts from here, or from HoldUntil where that is later.
	Arrival time.Time
	// Size is the length of the content in octets, our trace field included.
	Size int64
	// Client names who sent it, as "name ([address])"; empty for messages of
	// our own.
	Client string
	// Login is the identity that the client proved by AUTH; empty without.
	Login string
	// Listener is the address at which the message came in; Protocol how, as
	// "ESMTPSA" (RFC 3848); TLS the version and cipher of that session, empty
	// in clear. All are empty for messages of our own.
	Listener, Protocol, TLS string
	// ReportOn is the message that this one reports on; 0 for any other mail.
	ReportOn ID
}

// DeliverBy is the BY parameter of MAIL (RFC 2852).
type DeliverBy struct {
	// Deadline is when the by-time ends, to the millisecond; zero means that
	// there is none.
	Deadline time.Time
	// Return says that a message is to be returned when its time is over;
	// without it, its sender is told of the delay.
	Return bool
	// Trace asks for a report from each hop.
	Trace bool
}

// begin is when the lifetime begins, and the first attempt may be made. What
// is held for a future release does not age meanwhile (RFC 4865 §4.1).
func (e *Envelope) begin() time.Time { return later(e.Arrival, e.HoldUntil) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
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
	Removed // by an operator; nobody is told
)

var stateNames = [...]string{"queued", "deferred", "delivered", "failed", "expired", "removed"}

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
	// State is Delivered, Deferred or Failed; Removed in Recipient.Last when an
	// operator removed the recipient, as Reason says.
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
	// Relayed says that the sender is to hear that the next hop has the
	// message, although no report of success was asked for (RFC 2852 §4): it
	// does not keep the message's by-time, or each hop is to be traced.
	Relayed bool
	// TLS is how the session with Host was protected, as "TLS 1.3
	// TLS_AES_128_GCM_SHA256 verified"; empty in clear, and where there was
	// no session.
	TLS string
	// Duration is how long the attempt took, to the millisecond.
	Duration time.Duration
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
	// Class and Priority are the message's, and HoldUntil too, for the same
	// reason.
	Class     string
	Priority  int8
	HoldUntil time.Time
	// Deadline is the end of the message's by-time, as long as something is to
	// be done then: with Return the message is given up, else its sender hears
	// of the delay. Zero means that there is none.
	Deadline time.Time
	Return   bool
	// Attempts counts the attempts made so far.
	Attempts int
	// Notices counts the warnings that were sent between attempts, and the times
	// that an operator bounced recipients.
	Notices int
	// Next is when the next attempt is due.
	Next time.Time
	// Held keeps the delivery from being attempted until it is released.
	Held bool
	// Warned says that the delay warning is done with.
	Warned     bool
	Recipients []Recipient
	sum        uint32 // the record's checksum, to see whether it changed
}

// begin is Envelope.begin. The time in the ID will do here; it is wrong only
// after the clock went back.
func (d *Delivery) begin() time.Time { return later(d.ID.Arrived(), d.HoldUntil) }

// lastAttempt returns when one of the recipients that wait was last tried.
func (d *Delivery) lastAttempt() (last time.Time) {
	for i := range d.Recipients {
		if r := &d.Recipients[i]; r.State.Open() {
			last = later(last, r.LastAttempt)
		}
	}
	return last
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
	// damaged is set, atomically, to 1 when the content was read and is not what
	// was acknowledged.
	damaged uint32
}

func (m *Message) isDamaged() bool { return atomic.LoadUint32(&m.damaged) != 0 }

// noteDamage notes an error of the content, if it is that.
func (m *Message) noteDamage(err error) {
	if errors.Is(err, ErrDamaged) {
		atomic.StoreUint32(&m.damaged, 1)
	}
}

// Content opens the content for reading. It reads what was acknowledged or
// fails: a content that does not match its checksum ends in ErrDamaged
// instead of io.EOF, and after the attempt the delivery is put on hold. The caller
// closes it.
func (m *Message) Content() (io.ReadCloser, error) {
	r, err := m.queue.openContent(m)
	m.noteDamage(err)
	return r, err
}

// Outcome is what one attempt of a delivery came to.
type Outcome struct {
	// Results has one entry for each open recipient, in their order.
	Results []Result
	// Unreachable says that no host of the destination took a session, so
	// that there is no sense in trying the other messages that wait for it.
	Unreachable bool
	// RetryAfter is how long to wait with the next attempt, instead of as the
	// retry policy says; 0 leaves it to that.
	RetryAfter time.Duration
	// Pause is how long nothing more is to be tried at the destination; 0 is not
	// at all, or for the first interval of the retry policy where the destination
	// is Unreachable.
	Pause time.Duration
	// Waits says that no attempt was made, because a limit is reached or the
	// recipients go different ways now: nothing else counts, and it is made once
	// the Pacer admits it.
	Waits bool
	// Interrupted says that the attempt was cut short because waypost stops.
	// What was deferred by it counts as not attempted.
	Interrupted bool
	// late says that nothing was attempted, because the by-time is over.
	late bool
	// decided says that nothing was attempted, because an operator said what is
	// to be.
	decided bool
}

// pauses reports whether nothing more is to be tried at the destination for a
// while.
func (o *Outcome) pauses() bool { return !o.Interrupted && (o.Unreachable || o.Pause > 0) }
