package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// line is one line of an answer that takes its time: any number of items, and
// then either the result or a problem.
type line struct {
	Item    json.RawMessage `json:"item,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Problem *Problem        `json:"problem,omitempty"`
}

// stream answers with what work tells as it goes on. The answer begins at once,
// so that nobody has to guess how long the work may take.
func stream(w http.ResponseWriter, work func(item func(any)) (any, error)) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	send := func(l line) {
		extend(w)
		_ = out.Encode(l) // who asked may have gone, which ends the request's context
		_ = http.NewResponseController(w).Flush()
	}
	extend(w)
	_ = http.NewResponseController(w).Flush()
	result, err := work(func(item any) { send(line{Item: encoded(item)}) })
	if err != nil {
		send(line{Problem: problemOf(err)})
		return
	}
	send(line{Result: encoded(result)})
}

// encoded is v as JSON. Our own plain types always become JSON.
func encoded(v any) json.RawMessage {
	b, _ := json.Marshal(v)
	return b
}

// stream reads such an answer: item gets each item, and result the result.
func (c *Client) stream(ctx context.Context, path string, body, result any, item func(json.RawMessage) error) error {
	answer, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for lines := json.NewDecoder(answer.Body); ; {
		var l line
		err := lines.Decode(&l)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the running waypost ended its answer early; it may be stopping")
		case err != nil:
			return fmt.Errorf("read the answer of the running waypost: %w", err)
		case l.Problem != nil:
			return l.Problem
		case l.Result != nil:
			return json.Unmarshal(l.Result, result)
		case l.Item != nil && item != nil:
			if err := item(l.Item); err != nil {
				return err
			}
		}
	}
}
