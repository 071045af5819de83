package terminal

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"waypost/relay/smtp"
)

func TestJSONIsSafeAndTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune("\x1b\u009b\u202e\u2066\u2028\x7f<>&\"\\\n\ufffd")))).Draw(t, "text")
		text, err := JSON(map[string]string{"a": in}, rapid.SampledFrom([]string{"", "  "}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if smtp.Printable(line) != line {
				t.Fatalf("%q could steer a terminal", text)
			}
		}
		var out map[string]string
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if utf8.ValidString(in) && out["a"] != in {
			t.Fatalf("%q became %q", in, out["a"])
		}
	})
}

// A log of such lines means the same, and steers nothing.
func TestJSONWriter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune("\x1b\u009b\u202e\u200f\u2028\x7f\ufeff\ufffd")))).Draw(t, "text")
		var out strings.Builder
		slog.New(slog.NewJSONHandler(NewJSONWriter(&out), nil)).Info("x", "key", in)
		line, ok := strings.CutSuffix(out.String(), "\n")
		if !ok || smtp.Printable(line) != line {
			t.Fatalf("%q could steer a terminal", out.String())
		}
		var read struct{ Key string }
		if err := json.Unmarshal([]byte(line), &read); err != nil || utf8.ValidString(in) && read.Key != in {
			t.Fatalf("%q became %q: %v", in, read.Key, err)
		}
	})
}
