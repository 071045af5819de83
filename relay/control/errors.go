package control

import (
	"errors"
	"fmt"
	"net/http"

	"waypost/queue"
)

// NotRunningError means that nobody answers on the control socket.
type NotRunningError struct {
	// Dir is the data directory.
	Dir string
	// Err is what the system said.
	Err error
}

// Error names the directory, and says what to do.
func (e *NotRunningError) Error() string {
	return fmt.Sprintf(`no waypost is running with the data directory %s: start it with "waypost serve"`, e.Dir)
}

// Unwrap returns what the system said.
func (e *NotRunningError) Unwrap() error { return e.Err }

// Code is the kind of a problem.
type Code string

// The kinds of problems.
const (
	CodeBadRequest Code = "bad_request" // the request makes no sense as it is
	CodeUnknownID  Code = "unknown_id"  // no such message is in the queue
	CodeDamaged    Code = "damaged"     // a record or a content on disk is damaged
	CodeStorage    Code = "storage"     // the queue's storage failed; the daemon ends
	CodeBadArchive Code = "bad_archive" // an archive is none, of another version, or not whole
	// CodeConfiguration: the configuration cannot be used, and the one before
	// stays.
	CodeConfiguration Code = "configuration"
	CodeTemporary     Code = "temporary" // anything else; it may work later
)

// Problem is the answer to a request that could not be met.
type Problem struct {
	Code Code `json:"code"`
	// Text says what is wrong, for people.
	Text string `json:"error"`
}

// Error is the text.
func (p *Problem) Error() string { return p.Text }

// problemOf classifies what the queue said. What is not known is temporary.
func problemOf(err error) *Problem {
	problem := &Problem{Code: CodeTemporary, Text: err.Error()}
	if own, ok := errors.AsType[*Problem](err); ok {
		return own
	}
	switch {
	case errors.Is(err, queue.ErrUnknown):
		problem.Code = CodeUnknownID
	case errors.Is(err, queue.ErrArchive):
		problem.Code = CodeBadArchive
	case errors.Is(err, queue.ErrDamaged):
		problem.Code = CodeDamaged
	case errors.Is(err, queue.ErrStore):
		problem.Code = CodeStorage
	}
	return problem
}

func badRequest(format string, args ...any) error {
	return &Problem{Code: CodeBadRequest, Text: fmt.Sprintf(format, args...)}
}

func (p *Problem) status() int {
	switch p.Code {
	case CodeBadRequest, CodeBadArchive, CodeConfiguration:
		return http.StatusBadRequest
	case CodeUnknownID:
		return http.StatusNotFound
	case CodeDamaged, CodeStorage:
		return http.StatusInternalServerError
	default:
		return http.StatusServiceUnavailable
	}
}
