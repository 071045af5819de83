package terminal

import (
	"fmt"
	"io"
	"time"

	"waypost/relay/smtp"
)

const (
	// patience is how long something may take before a terminal is told of it.
	patience = 500 * time.Millisecond
	// often is how long one text stands at the least.
	often = 100 * time.Millisecond
)

// Progress tells on one line of a terminal how far something has come that
// takes its time. On anything else it says nothing.
type Progress struct {
	w     io.Writer
	next  time.Time
	shown bool
}

// NewProgress returns a Progress on w, where that is a terminal.
func NewProgress(w io.Writer) *Progress {
	if !Is(w) {
		return &Progress{}
	}
	return &Progress{w: w, next: time.Now().Add(patience)}
}

// Show replaces the text, unless there was another one just now.
func (p *Progress) Show(format string, args ...any) {
	if now := time.Now(); p.w != nil && !now.Before(p.next) {
		p.next, p.shown = now.Add(often), true
		// What is shown in passing has no use for errors.
		_, _ = fmt.Fprintf(p.w, "\r%s\x1b[K", smtp.Printable(fmt.Sprintf(format, args...)))
	}
}

// Done takes the text away.
func (p *Progress) Done() {
	if p.shown {
		p.shown = false
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
}
