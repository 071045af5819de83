package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"waypost/relay/smtp"
)

// JSON is v as JSON, in which everything that could steer a terminal is
// written as an escape. It is on one line where indent is "".
func JSON(v any, indent string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	return escape(strings.TrimSuffix(b.String(), "\n")), nil
}

// escape writes what could steer a terminal as JSON does, in which only strings
// can hold such a character; all of them are below U+10000.
func escape(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r != '\n' && smtp.Printable(string(r)) != string(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// NewJSONWriter returns a writer to w of lines of JSON, each of them written at
// once and in the form of [JSON].
func NewJSONWriter(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

// Write passes a line on.
func (j jsonWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if (b < ' ' || b > '~') && b != '\n' {
			_, err := io.WriteString(j.w, escape(string(p)))
			return len(p), err
		}
	}
	return j.w.Write(p) // as almost always
}
