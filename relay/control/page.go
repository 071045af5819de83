package control

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"waypost/queue"
)

// maxPage bounds one page: it is what the queue changes in one commit.
const maxPage = 200

// list answers with one page of messages.
func (h *handler) list(r *http.Request) (any, error) {
	s, err := readSelection(r.Body)
	if err != nil {
		return nil, err
	}
	page, err := h.page(r.Context(), s)
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
	if s.Everything() != s.All {
		return nil, badRequest(`%s needs queue IDs or a filter; "all" is for the whole queue, and stands alone`, action)
	}
	if err := s.checkReason(action); err != nil {
		return nil, err
	}
	if s.destinationAlone() && (action == Hold || action == Release || action == Retry) {
		return h.changeDestination(s.Destination, action)
	}
	page, err := h.page(r.Context(), s)
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

func (h *handler) page(ctx context.Context, s *Selection) (*page, error) {
	after, limit, err := s.bounds()
	if err != nil {
		return nil, err
	}
	p := &page{}
	if p.filter, err = s.filter(); err != nil {
		return nil, err
	}
	if len(s.IDs) > 0 {
		return p, h.pick(ctx, p, after, limit)
	}
	return p, h.scan(ctx, p, after, limit)
}

// maxLooks is how many messages one request looks at: a page may be empty and
// still not be the last.
const maxLooks = 20_000

func (h *handler) scan(ctx context.Context, p *page, after queue.ID, limit int) error {
	done, err := h.queue.Scan(ctx, p.filter, after, maxLooks, func(e *queue.Entry) bool {
		p.entries = append(p.entries, *e)
		return len(p.entries) < limit
	})
	if done.Next != 0 {
		p.next = done.Next.String()
	}
	return err
}

// pick finds the messages of one page of the IDs asked for, and those IDs that
// name none.
func (h *handler) pick(ctx context.Context, p *page, after queue.ID, limit int) error {
	ids := slices.DeleteFunc(p.filter.IDs, func(id queue.ID) bool { return id <= after })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	further := ""
	if len(ids) > limit {
		ids = ids[:limit]
		further = ids[limit-1].String()
	}
	var err error
	if p.unknown, err = h.unknown(ids); err != nil || len(ids) == 0 {
		return err
	}
	p.filter.IDs = ids
	err = h.scan(ctx, p, after, limit)
	p.next = further
	return err
}

// unknown returns those IDs that name no message.
func (h *handler) unknown(ids []queue.ID) (unknown []string, err error) {
	for _, id := range ids {
		if _, err := h.queue.Show(id); errors.Is(err, queue.ErrUnknown) {
			unknown = append(unknown, id.String())
		} else if err != nil {
			return nil, err
		}
	}
	return unknown, nil
}
