package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
)

// Health says whether mail can be taken.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	h := &Health{}
	return h, c.call(ctx, http.MethodGet, "/v1/health", nil, h)
}

// Stats returns one view of the whole queue.
func (c *Client) Stats(ctx context.Context) (*Stats, error) {
	s := &Stats{}
	return s, c.call(ctx, http.MethodGet, "/v1/stats", nil, s)
}

// Reload has the configuration loaded again. When it cannot be used the error is a
// *Problem with CodeConfiguration, and nothing has changed.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	r := &Reloaded{}
	return r, c.call(ctx, http.MethodPost, "/v1/reload", nil, r)
}

// Show returns one message. The error is a *Problem with CodeUnknownID when
// there is no such message.
func (c *Client) Show(ctx context.Context, id string) (*Message, error) {
	m := &Message{}
	return m, c.call(ctx, http.MethodGet, "/v1/messages/"+url.PathEscape(id), nil, m)
}

// Content writes the content of a message to w, as it is on disk. An error may
// come after part of it was written: the content is whole only without one.
func (c *Client) Content(ctx context.Context, id string, w io.Writer) error {
	answer, err := c.do(ctx, http.MethodGet, "/v1/messages/"+url.PathEscape(id)+"/content", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return fmt.Errorf("copy the content of %s: %w", id, err)
	}
	text := answer.Trailer.Get(problemTrailer)
	if text == "" {
		return nil
	}
	problem := &Problem{}
	if err := json.Unmarshal([]byte(text), problem); err != nil {
		return fmt.Errorf("copy the content of %s: it ended early", id)
	}
	return problem
}

// List returns the selected messages after s.After in pages, of which some may
// be empty, oldest first, until there are no more or limit messages (0 is no limit) were listed. The last page has Next
// set when there may be more. After an error nothing follows.
func (c *Client) List(ctx context.Context, s Selection, limit int) iter.Seq2[*List, error] {
	return func(yield func(*List, error) bool) {
		after := s.After
		for ids := range lots(s.IDs) {
			s.IDs, s.After = ids, after
			for more := true; more; {
				s.Limit = min(limit, maxPage) // 0 is the server's own
				list := &List{}
				if err := c.call(ctx, http.MethodPost, "/v1/list", s, list); err != nil {
					yield(nil, err)
					return
				}
				if !yield(list, nil) {
					return
				}
				if limit > 0 {
					if limit -= len(list.Messages); limit <= 0 {
						return
					}
				}
				s.After, more = list.Next, list.Next != ""
			}
		}
	}
}

// Change does one thing to the selected messages, page by page. The result says
// what was done, also when there is an error. tell, which may be nil, hears what
// was done so far.
func (c *Client) Change(ctx context.Context, action Action, s Selection, tell func(*Changed)) (*Changed, error) {
	sum := &Changed{}
	for ids := range lots(s.IDs) {
		s.IDs, s.After = ids, ""
		for more := true; more; {
			page := &Changed{}
			if err := c.call(ctx, http.MethodPost, "/v1/"+string(action), s, page); err != nil {
				return sum, err
			}
			sum.Destination = page.Destination
			sum.Matched += page.Matched
			sum.Changed += page.Changed
			sum.Unknown = append(sum.Unknown, page.Unknown...)
			s.After, more = page.Next, page.Next != ""
			if tell != nil {
				tell(sum)
			}
		}
	}
	return sum, nil
}

// maxIDs is how many IDs go into one request, well within its greatest size.
const maxIDs = 1000

// lots cuts IDs into lots for one request each. No IDs at all are one lot, as
// they mean any message.
func lots(ids []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for first := true; first || len(ids) > 0; first = false {
			n := min(len(ids), maxIDs)
			if !yield(ids[:n:n]) {
				return
			}
			ids = ids[n:]
		}
	}
}
