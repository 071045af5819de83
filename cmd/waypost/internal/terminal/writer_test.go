package terminal

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestWriter(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain text", "Hello\r\n\tworld\r\n", "Hello\n\tworld\n"},
		{"I-09 escape sequences", "\x1b[31mred\x1b]0;title\x07", "?[31mred?]0;title?"},
		{"eight-bit escape", "\u009b31m", "?31m"},
		{"I-09 direction marks", "a\u202eb\u2066c", "a?b?c"},
		{"bare CR", "real\rfake\r", "real?fake?"},
		{"letters of the world", "Grüße, 世界 🎈", "Grüße, 世界 🎈"},
		{"not UTF-8", "caf\xe9 \xff\xfe.", "caf? ??."},
		{"cut short", "caf\xc3", "caf?"},
		{"backspace and delete", "rm\b\b\x7f", "rm???"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for chunk := 1; chunk <= len(test.in); chunk++ {
				var out strings.Builder
				w := NewWriter(&out)
				for rest := test.in; rest != ""; {
					n := min(chunk, len(rest))
					if got, err := io.WriteString(w, rest[:n]); got != n || err != nil {
						t.Fatalf("Write of %d octets: %d, %v", n, got, err)
					}
					rest = rest[n:]
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if out.String() != test.want {
					t.Errorf("in pieces of %d: got %q, want %q", chunk, out.String(), test.want)
				}
			}
		})
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterFails(t *testing.T) {
	if _, err := NewWriter(fullDisk{}).Write([]byte("text")); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v, want the error of the writer below", err)
	}
}

func TestFileIsNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Is(f) || Width(f) != 0 || Is(&strings.Builder{}) {
		t.Error("a file or a buffer was taken for a terminal")
	}
}
