package terminal

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"waypost/relay/smtp"
)

// Writer passes text on with everything replaced by a question mark that could
// steer a terminal: control characters but line ends and tabs, marks that turn
// the direction of text, and octets that are not UTF-8. CRLF becomes LF.
type Writer struct {
	w    io.Writer
	rest []byte // the beginning of a character whose end has not come yet
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write passes p on, but for up to three octets that wait for the next.
func (w *Writer) Write(p []byte) (int, error) {
	in := append(w.rest, p...)
	var out strings.Builder
	for len(in) > 0 && utf8.FullRune(in) && !(in[0] == '\r' && len(in) == 1) {
		r, n := utf8.DecodeRune(in)
		switch {
		case r == '\n', r == '\t':
			out.WriteRune(r)
		case r == '\r' && in[1] == '\n':
		default:
			out.WriteString(smtp.Printable(string(in[:n])))
		}
		in = in[n:]
	}
	w.rest = append([]byte(nil), in...)
	if _, err := io.WriteString(w.w, out.String()); err != nil {
		return 0, fmt.Errorf("write to the terminal: %w", err)
	}
	return len(p), nil
}

// Close passes on what still waits. It does not close what w writes to.
func (w *Writer) Close() error {
	rest := strings.Repeat("?", len(w.rest))
	w.rest = nil
	_, err := io.WriteString(w.w, rest)
	return err
}
