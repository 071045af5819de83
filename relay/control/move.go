package control

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"waypost/queue"
)

// maxExportRequest bounds the request for an archive, which cannot be made in
// lots: it is as many IDs as fit on a command line.
const maxExportRequest = 8 << 20

// ExportRequest says what an archive is to have.
type ExportRequest struct {
	// Selection selects messages; After, Limit and All are not for this.
	Selection
	// Hold puts what is selected on hold.
	Hold bool `json:"hold,omitempty"`
}

// Exported is what became of an export.
type Exported struct {
	// Messages is how many messages the archive has, and Bytes the size of
	// their contents in octets.
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	// Held is how many were put on hold.
	Held int `json:"held"`
	// Damaged is how many were left out because they are damaged, and
	// DamagedIDs names the first of them.
	Damaged    int      `json:"damaged"`
	DamagedIDs []string `json:"damaged_ids,omitempty"`
	// Unknown is how many of the IDs asked for name no message in the queue,
	// and UnknownIDs are the first of them.
	Unknown    int      `json:"unknown"`
	UnknownIDs []string `json:"unknown_ids,omitempty"`
}

// Imported is what became of an import.
type Imported struct {
	// Messages is how many messages were taken, and Bytes the size of their
	// contents in octets.
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	// Before is how many had been taken by an earlier import.
	Before int64 `json:"before"`
	// Problem is why no more were taken; left out when all were.
	Problem *Problem `json:"problem,omitempty"`
}

// summaryTrailer carries Exported behind an archive.
const summaryTrailer = "Waypost-Summary"

// maxNamed is how many IDs a summary names: a client reads no long trailers.
const maxNamed = 50

// newExported describes what the queue says of an export.
func newExported(e queue.Exported) *Exported {
	return &Exported{
		Messages: e.Messages, Bytes: e.Bytes, Held: e.Held,
		Damaged: len(e.Damaged), DamagedIDs: named(e.Damaged), Unknown: len(e.Unknown), UnknownIDs: named(e.Unknown),
	}
}

func named(ids []queue.ID) (all []string) {
	for _, id := range ids[:min(len(ids), maxNamed)] {
		all = append(all, id.String())
	}
	return all
}

// NewImported describes what the queue says of an import.
func NewImported(i queue.Imported, err error) *Imported {
	done := &Imported{Messages: i.Messages, Bytes: i.Bytes, Before: i.Before}
	if err != nil {
		done.Problem = problemOf(err)
	}
	return done
}

// Options returns what the queue is to export. The error is a *Problem.
func (r *ExportRequest) Options() (o queue.ExportOptions, err error) {
	if r.After != "" || r.Limit != 0 || r.All || r.Reason != "" {
		return o, badRequest("an export has no pages, and is of the whole queue when nothing limits it")
	}
	o.Hold = r.Hold
	o.Filter, err = r.filter()
	return o, err
}

// export answers with an archive.
func (h *handler) export(w http.ResponseWriter, r *http.Request) {
	request := &ExportRequest{}
	err := readJSON(http.MaxBytesReader(w, r.Body, maxExportRequest), request)
	var o queue.ExportOptions
	if err == nil {
		o, err = request.Options()
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", problemTrailer+", "+summaryTrailer)
	extend(w)
	_ = http.NewResponseController(w).Flush() // the client need not wait for the first message
	done, err := h.queue.Export(r.Context(), patientWriter{w}, o)
	// A few short fields always become JSON.
	summary, _ := json.Marshal(newExported(done))
	w.Header().Set(summaryTrailer, string(summary))
	if err != nil {
		text, _ := json.Marshal(problemOf(err))
		w.Header().Set(problemTrailer, string(text))
	}
}

// patientWriter gives each piece of an answer its time.
type patientWriter struct{ http.ResponseWriter }

// Write writes to the client.
func (p patientWriter) Write(b []byte) (int, error) {
	extend(p.ResponseWriter)
	return p.ResponseWriter.Write(b)
}

// holds are the words for what becomes of the holds of imported messages.
var holds = map[string]queue.ImportHold{"": queue.KeepHold, "hold": queue.HoldAll, "release": queue.ReleaseAll}

// imports takes the messages of an archive.
func (h *handler) imports(w http.ResponseWriter, r *http.Request) {
	hold, ok := holds[r.URL.Query().Get("hold")]
	if !ok {
		writeProblem(w, badRequest("%.20q is not what can become of a hold", r.URL.Query().Get("hold")))
		return
	}
	// The answer may come before the client has sent all.
	_ = http.NewResponseController(w).EnableFullDuplex()
	body := patientReader{w, r.Body}
	done, err := h.queue.Import(r.Context(), body, hold)
	answer := NewImported(done, err)
	text, _ := json.Marshal(answer)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	writeJSON(w, http.StatusOK, answer)
	_ = http.NewResponseController(w).Flush()
	// A client that is still writing reads no answer from a connection that is
	// closed; it closes it itself when it has read one.
	_, _ = io.Copy(io.Discard, body)
}

// patientReader gives each piece of a request its time.
type patientReader struct {
	w    http.ResponseWriter
	body io.Reader
}

// Read reads from the client.
func (p patientReader) Read(b []byte) (int, error) {
	extendRead(p.w)
	n, err := p.body.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the client has gone")
	}
	return n, err
}
