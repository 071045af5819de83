package control

import "time"

// The names in these types' tags are what scripts rely on: names may be added,
// but none changes or goes.

// Message is a message in the queue with its recipients. Held, Attempts and
// NextAttempt sum up what the recipients say one by one.
type Message struct {
	// ID is the queue ID.
	ID string `json:"id"`
	// From is the reverse-path without its angle brackets; "" is the null one.
	From string `json:"from"`
	// Size is the length of the content in octets.
	Size int64 `json:"size"`
	// Arrival is when the message was taken, in UTC.
	Arrival time.Time `json:"arrival"`
	// AgeSeconds is the time since Arrival.
	AgeSeconds float64 `json:"age_seconds"`
	// State is that of the recipients that wait: StateHeld when all of them are
	// on hold, else StateDeferred when one of them was tried, else StateQueued.
	// It is StateDamaged when the message cannot be read. Of a message that has
	// left it is the gravest of its recipients: StateRemoved, StateExpired,
	// StateFailed, else StateDelivered.
	State string `json:"state"`
	// Held says that every recipient that waits is on hold.
	Held bool `json:"held"`
	// Attempts is how often the recipient that was tried most was tried.
	Attempts int `json:"attempts"`
	// NextAttempt is the earliest of the recipients'; left out when all that
	// wait are on hold.
	NextAttempt *time.Time `json:"next_attempt,omitempty"`
	// Client is who sent the message, "name ([address])"; left out for one of
	// our own.
	Client string `json:"client,omitempty"`
	// EnvelopeID is ENVID; left out where there was none.
	EnvelopeID string `json:"envelope_id,omitempty"`
	// MessageID is that of the header section, without angle brackets; left out
	// where there is none.
	MessageID string `json:"message_id,omitempty"`
	// Login is the identity that the client proved; left out without one.
	Login string `json:"login,omitempty"`
	// Listener is the address at which the message came in, Protocol how, as in
	// its Received field, and TLS the version and cipher; each is left out where
	// there was none.
	Listener string `json:"listener,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	TLS      string `json:"tls,omitempty"`
	// Class is the message class; left out for the default one.
	Class string `json:"class,omitempty"`
	// ClassRule says which rule put it there; left out where there was none.
	ClassRule string `json:"class_rule,omitempty"`
	// Priority is MT-PRIORITY; left out when it is 0.
	Priority int8 `json:"priority,omitempty"`
	// RequireTLS says that no next hop may have the message in clear.
	RequireTLS bool `json:"require_tls,omitempty"`
	// HoldUntil is when it may first be tried, and DeliverBy the end of its
	// by-time; each is left out where it was not given.
	HoldUntil *time.Time `json:"hold_until,omitempty"`
	DeliverBy *time.Time `json:"deliver_by,omitempty"`
	// ReportOn is the queue ID of the message that this one reports on; left
	// out for other mail.
	ReportOn string `json:"report_on,omitempty"`
	// Recipients are all of the message's, those that are final included.
	Recipients []Recipient `json:"recipients"`
	// Left is when the message left the queue; left out while it is there.
	Left *time.Time `json:"left,omitempty"`
	// AttemptLog are the attempts that were made, in order; left out in lists.
	// Of very many, the first for each next hop and the newest are kept.
	AttemptLog []Attempt `json:"attempt_log,omitempty"`
}

// Attempt is one attempt, or a delay warning between two: that has no results.
type Attempt struct {
	// Time is when it ended, in UTC.
	Time time.Time `json:"time"`
	// Destination is the next hop that was tried.
	Destination string `json:"destination"`
	// Results has one entry for each recipient that was tried.
	Results []AttemptResult `json:"results,omitempty"`
	// Reports are those that were sent on account of it.
	Reports []Report `json:"reports,omitempty"`
}

// AttemptResult is what an attempt came to for one recipient.
type AttemptResult struct {
	// Address and State are as in Recipient; the state is what the recipient
	// became.
	Address string `json:"address"`
	State   string `json:"state"`
	// Host is the host that answered or was tried last; left out where there
	// was none.
	Host string `json:"host,omitempty"`
	// TLS is how the session was protected, as "TLS 1.3
	// TLS_AES_128_GCM_SHA256 verified"; left out in clear.
	TLS string `json:"tls,omitempty"`
	// Seconds is how long the attempt took.
	Seconds float64 `json:"seconds"`
	// Status and Reply are as in Recipient.
	Status string `json:"status,omitempty"`
	Reply  string `json:"reply"`
	// Lines are the lines of the reply as the host wrote them, without code;
	// left out when it said nothing.
	Lines []string `json:"lines,omitempty"`
}

// Report is a report that was sent.
type Report struct {
	// Kind is "failure", "delay" or "success".
	Kind string `json:"kind"`
	// ID is the report's own queue ID.
	ID string `json:"id"`
}

// States of a message and of a recipient. A recipient's is never StateHeld,
// since hold is apart, in Held, nor StateDamaged.
const (
	StateQueued    = "queued"    // not tried yet
	StateDeferred  = "deferred"  // tried, and to be tried again
	StateHeld      = "held"      // not tried until it is released
	StateDamaged   = "damaged"   // a record does not match its checksum: set aside
	StateDelivered = "delivered" // final
	StateFailed    = "failed"    // final
	StateExpired   = "expired"   // final
	StateRemoved   = "removed"   // final: an operator took it out
)

// Recipient is one recipient of a message.
type Recipient struct {
	// Address is the forward-path without its angle brackets.
	Address string `json:"address"`
	// State is one of the constants, but not StateHeld or StateDamaged.
	State string `json:"state"`
	// Destination is the next hop that the recipient waits for.
	Destination string `json:"destination"`
	// Held says that the recipient is not tried until it is released, or its
	// destination is.
	Held bool `json:"held"`
	// DestinationHeld says that its destination is on hold; left out where not.
	DestinationHeld bool `json:"destination_held,omitempty"`
	// PausedUntil is when its destination is tried again that could not be reached,
	// or where a host asked to be left alone, and PausedWhy what was said then; Pace
	// is how fast mail may leave where it leads. They are told of one message alone,
	// and left out where there is nothing to tell.
	PausedUntil *time.Time     `json:"paused_until,omitempty"`
	PausedWhy   string         `json:"paused_why,omitempty"`
	Pace        *ExplainedPace `json:"pace,omitempty"`
	// Attempts is how often it was tried.
	Attempts int `json:"attempts"`
	// NextAttempt is when it is tried next; left out when it is held or final.
	NextAttempt *time.Time `json:"next_attempt,omitempty"`
	// NextReason says why it is tried then and not before, in words; left out
	// where NextAttempt is, or that is due.
	NextReason string `json:"next_reason,omitempty"`
	// LastAttempt is when it was tried last; left out before the first attempt.
	LastAttempt *time.Time `json:"last_attempt,omitempty"`
	// Host is the host that was tried last, "name[address]:port"; left out
	// where there was none.
	Host string `json:"host,omitempty"`
	// Status is the enhanced code of the last attempt, "4.7.1"; left out where
	// there was none.
	Status string `json:"status,omitempty"`
	// Reply is what the host said, or why nothing was said, on one line of
	// printable text; left out before the first attempt.
	Reply string `json:"reply,omitempty"`
}

// Waits reports whether the recipient is neither delivered nor given up.
func (r *Recipient) Waits() bool { return r.State == StateQueued || r.State == StateDeferred }

// Waiting returns how many recipients wait.
func (m *Message) Waiting() (n int) {
	for i := range m.Recipients {
		if m.Recipients[i].Waits() {
			n++
		}
	}
	return n
}

// Health says whether mail can be taken.
type Health struct {
	Ready bool `json:"ready"`
	// Reason is why not.
	Reason string `json:"reason,omitempty"`
}

// Stats is one view of the whole queue.
type Stats struct {
	// Messages is the number of messages.
	Messages int64 `json:"messages"`
	// Queued, Deferred and Held count recipients: not tried yet, to be tried
	// again, and on hold whether tried or not.
	Queued   int64 `json:"queued"`
	Deferred int64 `json:"deferred"`
	Held     int64 `json:"held"`
	// Destinations is the number of next hops with messages.
	Destinations int64 `json:"destinations"`
	// DestinationsWaiting is how many of them are not tried before some later
	// time, because the last attempt to reach them failed.
	DestinationsWaiting int64 `json:"destinations_waiting"`
	// HeldDestinations are the next hops on hold; left out where there is none.
	HeldDestinations []HeldDestination `json:"held_destinations,omitempty"`
	// Bytes is the size of all contents, in octets.
	Bytes int64 `json:"bytes"`
	// OldestAgeSeconds is the age of the oldest message, 0 in an empty queue.
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	// DiskFreeBytes is the space left where the queue is, in octets.
	DiskFreeBytes int64 `json:"disk_free_bytes"`
}

// List is one page of messages, oldest first.
type List struct {
	Messages []Message `json:"messages"`
	// Unknown are the IDs asked for that name no message in the queue.
	Unknown []string `json:"unknown,omitempty"`
	// Next is what to put into After for the next page; left out on the last.
	Next string `json:"next,omitempty"`
}

// HeldDestination is a next hop on hold.
type HeldDestination struct {
	Name string `json:"name"`
	// Since is when it was put on hold, in UTC.
	Since time.Time `json:"since"`
	// Recipients is how many wait for it.
	Recipients int64 `json:"recipients"`
}

// ChangedDestination is what became of a next hop.
type ChangedDestination struct {
	Name string `json:"name"`
	// Changed says that it is not as it was: put on hold, or released. With
	// Retry, it says that it is tried now.
	Changed bool `json:"changed"`
	// Recipients is how many wait for it.
	Recipients int64 `json:"recipients"`
}

// Changed is what became of one page of messages.
type Changed struct {
	// Matched is how many messages were selected.
	Matched int `json:"matched"`
	// Changed is how many of them are not as they were; the others were so
	// already.
	Changed int `json:"changed"`
	// Destination is set where the next hop itself was meant, and nothing else.
	Destination *ChangedDestination `json:"destination,omitempty"`
	// Unknown and Next are as in List.
	Unknown []string `json:"unknown,omitempty"`
	Next    string   `json:"next,omitempty"`
}

// Reloaded is what a reload of the configuration has done.
type Reloaded struct {
	// Changed are the keys that have another value now.
	Changed []string `json:"changed,omitempty"`
	// Restart are those that have another value in the configuration, and take
	// it only at the next start.
	Restart []string `json:"restart,omitempty"`
	// Warnings tell what is suspicious in the configuration.
	Warnings []string `json:"warnings,omitempty"`
}

// Action is a change to messages in the queue.
type Action string

// The actions.
const (
	// Retry has the selected recipients tried at once, but for those on hold.
	Retry Action = "retry"
	// Hold keeps them from being tried.
	Hold Action = "hold"
	// Release ends a hold.
	Release Action = "release"
	// Remove takes them out of the queue. Nobody is told.
	Remove Action = "remove"
	// Bounce fails them, and tells their senders.
	Bounce Action = "bounce"
	// Reroute sorts them by today's routes at once.
	Reroute Action = "reroute"
)

// TraceRequest asks for the stories of the messages that go by a key.
type TraceRequest struct {
	// Key is a queue ID, a Message-ID, a sender, a recipient, or the ID that a
	// next hop gave a message.
	Key string `json:"key"`
	// Limit is the greatest number of stories; 0 is 20, and 1000 is the most.
	Limit int `json:"limit,omitempty"`
}

// Trace is what was found of messages, in the queue or after they left it.
type Trace struct {
	// Messages are the newest that were found, oldest first.
	Messages []Message `json:"messages"`
	// More says that there are older ones.
	More bool `json:"more"`
}
