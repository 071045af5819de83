package control

import (
	"context"
	"net/http"
	"time"

	"waypost/queue"
)

// Bounds of TraceRequest.Limit.
const (
	defaultTrace = 20
	maxTrace     = 1000
)

// trace answers with the stories of the messages that go by a key.
func (h *handler) trace(r *http.Request) (any, error) {
	asked := TraceRequest{}
	if err := readJSON(r.Body, &asked); err != nil {
		return nil, err
	}
	if asked.Key == "" {
		return nil, badRequest("there is no key to look for")
	}
	if asked.Limit < 0 {
		return nil, badRequest("the limit is negative")
	}
	if asked.Limit == 0 {
		asked.Limit = defaultTrace
	}
	stories, more, err := h.queue.Trace(asked.Key, min(asked.Limit, maxTrace))
	if err != nil {
		return nil, err
	}
	found := Trace{Messages: []Message{}, More: more}
	now := time.Now()
	for i := range stories {
		found.Messages = append(found.Messages, h.story(&stories[i], now))
	}
	return found, nil
}

// story describes a message that may have left the queue.
func (h *handler) story(s *queue.Story, now time.Time) Message {
	m := h.message(&s.Entry, now)
	if s.Left.IsZero() {
		return m
	}
	m.Left, m.Held, m.State = moment(s.Left), false, StateDelivered
	for _, grave := range []string{StateFailed, StateExpired, StateRemoved} {
		for i := range m.Recipients {
			if m.Recipients[i].State == grave {
				m.State = grave
			}
		}
	}
	return m
}

// Trace returns the stories of up to limit messages that go by a key; 0 is the
// server's own limit.
func (c *Client) Trace(ctx context.Context, key string, limit int) (*Trace, error) {
	t := &Trace{}
	return t, c.call(ctx, http.MethodPost, "/v1/trace", TraceRequest{Key: key, Limit: limit}, t)
}
