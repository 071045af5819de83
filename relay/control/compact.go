package control

import (
	"context"
	"net/http"

	"waypost/queue"
)

// Compacted is what a compaction of the index came to.
type Compacted struct {
	// Before and After are the sizes of the index, in octets.
	Before int64 `json:"before_bytes"`
	After  int64 `json:"after_bytes"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
}

// CompactedOf describes what the queue did.
func CompactedOf(c queue.Compacted) Compacted {
	return Compacted{Before: c.Before, After: c.After, Seconds: seconds(c.Took)}
}

func (h *handler) compact(w http.ResponseWriter, r *http.Request) {
	stream(w, func(func(any)) (any, error) {
		c, err := h.queue.Compact(r.Context())
		return CompactedOf(c), err
	})
}

// Compact has the running waypost copy its index to a smaller file.
func (c *Client) Compact(ctx context.Context) (*Compacted, error) {
	result := &Compacted{}
	return result, c.stream(ctx, "/v1/compact", nil, result, nil)
}
