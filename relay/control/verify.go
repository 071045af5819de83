package control

import (
	"context"
	"encoding/json"
	"net/http"

	"waypost/queue"
)

// Damage is one thing that is wrong with the queue on disk.
type Damage struct {
	// ID is the queue ID; left out where it is about no single message.
	ID string `json:"id,omitempty"`
	// File is where it is, relative to the data directory.
	File string `json:"file"`
	// Reason says what is wrong.
	Reason string `json:"reason"`
}

// Verification is what a look at the whole queue came to.
type Verification struct {
	Messages   int64 `json:"messages"`
	Deliveries int64 `json:"deliveries"`
	Attempts   int64 `json:"attempts"`
	// Contents are the content files, and ContentBytes the size of all contents
	// that were compared with their checksum, in octets.
	Contents     int64 `json:"contents"`
	ContentBytes int64 `json:"content_bytes"`
	// Pages are those of the index, Segments those of the journal.
	Pages    int64 `json:"pages"`
	Segments int64 `json:"segments"`
	// Stories are those of messages that have left, HistoryFiles the files of
	// the history.
	Stories      int64 `json:"stories"`
	HistoryFiles int64 `json:"history_files"`
	// Orphans are content files without a message, which are no damage.
	Orphans int64 `json:"orphans"`
	// Damages is how many things are wrong.
	Damages int64 `json:"damages"`
}

// DamageOf describes what the queue found.
func DamageOf(d queue.Damage) Damage {
	out := Damage{File: d.File, Reason: d.Reason}
	if d.ID != 0 {
		out.ID = d.ID.String()
	}
	return out
}

// VerificationOf describes what the queue found in all.
func VerificationOf(v queue.Verification) Verification {
	return Verification{
		Messages: v.Messages, Deliveries: v.Deliveries, Attempts: v.Attempts, Contents: v.Contents, ContentBytes: v.ContentBytes,
		Pages: v.Pages, Segments: v.Segments, Stories: v.Stories, HistoryFiles: v.HistoryFiles, Orphans: v.Orphans, Damages: v.Damages,
	}
}

func (h *handler) verify(w http.ResponseWriter, r *http.Request) {
	stream(w, func(item func(any)) (any, error) {
		v, err := h.queue.Verify(r.Context(), func(d queue.Damage) { item(DamageOf(d)) })
		return VerificationOf(v), err
	})
}

// Verify has the running waypost look at its whole queue, and tells found of
// each thing that is wrong. It may take long: every content is read.
func (c *Client) Verify(ctx context.Context, found func(Damage)) (*Verification, error) {
	v := &Verification{}
	return v, c.stream(ctx, "/v1/verify", nil, v, func(item json.RawMessage) error {
		var d Damage
		if err := json.Unmarshal(item, &d); err != nil {
			return err
		}
		found(d)
		return nil
	})
}
