package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Export writes an archive of the selected messages to w. An error may come
// after part of it was written: the archive is whole only without one.
func (c *Client) Export(ctx context.Context, r *ExportRequest, w io.Writer) (*Exported, error) {
	done := &Exported{}
	answer, err := c.do(ctx, http.MethodPost, "/v1/export", r)
	if err != nil {
		return done, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return done, fmt.Errorf("copy the archive: %w", err)
	}
	summary := answer.Trailer.Get(summaryTrailer)
	if err := json.Unmarshal([]byte(summary), done); err != nil {
		return done, fmt.Errorf("copy the archive: it ended early")
	}
	if text := answer.Trailer.Get(problemTrailer); text != "" {
		problem := &Problem{}
		if err := json.Unmarshal([]byte(text), problem); err != nil {
			return done, fmt.Errorf("copy the archive: it ended early")
		}
		return done, problem
	}
	return done, nil
}

// Import puts the messages of an archive into the queue. hold is "hold" to put
// all of them on hold, "release" to put none, and "" to keep the holds that
// they had. The result says how many were taken, also when there is an error;
// it is nil when nobody knows. Then the import can be repeated: what was taken
// is not taken twice.
func (c *Client) Import(ctx context.Context, archive io.Reader, hold string) (*Imported, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://waypost/v1/import?hold="+hold, io.NopCloser(archive))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-tar")
	answer, err := c.send(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%w; what was taken is not taken twice when the import is repeated", err)
	}
	defer answer.Body.Close()
	done := &Imported{}
	if err := decode(answer.Body, done); err != nil {
		return nil, err
	}
	if done.Problem != nil {
		return done, done.Problem
	}
	return done, nil
}
