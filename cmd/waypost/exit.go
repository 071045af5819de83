package main

import (
	"errors"
	"fmt"
	"io/fs"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// Exit codes, as in sysexits.h.
const (
	exitDone        = 0
	exitCut         = 1
	exitUsage       = 64
	exitData        = 65
	exitUnavailable = 69
	exitIO          = 74
	exitTemporary   = 75
	exitPermission  = 77
	exitConfig      = 78
)

// codedError is an error whose exit code is known where it is made.
type codedError struct {
	code int
	err  error
}

// Error is that of the error within.
func (e *codedError) Error() string { return e.err.Error() }

// Unwrap returns the error within.
func (e *codedError) Unwrap() error { return e.err }

// usageError says that the command line is wrong.
func usageError(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode classifies an error. What is not known may work later.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	if problem, ok := errors.AsType[*control.Problem](err); ok {
		return problemCode(problem)
	}
	if _, ok := errors.AsType[configs.Problems](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*queue.InUseError](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*control.NotRunningError](err); ok {
		return exitUnavailable
	}
	switch {
	case errors.Is(err, queue.ErrStore):
		return exitIO
	case errors.Is(err, queue.ErrArchive) || errors.Is(err, queue.ErrDamaged):
		return exitData
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	}
	return exitTemporary
}

// problemCode is for what the running waypost said.
func problemCode(p *control.Problem) int {
	switch p.Code {
	case control.CodeConfiguration:
		return exitConfig
	case control.CodeBadRequest, control.CodeUnknownID, control.CodeBadArchive:
		return exitData
	case control.CodeDamaged, control.CodeStorage:
		return exitIO
	}
	return exitTemporary
}

// printError says what went wrong. Each problem of a configuration has its own
// line, which begins with its place.
func (p *program) printError(err error) {
	if err == nil {
		return
	}
	// Nothing can be said any more when standard error is closed.
	if problems, ok := errors.AsType[configs.Problems](err); ok {
		for _, problem := range problems {
			_, _ = fmt.Fprintln(p.stderr, smtp.Printable(problem.String()))
		}
		return
	}
	_, _ = fmt.Fprintln(p.stderr, "waypost: "+printableLines(err.Error()))
}
