package queue

import (
	"cmp"
	"slices"
	"time"
)

// What an archive says of a message. The names are what scripts and other
// versions rely on: a reader refuses those that it does not know, so a new one
// needs a new archiveVersion.
type exportedMessage struct {
	ID         string             `json:"id"`
	From       string             `json:"from"` // without angle brackets; "" is the null reverse-path
	EnvelopeID string             `json:"envelope_id,omitempty"`
	Return     string             `json:"return,omitempty"`
	UTF8       bool               `json:"smtputf8,omitempty"`
	EightBit   bool               `json:"eight_bit,omitempty"`
	Binary     bool               `json:"binary,omitempty"`
	Arrival    time.Time          `json:"arrival"`
	MessageID  string             `json:"message_id,omitempty"` // of the header section, without angle brackets
	Client     string             `json:"client,omitempty"`
	Login      string             `json:"login,omitempty"`
	Listener   string             `json:"listener,omitempty"`
	Protocol   string             `json:"protocol,omitempty"`
	TLS        string             `json:"tls,omitempty"`
	ReportOn   string             `json:"report_on,omitempty"` // the ID of the message that this one reports on
	Class      string             `json:"class,omitempty"`
	ClassRule  string             `json:"class_rule,omitempty"`
	Priority   int8               `json:"priority,omitempty"`
	RequireTLS bool               `json:"require_tls,omitempty"`
	HoldUntil  *time.Time         `json:"hold_until,omitempty"`
	DeliverBy  *exportedDeliverBy `json:"deliver_by,omitempty"`
	Content    exportedContent    `json:"content"`
	Deliveries []exportedDelivery `json:"deliveries"`
}

type exportedDeliverBy struct {
	Deadline time.Time `json:"deadline"`
	Return   bool      `json:"return"`
	Trace    bool      `json:"trace"`
}

type exportedContent struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

type exportedDelivery struct {
	Destination string              `json:"destination"`
	Attempts    int                 `json:"attempts"`
	Next        *time.Time          `json:"next_attempt,omitempty"`
	Held        bool                `json:"held"`
	Warned      bool                `json:"warned"`
	Notices     int                 `json:"notices,omitempty"`
	Recipients  []exportedRecipient `json:"recipients"`
	Log         []exportedAttempt   `json:"log,omitempty"`
}

// exportedAttempt is one attempt, or a notice between two of them.
type exportedAttempt struct {
	Number      uint32          `json:"number"`
	Time        *time.Time      `json:"time"`
	Destination string          `json:"destination"`
	Results     []exportedTried `json:"results,omitempty"`
	Reports     []exportedSent  `json:"reports,omitempty"`
}

// exportedTried is what an attempt meant for recipients that it meant the same
// for.
type exportedTried struct {
	Recipients []string       `json:"recipients"`
	Became     string         `json:"became"`
	Result     exportedResult `json:"result"`
}

type exportedSent struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

type exportedRecipient struct {
	Address           string          `json:"address"`
	State             string          `json:"state"`
	Notify            string          `json:"notify,omitempty"`
	OriginalRecipient string          `json:"original_recipient,omitempty"`
	LastAttempt       *time.Time      `json:"last_attempt,omitempty"`
	Last              *exportedResult `json:"last,omitempty"` // there is one when there is a LastAttempt
}

type exportedResult struct {
	State    string   `json:"state"`
	Code     int      `json:"code,omitempty"` // of the reply; 0 when there was none
	Enhanced string   `json:"enhanced,omitempty"`
	Lines    []string `json:"lines,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Status   string   `json:"status,omitempty"`
	Host     string   `json:"host,omitempty"`
	Reported bool     `json:"reported,omitempty"`
	Relayed  bool     `json:"relayed,omitempty"`
	TLS      string   `json:"tls,omitempty"`
	Duration float64  `json:"duration_seconds,omitempty"` // to the millisecond
}

// describe says everything about a message but what its content is.
func describe(e *Entry) *exportedMessage {
	m := &exportedMessage{
		ID: e.ID.String(), From: e.ReversePath.String(), EnvelopeID: e.EnvelopeID, Return: e.Return,
		UTF8: e.UTF8, EightBit: e.EightBit, Binary: e.Binary, Arrival: e.Arrival.UTC(), MessageID: e.MessageID,
		Client: e.Client, Login: e.Login, Listener: e.Listener, Protocol: e.Protocol, TLS: e.TLS,
		ReportOn: exportedID(e.ReportOn), Class: e.Class, ClassRule: e.ClassRule, Priority: e.Priority, RequireTLS: e.RequireTLS, HoldUntil: exportedTime(e.HoldUntil),
		Content: exportedContent{Size: e.Size},
	}
	if by := e.DeliverBy; !by.Deadline.IsZero() {
		m.DeliverBy = &exportedDeliverBy{by.Deadline.UTC(), by.Return, by.Trace}
	}
	for _, d := range e.Deliveries {
		out := exportedDelivery{
			Destination: d.Destination, Attempts: d.Attempts, Next: exportedTime(d.Next), Held: d.Held, Warned: d.Warned,
			Notices: d.Notices, Recipients: make([]exportedRecipient, 0, len(d.Recipients)),
		}
		for i := range d.Recipients {
			out.Recipients = append(out.Recipients, describeRecipient(&d.Recipients[i]))
		}
		for i := range e.Attempts {
			if a := &e.Attempts[i]; a.Index == d.Index {
				out.Log = append(out.Log, describeAttempt(a))
			}
		}
		// Their times are in another order after the clock went back.
		slices.SortFunc(out.Log, func(a, b exportedAttempt) int { return cmp.Compare(a.Number, b.Number) })
		m.Deliveries = append(m.Deliveries, out)
	}
	return m
}

func describeRecipient(r *Recipient) exportedRecipient {
	out := exportedRecipient{
		Address: r.Path.String(), State: r.State.String(), Notify: r.Notify.String(),
		OriginalRecipient: r.OriginalRecipient, LastAttempt: exportedTime(r.LastAttempt),
	}
	if out.LastAttempt != nil {
		out.Last = describeResult(&r.Last)
	}
	return out
}

func describeResult(r *Result) *exportedResult {
	return &exportedResult{
		State: r.State.String(), Code: r.Reply.Code, Enhanced: r.Reply.Enhanced.String(), Lines: r.Reply.Lines,
		Reason: r.Reason, Status: r.Status.String(), Host: r.Host, Reported: r.Reported, Relayed: r.Relayed,
		TLS: r.TLS, Duration: float64(r.Duration.Milliseconds()) / 1000,
	}
}

func describeAttempt(a *Attempt) exportedAttempt {
	out := exportedAttempt{Number: a.Number, Time: exportedTime(a.Time), Destination: a.Destination}
	for _, group := range sameResults(a.Results) {
		same := exportedTried{Became: group[0].State.String(), Result: *describeResult(&group[0].Result)}
		for _, t := range group {
			same.Recipients = append(same.Recipients, t.Path.String())
		}
		out.Results = append(out.Results, same)
	}
	for _, r := range a.Reports {
		out.Reports = append(out.Reports, exportedSent{r.Kind.String(), r.ID.String()})
	}
	return out
}

// exportedID is the ID as text; nothing for no ID.
func exportedID(id ID) string {
	if id == 0 {
		return ""
	}
	return id.String()
}

// exportedTime is t in UTC, or nil for the zero time.
func exportedTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
