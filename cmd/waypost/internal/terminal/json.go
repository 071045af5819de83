package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		// Only strings can hold such a character, and all are below U+10000.
		if r != '\n' && smtp.Printable(string(r)) != string(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String(), nil
}
