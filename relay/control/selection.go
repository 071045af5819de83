package control

import (
	"io"
	"math"
	"reflect"
	"strings"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
)

// Selection says which messages are meant. What is set must all apply.
type Selection struct {
	// IDs are queue IDs; empty means any.
	IDs []string `json:"ids,omitempty"`
	// UpTo is the ID of the newest message that is meant; "" means any.
	UpTo string `json:"up_to,omitempty"`
	// To is the address of a recipient that waits, and ToDomain its domain; with
	// a dot in front, the domain and those below it.
	To       string `json:"to,omitempty"`
	ToDomain string `json:"to_domain,omitempty"`
	// Destination is the next hop that a recipient waits for. Alone, with
	// Retry, Hold or Release, it is the next hop itself that is meant.
	Destination string `json:"destination,omitempty"`
	// From is a sender's address, a domain, or "<>" for the null reverse-path.
	From string `json:"from,omitempty"`
	// OlderThanSeconds is the least age, and YoungerThanSeconds the age that is
	// not reached; 0 means any.
	OlderThanSeconds   float64 `json:"older_than_seconds,omitempty"`
	YoungerThanSeconds float64 `json:"younger_than_seconds,omitempty"`
	// LargerThan is the least size in octets, and SmallerThan the size that is
	// not reached; 0 means any.
	LargerThan  int64 `json:"larger_than,omitempty"`
	SmallerThan int64 `json:"smaller_than,omitempty"`
	// Class is the message class, "default" for messages that have none.
	Class string `json:"class,omitempty"`
	// State is that of a recipient: StateQueued, StateDeferred or StateHeld.
	State string `json:"state,omitempty"`
	// Reply is a part of what the other side said to a recipient last, in any
	// case.
	Reply string `json:"reply,omitempty"`
	// All must be set to change the whole queue, and only then.
	All bool `json:"all,omitempty"`
	// Reason is what a bounce tells the sender.
	Reason string `json:"reason,omitempty"`
	// By is who asks for a change, as the story of a removed message is to say.
	By string `json:"by,omitempty"`
	// After is the ID after which a page begins; "" is the beginning.
	After string `json:"after,omitempty"`
	// Limit is the greatest number of messages in a page; 0 is the server's own.
	Limit int `json:"limit,omitempty"`
}

// Everything reports whether nothing limits the selection but UpTo.
func (s *Selection) Everything() bool {
	rest := *s
	rest.All, rest.Reason, rest.By, rest.After, rest.UpTo, rest.Limit = false, "", "", "", "", 0
	return len(s.IDs) == 0 && reflect.DeepEqual(rest, Selection{IDs: s.IDs})
}

// destinationAlone reports whether a next hop is all that is selected by.
func (s *Selection) destinationAlone() bool {
	rest := *s
	rest.Destination = ""
	return s.Destination != "" && rest.Everything()
}

// maxReason bounds a reason, in octets: it has to fit into a line of a report.
const maxReason = 500

// checkReason makes sure that a bounce, and nothing else, has a reason that can
// stand in a report.
func (s *Selection) checkReason(action Action) error {
	switch {
	case action != Bounce && s.Reason != "":
		return badRequest("%s has no use for a reason", action)
	case action == Bounce && s.Reason == "":
		return badRequest("a bounce needs a reason")
	case len(s.Reason) > maxReason || smtp.Printable(s.Reason) != s.Reason:
		return badRequest("a reason is one line of up to %d octets", maxReason)
	}
	return nil
}

// readSelection reads a request, all of it or nothing.
func readSelection(body io.Reader) (*Selection, error) {
	s := &Selection{}
	return s, readJSON(body, s)
}

// bounds returns where the page begins and how long it may be.
func (s *Selection) bounds() (after queue.ID, limit int, err error) {
	if s.After != "" {
		if after, err = parseID(s.After); err != nil {
			return 0, 0, err
		}
	}
	if s.Limit < 0 {
		return 0, 0, badRequest("the limit is negative")
	}
	if limit = s.Limit; limit == 0 || limit > maxPage {
		limit = maxPage
	}
	return after, limit, nil
}

// filter returns what the queue is to select by.
func (s *Selection) filter() (queue.Filter, error) {
	f := queue.Filter{
		By: s.By, State: s.State, From: s.From, To: s.To, Destination: s.Destination, ToDomain: domainKey(strings.TrimPrefix(s.ToDomain, "@")),
		LargerThan: s.LargerThan, SmallerThan: s.SmallerThan, Class: s.Class, Reply: s.Reply,
	}
	for _, text := range s.IDs {
		id, err := parseID(text)
		if err != nil {
			return f, err
		}
		f.IDs = append(f.IDs, id)
	}
	if s.UpTo != "" {
		id, err := parseID(s.UpTo)
		if err != nil {
			return f, err
		}
		f.UpTo = id
	}
	var err error
	if f.OlderThan, err = ageOf(s.OlderThanSeconds); err != nil {
		return f, err
	}
	if f.YoungerThan, err = ageOf(s.YoungerThanSeconds); err != nil {
		return f, err
	}
	if s.LargerThan < 0 || s.SmallerThan < 0 {
		return f, badRequest("a size is negative")
	}
	if s.State != "" && s.State != StateQueued && s.State != StateDeferred && s.State != StateHeld {
		return f, badRequest("%.40q is not a state that a message in the queue can have", s.State)
	}
	if strings.LastIndexByte(s.From, '@') <= 0 && s.From != "<>" {
		f.From = domainKey(strings.TrimPrefix(s.From, "@"))
	}
	return f, nil
}

func ageOf(seconds float64) (time.Duration, error) {
	if !(seconds >= 0 && seconds <= math.MaxInt64/float64(2*time.Second)) {
		return 0, badRequest("%v seconds is no age", seconds)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// domainKey returns the form in which the queue compares domains.
func domainKey(domain string) string { return smtp.Path{Domain: domain}.DomainKey() }
