package queue

import (
	"strings"
	"time"

	"waypost/relay/smtp"
)

// Filter selects messages. Its zero value selects all; what is set must all
// apply, and what is asked of a recipient must all apply to the same one, which
// still waits.
type Filter struct {
	// IDs selects these messages.
	IDs []ID
	// UpTo selects messages up to this one, so that what comes later is left
	// alone; 0 is no bound.
	UpTo ID
	// To selects messages with a recipient of this mailbox, in any case.
	To string
	// ToDomain selects messages with a recipient in this domain; with a dot in
	// front, in it or below it.
	ToDomain string
	// From selects by reverse-path: a mailbox, a domain with or without @ in
	// front, or "<>".
	From string
	// OlderThan selects messages that arrived at least so long ago, and
	// YoungerThan those that arrived less long ago; 0 is any age.
	OlderThan, YoungerThan time.Duration
	// LargerThan and SmallerThan select by the size of the content, in octets:
	// at least, and less than; 0 is any size.
	LargerThan, SmallerThan int64
	// Class selects by the name of the message class that is in force:
	// DefaultClass for messages that have none.
	Class string
	// Destination selects messages that wait for this next hop.
	Destination string
	// State is "queued", "deferred" or "held": a recipient must be that. What
	// waits for a destination on hold is held.
	State string
	// Reply selects messages of which a recipient's last attempt ended with a
	// reply, or a reason, that has this text in it, in any case.
	Reply string
	// By says whose wish a change is, and selects nothing.
	By string

	queue *Queue // set by it
}

// filter completes f with what the queue knows.
func (q *Queue) filter(f Filter) Filter {
	f.queue = q
	f.Reply = strings.ToLower(f.Reply)
	return f
}

// byContent reports whether f asks for something that a damaged message does
// not tell.
func (f *Filter) byContent() bool {
	return f.From != "" || f.LargerThan != 0 || f.SmallerThan != 0 || f.Class != "" || f.byRecipient()
}

func (f *Filter) byRecipient() bool {
	return f.To != "" || f.ToDomain != "" || f.Destination != "" || f.State != "" || f.Reply != ""
}

func (f *Filter) match(e *Entry) bool {
	if !f.matchMessage(e) {
		return false
	}
	if !f.byRecipient() {
		return true
	}
	for _, d := range e.Deliveries {
		for i := range d.Recipients {
			if f.matchRecipient(d, &d.Recipients[i]) {
				return true
			}
		}
	}
	return false
}

// matchMessage looks at what all recipients share.
func (f *Filter) matchMessage(e *Entry) bool {
	switch {
	case f.OlderThan > 0 && time.Since(e.Arrival) < f.OlderThan, f.YoungerThan > 0 && time.Since(e.Arrival) >= f.YoungerThan:
		return false
	case e.Size < f.LargerThan, f.SmallerThan > 0 && e.Size >= f.SmallerThan:
		return false
	case f.Class != "" && f.queue.classes.of(e.Class).Name != f.Class:
		return false
	}
	return f.From == "" || f.matchFrom(e)
}

func (f *Filter) matchFrom(e *Entry) bool {
	switch path := e.ReversePath; {
	case f.From == "<>":
		return path.IsNull()
	case path.IsNull():
		return false
	case strings.LastIndexByte(f.From, '@') > 0:
		return strings.EqualFold(path.String(), f.From)
	default:
		return strings.EqualFold(path.DomainKey(), strings.TrimPrefix(f.From, "@"))
	}
}

func (f *Filter) matchDomain(domain string) bool {
	return strings.EqualFold(domain, f.ToDomain) || f.ToDomain[0] == '.' && smtp.HasSuffixFold("."+domain, f.ToDomain)
}

func (f *Filter) matchRecipient(d *Delivery, r *Recipient) bool {
	if !r.State.Open() {
		return false
	}
	if f.ToDomain != "" && !f.matchDomain(r.Path.DomainKey()) {
		return false
	}
	if f.To != "" && !strings.EqualFold(r.Path.String(), f.To) {
		return false
	}
	if f.Destination != "" && f.Destination != d.Destination {
		return false
	}
	if f.Reply != "" && (r.LastAttempt.IsZero() || !strings.Contains(strings.ToLower(r.Last.Text()), f.Reply)) {
		return false
	}
	if f.State == "" {
		return true
	}
	if d.Held || f.queue.sched.isHeld(d.Destination) {
		return f.State == "held"
	}
	return f.State == r.State.String()
}
