package terminal

import (
	"encoding/json"
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
