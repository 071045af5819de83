package message

import (
	"bytes"
	"strings"
	"testing"
)

func complete(t testing.TB, content string, pieces int) string {
	t.Helper()
	var out bytes.Buffer
	c := NewCompleter(&out, "DAY", "<ID>")
	for p := []byte(content); len(p) > 0; {
		n := min(pieces, len(p))
		if m, err := c.Write(p[:n]); m != n || err != nil {
			t.Fatalf("%d, %v", m, err)
		}
		p = p[n:]
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCompleter(t *testing.T) {
	const added = "Date: DAY\r\nMessage-ID: <ID>\r\n"
	long := strings.Repeat("x", 200)
	for _, tc := range []struct{ name, content, want string }{
		{"both missing", "From: a\r\nTo: b\r\n\r\nbody\r\n", "From: a\r\nTo: b\r\n" + added + "\r\nbody\r\n"},
		{"none missing", "date: x\r\nMESSAGE-ID : <y>\r\n\r\nDate: no\r\n", "date: x\r\nMESSAGE-ID : <y>\r\n\r\nDate: no\r\n"},
		{"one missing", "Date: x\r\n\r\n", "Date: x\r\nMessage-ID: <ID>\r\n\r\n"},
		{"bcc goes", "Bcc: a,\r\n b,\r\n\tc\r\nDate: x\r\nreturn-path: <y>\r\nMessage-ID: <z>\r\nResent-Bcc:q\r\n\r\nBcc: stays\r\n",
			"Date: x\r\nMessage-ID: <z>\r\n\r\nBcc: stays\r\n"},
		{"folded", "Subject: a\r\n b\r\nBcc: x\r\n\r\n", "Subject: a\r\n b\r\n" + added + "\r\n"},
		{"lookalikes", "Bccc: a\r\nX-Bcc: b\r\nMessage-IDs: c\r\n\r\n", "Bccc: a\r\nX-Bcc: b\r\nMessage-IDs: c\r\n" + added + "\r\n"},
		{"no header", "Hello,\r\nyou.\r\n", added + "\r\nHello,\r\nyou.\r\n"},
		{"no header, long line", "a " + long + "\r\n", added + "\r\na " + long + "\r\n"},
		{"long name", long + ": a\r\n\r\n", long + ": a\r\n" + added + "\r\n"},
		{"text among the fields", "From: a\r\nHello\r\nTo: b\r\n", "From: a\r\n" + added + "\r\nHello\r\nTo: b\r\n"},
		{"no body", "From: a\r\n", "From: a\r\n" + added},
		{"unfinished field", "From: a", "From: a\r\n" + added},
		{"unfinished name", "From", added + "\r\nFrom"},
		{"empty", "", added},
		{"empty line alone", "\r\n", added + "\r\n"},
		{"blank first", " x\r\n\r\n", added + "\r\n x\r\n\r\n"},
		{"bare line feeds", "From: a\n\nbody\n", "From: a\n" + added + "\nbody\n"},
	} {
		for _, pieces := range []int{1, 2, 7, 1000} {
			if got := complete(t, tc.content, pieces); got != tc.want {
				t.Errorf("%s, %d at a time: %q, want %q", tc.name, pieces, got, tc.want)
			}
		}
	}
}

// A completed message needs nothing more, and the body is what it was.
func FuzzCompleter(f *testing.F) {
	f.Add("From: a\r\nBcc: b\r\n c\r\n\r\nbody", 3)
	f.Add("Date: x\r\n \r\n\r\n", 1)
	f.Add("\r\n\r\n:", 1)
	f.Fuzz(func(t *testing.T, content string, pieces int) {
		pieces = max(1, pieces%100)
		once := complete(t, content, pieces)
		if whole := complete(t, content, len(content)+1); whole != once {
			t.Fatalf("%d at a time %q, at once %q", pieces, once, whole)
		}
		if twice := complete(t, once, pieces); twice != once {
			t.Fatalf("completed once %q, twice %q", once, twice)
		}
	})
}
