package control

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
)

// maxPage bounds one page: it is what the queue changes in one commit.
const maxPage = 200

// list answers with one page of messages.
func (h *handler) list(r *http.Request) (any, error) {
	s, err := readSelection(r.Body)
	if err != nil {
		return nil, err
	}
	page, err := h.page(s)
	if err != nil {
		return nil, err
	}
	list := List{Messages: []Message{}, Unknown: page.unknown, Next: page.next}
	for now := time.Now(); len(page.entries) > 0; page.entries = page.entries[1:] {
		list.Messages = append(list.Messages, h.message(&page.entries[0], now))
	}
	return list, nil
}

// change changes one page of messages.
func (h *handler) change(r *http.Request, action Action, change func(f queue.Filter, reason string) (int, error)) (any, error) {
	s, err := readSelection(r.Body)
	if err != nil {
		return nil, err
	}
	if s.everything() != s.All {
		return nil, badRequest(`%s needs queue IDs or a filter; "all" is for the whole queue, and stands alone`, action)
	}
	if err := s.checkReason(action); err != nil {
		return nil, err
	}
	if s.destinationAlone() && (action == Hold || action == Release || action == Retry) {
		return h.changeDestination(s.Destination, action)
	}
	page, err := h.page(s)
	if err != nil {
		return nil, err
	}
	done := Changed{Matched: len(page.entries), Unknown: page.unknown, Next: page.next}
	if len(page.entries) == 0 {
		return done, nil // and not everything, which no IDs would mean
	}
	page.filter.IDs = nil
	for i := range page.entries {
		page.filter.IDs = append(page.filter.IDs, page.entries[i].ID)
	}
	done.Changed, err = change(page.filter, s.Reason)
	return done, err
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

// destinationAlone reports whether a next hop is all that is selected by.
func (s *Selection) destinationAlone() bool {
	rest := *s
	rest.Destination = ""
	return s.Destination != "" && rest.everything()
}

// changeDestination changes a next hop itself, at once however much waits there.
func (h *handler) changeDestination(name string, action Action) (any, error) {
	done := ChangedDestination{Name: name}
	var err error
	switch action {
	case Hold:
		done.Recipients, done.Changed, err = h.queue.HoldDestination(name)
	case Release:
		done.Recipients, done.Changed, err = h.queue.ReleaseDestination(name)
	default:
		var held bool
		done.Recipients, held = h.queue.RetryDestination(name)
		done.Changed = !held
	}
	if errors.Is(err, queue.ErrDestination) {
		err = badRequest("%v", err)
	}
	return Changed{Destination: &done}, err
}

// page is the part of a selection that one request is about.
type page struct {
	filter  queue.Filter
	entries []queue.Entry
	unknown []string
	next    string
}

func (h *handler) page(s *Selection) (*page, error) {
	after, limit, err := s.bounds()
	if err != nil {
		return nil, err
	}
	p := &page{}
	if p.filter, err = s.filter(); err != nil {
		return nil, err
	}
	if len(s.IDs) > 0 {
		return p, h.pick(p, after, limit)
	}
	var more bool
	if p.entries, more, err = h.queue.List(p.filter, after, limit); err != nil {
		return nil, err
	}
	if more && len(p.entries) > 0 {
		p.next = p.entries[len(p.entries)-1].ID.String()
	}
	return p, nil
}

// pick finds the messages of one page of the IDs asked for, and those IDs that
// name none.
func (h *handler) pick(p *page, after queue.ID, limit int) error {
	ids := slices.DeleteFunc(p.filter.IDs, func(id queue.ID) bool { return id <= after })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > limit {
		ids = ids[:limit]
		p.next = ids[limit-1].String()
	}
	for _, id := range ids {
		if _, err := h.queue.Show(id); errors.Is(err, queue.ErrUnknown) {
			p.unknown = append(p.unknown, id.String())
		} else if err != nil {
			return err
		}
	}
	if p.filter.IDs = ids; len(ids) == 0 {
		return nil
	}
	var err error
	p.entries, _, err = h.queue.List(p.filter, after, limit)
	return err
}

// readSelection reads a request, all of it or nothing.
func readSelection(body io.Reader) (*Selection, error) {
	s := &Selection{}
	return s, readJSON(body, s)
}

func readJSON(body io.Reader, v any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		err = errors.New("there is more than one value")
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	if err != nil {
		return badRequest("the request is not a selection: %v", err)
	}
	return nil
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
	f := queue.Filter{By: s.By, State: s.State, From: s.From, Destination: s.Destination, ToDomain: domainKey(strings.TrimPrefix(s.ToDomain, "@"))}
	for _, text := range s.IDs {
		id, err := parseID(text)
		if err != nil {
			return f, err
		}
		f.IDs = append(f.IDs, id)
	}
	if s.OlderThanSeconds < 0 || s.OlderThanSeconds > math.MaxInt64/float64(2*time.Second) {
		return f, badRequest("%v seconds is no age", s.OlderThanSeconds)
	}
	f.OlderThan = time.Duration(s.OlderThanSeconds * float64(time.Second))
	if s.State != "" && s.State != StateQueued && s.State != StateDeferred && s.State != StateHeld {
		return f, badRequest("%.40q is not a state that a message in the queue can have", s.State)
	}
	if strings.LastIndexByte(s.From, '@') <= 0 && s.From != "<>" {
		f.From = domainKey(strings.TrimPrefix(s.From, "@"))
	}
	return f, nil
}

// domainKey returns the form in which the queue compares domains.
func domainKey(domain string) string { return smtp.Path{Domain: domain}.DomainKey() }
