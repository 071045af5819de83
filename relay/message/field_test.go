package message

import (
	"strings"
	"testing"
)

// TestField: what is folded, and where.
//
// 5322-2.1.1-a
func TestField(t *testing.T) {
	long := strings.Repeat("x", 80)
	tests := []struct {
		name  string
		build func(*Field)
		want  string
	}{
		{"empty", func(f *Field) { f.Word(""); f.Text(" \r\n ") }, "N:"},
		{"white space collapses", func(f *Field) { f.Text("  a\tb \r\n c ") }, "N: a b c"},
		{"a word keeps its spaces", func(f *Field) { f.Word(`"a  b"@c`) }, `N: "a  b"@c`},
		{"control characters", func(f *Field) { f.Word("a\r\nB: c\x00\x7f\x1b") }, "N: a??B: c???"},
		{"first word stays", func(f *Field) { f.Word(long); f.Word("y") }, "N: " + long + "\r\n y"},
		{"up to column 77", func(f *Field) { f.Word(strings.Repeat("a", 72)); f.Word("b") }, "N: " + strings.Repeat("a", 72) + " b"},
		{"over column 77", func(f *Field) { f.Word(strings.Repeat("a", 73)); f.Word("b") }, "N: " + strings.Repeat("a", 73) + "\r\n b"},
		{"asked to fold", func(f *Field) { f.Word("a"); f.Fold(); f.Word("b") }, "N: a\r\n b"},
		{"broken between characters", func(f *Field) { f.Word("a" + strings.Repeat("é", 600)) },
			"N: a" + strings.Repeat("é", 449) + "\r\n " + strings.Repeat("é", 151)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := NewField(nil, "N")
			tt.build(f)
			if got := string(f.End()); got != tt.want+"\r\n" {
				t.Errorf("got %q, want %q", got, tt.want+"\r\n")
			}
		})
	}
}

func TestASCII(t *testing.T) {
	for in, want := range map[string]string{
		"":                 "",
		"plain ~ text":     "plain ~ text",
		"\x1b[31m\r\n\x00": "?[31m???",
		"é\xff\x7f":        "???",
	} {
		if got := ASCII(in); got != want {
			t.Errorf("ASCII(%q) = %q, want %q", in, got, want)
		}
	}
	if !IsASCII("\x00a\x7f") || IsASCII("aé") || IsASCII("a\x80") {
		t.Error("IsASCII: wrong about octets over 127")
	}
}
