package control

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"waypost/queue"
)

// Progress says how far a look through the queue has come.
type Progress struct {
	// Looked is how many messages were looked at, of about so many.
	Looked int64 `json:"looked"`
	Of     int64 `json:"of"`
}

// Counted is what a selection comes to.
type Counted struct {
	// Messages is how many messages were selected, Recipients how many of
	// their recipients wait, and Bytes the size of their contents in octets.
	Messages   int64 `json:"messages"`
	Recipients int64 `json:"recipients"`
	Bytes      int64 `json:"bytes"`
	// UpTo is the newest ID that there was when the count began: with it as
	// Selection.UpTo, what comes later is left alone.
	UpTo string `json:"up_to,omitempty"`
	// Unknown are the IDs asked for that name no message in the queue.
	Unknown []string `json:"unknown,omitempty"`
}

// skimLooks is how many messages are looked at before a client hears of it.
const skimLooks = 100_000

// look calls found with everything that a selection selects, and tells how far
// it has come. What found is given, it may not keep; whole says whether it needs to
// know all of the envelope.
//
// It goes on piece by piece, of which each finds out anew what came lately.
func (h *handler) look(ctx context.Context, f queue.Filter, whole bool, item func(any), found func(*queue.Entry)) error {
	progress := Progress{Of: h.queue.Stats().Messages}
	for after, more := queue.ID(0), true; more; {
		done, err := h.queue.Skim(ctx, f, after, skimLooks, whole, func(e *queue.Entry) bool {
			found(e)
			return true
		})
		if err != nil {
			return err
		}
		after, more = done.Next, done.Next != 0
		progress.Looked += int64(done.Looked)
		progress.Of = max(progress.Of, progress.Looked)
		item(progress)
	}
	return nil
}

// count answers with what a selection comes to.
func (h *handler) count(w http.ResponseWriter, r *http.Request) {
	var f queue.Filter
	s, err := readSelection(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil {
		f, err = s.filter()
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	stream(w, func(item func(any)) (any, error) {
		sum := Counted{}
		if newest := h.queue.Newest(); newest != 0 {
			sum.UpTo = newest.String()
		}
		err := h.look(r.Context(), f, false, item, sum.add)
		if err == nil {
			sum.Unknown, err = h.unknown(f.IDs)
		}
		return sum, err
	})
}

// add counts a message.
func (c *Counted) add(e *queue.Entry) {
	c.Messages++
	c.Bytes += e.Size
	for _, d := range e.Deliveries {
		c.Recipients += int64(d.Open())
	}
}

// maxSorted is the greatest number of messages that are kept while a selection
// is sorted.
const maxSorted = 1000

// SortRequest asks for the first messages of a selection in an order.
type SortRequest struct {
	// Selection selects messages; Limit is how many are wanted: 0 is 200, and
	// 1000 is the most. After is not for this.
	Selection
	// By is one of Orders.
	By string `json:"by"`
	// Reverse turns the order around.
	Reverse bool `json:"reverse,omitempty"`
}

// Sorted are the first messages in an order.
type Sorted struct {
	Messages []Message `json:"messages"`
	// Of is what all that was selected comes to.
	Of Counted `json:"of"`
}

// readAsked reads a question about a selection, and checks it.
func readAsked(w http.ResponseWriter, r *http.Request, asked interface {
	filter() (queue.Filter, error)
	check() error
}) (queue.Filter, error) {
	if err := readJSON(http.MaxBytesReader(w, r.Body, maxRequest), asked); err != nil {
		return queue.Filter{}, err
	}
	f, err := asked.filter()
	return f, cmp.Or(err, asked.check())
}

// sort answers with the first messages in an order. It looks at all of them,
// and keeps no more than twice as many as are wanted.
func (h *handler) sort(w http.ResponseWriter, r *http.Request) {
	asked := &SortRequest{}
	f, err := readAsked(w, r, asked)
	if err != nil {
		writeProblem(w, err)
		return
	}
	stream(w, func(item func(any)) (any, error) {
		best := ranking{order: orders[asked.By], reverse: asked.Reverse, limit: asked.Limit, queue: h.queue}
		sorted := Sorted{Messages: []Message{}}
		err := h.look(r.Context(), f, asked.By == "from", item, func(e *queue.Entry) {
			sorted.Of.add(e)
			best.add(e)
		})
		if err == nil {
			sorted.Messages, err = h.messages(r.Context(), best.first())
		}
		return sorted, err
	})
}

// messages returns messages in the order of these IDs; those that have left
// meanwhile are not there.
func (h *handler) messages(ctx context.Context, ids []queue.ID) ([]Message, error) {
	found, now := map[queue.ID]Message{}, time.Now()
	_, err := h.queue.Scan(ctx, queue.Filter{IDs: ids}, 0, len(ids), func(e *queue.Entry) bool {
		found[e.ID] = h.message(e, now)
		return true
	})
	messages := []Message{}
	for _, id := range ids {
		if m, ok := found[id]; ok {
			messages = append(messages, m)
		}
	}
	return messages, err
}

func (s *SortRequest) check() error {
	if _, ok := orders[s.By]; !ok {
		return badRequest("%.40q is no order", s.By)
	}
	if s.Limit < 0 || s.Limit > maxSorted {
		return badRequest("a sorted list has up to %d messages", maxSorted)
	}
	if s.Limit == 0 {
		s.Limit = maxPage
	}
	return nil
}

// Count returns what a selection comes to. tell, which may be nil, hears how
// far it has come.
func (c *Client) Count(ctx context.Context, s Selection, tell func(Progress)) (*Counted, error) {
	all := &Counted{}
	s.All = false // a look needs no such word
	for ids := range lots(s.IDs) {
		s.IDs = ids
		one := &Counted{}
		if err := c.stream(ctx, "/v1/count", s, one, progress(tell)); err != nil {
			return all, err
		}
		all.Messages, all.Recipients, all.Bytes = all.Messages+one.Messages, all.Recipients+one.Recipients, all.Bytes+one.Bytes
		all.UpTo, all.Unknown = one.UpTo, append(all.Unknown, one.Unknown...)
	}
	return all, nil
}

// Sort returns the first messages of a selection in an order.
func (c *Client) Sort(ctx context.Context, r SortRequest, tell func(Progress)) (*Sorted, error) {
	sorted := &Sorted{}
	return sorted, c.stream(ctx, "/v1/sort", r, sorted, progress(tell))
}

func progress(tell func(Progress)) func(json.RawMessage) error {
	return func(item json.RawMessage) error {
		var p Progress
		if err := json.Unmarshal(item, &p); err != nil {
			return err
		}
		if tell != nil {
			tell(p)
		}
		return nil
	}
}
