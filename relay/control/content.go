package control

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// problemTrailer carries the Problem that ended a content early. An HTTP
// status comes before the content, and what is damaged is known only at its
// end.
const problemTrailer = "Waypost-Problem"

// content answers with the content of a message.
func (h *handler) content(w http.ResponseWriter, r *http.Request) {
	content, err := h.open(r.PathValue("id"))
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Trailer", problemTrailer)
	if err := send(w, content); err != nil {
		// Three short fields always become JSON.
		text, _ := json.Marshal(problemOf(err))
		w.Header().Set(problemTrailer, string(text))
	}
}

func (h *handler) open(id string) (io.ReadCloser, error) {
	parsed, err := parseID(id)
	if err != nil {
		return nil, err
	}
	return h.queue.Content(parsed)
}

// send copies by Read alone, which is what checks the content.
func send(w http.ResponseWriter, content io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := content.Read(buffer)
		extend(w)
		if _, failed := w.Write(buffer[:n]); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
