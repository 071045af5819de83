package sendmail

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// read reads a message, and returns it as it would be submitted.
func read(t *testing.T, text string, a Arguments) (whole string, recipients []string) {
	t.Helper()
	var first string
	for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
		m, err := Read(r, a, Sender{Address: "me@a.test", Name: "Me, Myself", Hostname: "a.test"}, now)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		body, err := io.ReadAll(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		whole, recipients = string(m.Header)+string(body), m.Recipients
		if cut, _, _ := strings.Cut(whole, "Message-ID"); first == "" {
			first = cut
		} else if cut != first {
			t.Errorf("%q: by octets %q, whole %q", text, cut, first)
		}
	}
	return whole, recipients
}

func TestHeaderIsCompleted(t *testing.T) {
	got, _ := read(t, "Subject: x\n\nHello\n", Arguments{})
	lines := strings.Split(got, "\r\n")
	if want := []string{"Subject: x", `From: "Me, Myself" <me@a.test>`, "Date: Sun, 1 Mar 2026 12:00:00 +0000"}; !slices.Equal(lines[:3], want) {
		t.Errorf("header %q, want %q", lines, want)
	}
	if !strings.HasPrefix(lines[3], "Message-ID: <20260301120000.") || !strings.HasSuffix(lines[3], "@a.test>") || lines[4] != "To: undisclosed-recipients:;" {
		t.Errorf("header %q", lines)
	}
	whole := "From: a@b.test\r\nTO : r@b.test\r\nDate: now\r\nMessage-ID: <1@b.test>\r\n\r\nbody\r\n"
	if got, _ := read(t, whole, Arguments{}); got != whole {
		t.Errorf("a whole message came out as %q", got)
	}
	if got, _ := read(t, "Subject: x\n\n", Arguments{FullName: "Cron Daemon"}); !strings.Contains(got, "From: \"Cron Daemon\" <me@a.test>\r\n") {
		t.Errorf("full name: %q", got)
	}
}

func TestRecipientsOfTheMessage(t *testing.T) {
	for text, want := range map[string][]string{
		"To: r@b.test\nCc: \"Q, R\" <q@b.test>,\n\tp@b.test\nBcc: o@b.test\n\nx": {"r@b.test", "q@b.test", "p@b.test", "o@b.test"},
		"To: root\n\nx":                                 {"root"},
		"To: root, admin\nBcc:\n\nx":                    {"root", "admin"},
		"To: r@b.test\nResent-To: q@b.test\n\nx":        {"q@b.test"},
		"To: friends: r@b.test, q@b.test;\n\nx":         {"r@b.test", "q@b.test"},
		"To: =?utf-8?q?J=C3=B6rg?= <j@b.test>\n\nx":     {"j@b.test"},
		"From me@a.test Mon\nTo: r@b.test\nno field\nx": {"r@b.test"},
	} {
		got, recipients := read(t, text, Arguments{FromHeader: true})
		if !slices.Equal(recipients, want) {
			t.Errorf("%q: %q, want %q", text, recipients, want)
		}
		if strings.Contains(got, "o@b.test") || strings.Contains(strings.ToLower(got), "bcc") {
			t.Errorf("%q: Bcc stayed in %q", text, got)
		}
	}
	for _, text := range []string{"Subject: x\n\nx", "To: <unclosed\n\nx", "To: a b c\n\nx"} {
		if m, err := Read(strings.NewReader(text), Arguments{FromHeader: true}, Sender{}, now); err == nil {
			t.Errorf("%q: recipients %q", text, m.Recipients)
		}
	}
}

func TestBody(t *testing.T) {
	long := strings.Repeat("y", 200_000)
	for _, tc := range []struct {
		name, in, want string
		keep           bool
	}{
		{"line ends", "a\nb\r\nc", "a\r\nb\r\nc\r\n", false},
		{"dot ends", "a\n.\nb\n", "a\r\n", false},
		{"dot ends at the end", "a\n.", "a\r\n", false},
		{"dot is kept", "a\n.\nb\n", "a\r\n.\r\nb\r\n", true},
		{"dots in front", "..a\n.b\n", "..a\r\n.b\r\n", false},
		{"long lines", long + "\n.\nx", long + "\r\n", false},
		{"bare CR at an end", "a\r\r\nb\n", "a\r\nb\r\n", false},
		{"empty", "", "", false},
	} {
		got, _ := read(t, "Subject: x\n\n"+tc.in, Arguments{KeepDots: tc.keep})
		if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != tc.want {
			t.Errorf("%s: %.100q, want %.100q", tc.name, body, tc.want)
		}
	}
	if got, _ := read(t, "no header at all\nx\n", Arguments{}); !strings.HasSuffix(got, "\r\n\r\nno header at all\r\nx\r\n") {
		t.Errorf("without a header: %q", got)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"header without end": strings.NewReader(strings.Repeat("X: y\n", maxHeader/5)),
		"field without end":  strings.NewReader("X: " + strings.Repeat("y", 100_000)),
		"broken input":       iotest.ErrReader(errors.New("broken")),
	} {
		if _, err := Read(r, Arguments{}, Sender{}, now); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("To: r@b.test\n\nx\n.\n")
	f.Add("From x\nBcc: a\n b\r\n\r\nx\r")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Read(strings.NewReader(text), Arguments{FromHeader: true}, Sender{Address: "a@b", Hostname: "h"}, now)
		if err != nil {
			return
		}
		body, err := io.ReadAll(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{string(m.Header), string(body)} {
			if strings.Count(part, "\n") != strings.Count(part, "\r\n") {
				t.Errorf("bare LF in %q", part)
			}
		}
	})
}
