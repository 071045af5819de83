package control

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
)

// backupRequest says where a backup goes.
type backupRequest struct {
	Directory string `json:"directory"`
}

// BackedUp is what a backup has.
type BackedUp struct {
	Messages int64 `json:"messages"`
	// Contents is how many messages have a content file of their own.
	Contents   int64 `json:"contents"`
	IndexBytes int64 `json:"index_bytes"`
}

func (h *handler) backup(w http.ResponseWriter, r *http.Request) {
	var asked backupRequest
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	if err := body.Decode(&asked); err != nil {
		writeProblem(w, badRequest("the request does not say where to: %v", err))
		return
	}
	if !filepath.IsAbs(asked.Directory) {
		writeProblem(w, badRequest("%.200q is not an absolute path", asked.Directory))
		return
	}
	stream(w, func(func(any)) (any, error) {
		b, err := h.queue.Backup(r.Context(), filepath.Clean(asked.Directory))
		return BackedUp{Messages: b.Messages, Contents: b.Contents, IndexBytes: b.IndexBytes}, err
	})
}

// Backup has the running waypost write a backup of its queue to a directory,
// which must be an absolute path.
func (c *Client) Backup(ctx context.Context, dir string) (*BackedUp, error) {
	b := &BackedUp{}
	return b, c.stream(ctx, "/v1/backup", backupRequest{Directory: dir}, b, nil)
}
