package smtpclient

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"waypost/relay/smtp"
)

func TestReplyReader(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want smtp.Reply
	}{
		"plain":                        {"250 ok\r\n", smtp.Reply{Code: 250, Lines: []string{"ok"}}},
		"5321-4.2-b no text":           {"250\r\n", smtp.Reply{Code: 250, Lines: []string{""}}},
		"5321-4.2-b no text but blank": {"250 \r\n", smtp.Reply{Code: 250, Lines: []string{""}}},
		"bare LF":                      {"250 ok\n", smtp.Reply{Code: 250, Lines: []string{"ok"}}},
		"5321-4.2-d lines":             {"250-a\r\n250-\r\n250 c\r\n", smtp.Reply{Code: 250, Lines: []string{"a", "", "c"}}},
		"last without text":            {"250-a\r\n250\r\n", smtp.Reply{Code: 250, Lines: []string{"a", ""}}},
		"enhanced": {
			"550-5.1.1 no\r\n550 5.1.1 never\r\n",
			smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Lines: []string{"no", "never"}},
		},
		"enhanced on the first line": {
			"550-5.1.1 no\r\n550 never 5.1.1\r\n",
			smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Lines: []string{"no", "never 5.1.1"}},
		},
		"enhanced alone": {
			"550-5.1.1\r\n550 5.1.1\r\n",
			smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Lines: []string{"", ""}},
		},
		"not enhanced": {"250 5.1 minutes\r\n", smtp.Reply{Code: 250, Lines: []string{"5.1 minutes"}}},
		"I-09 strange bytes": {
			"599 \x1b[31m\xff\x00\r\n", smtp.Reply{Code: 599, Lines: []string{"\x1b[31m\xff\x00"}},
		},
		"longest line": {"250 " + strings.Repeat("x", 8<<10-6) + "\r\n", smtp.Reply{Code: 250, Lines: []string{strings.Repeat("x", 8<<10-6)}}},
	} {
		for _, in := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in))} {
			r := newReplyReader(in)
			code, err := r.read()
			if err != nil || code != test.want.Code {
				t.Errorf("%s: %d, %v", name, code, err)
				continue
			}
			if got := r.reply(); got.Enhanced != test.want.Enhanced || !slices.Equal(got.Lines, test.want.Lines) {
				t.Errorf("%s: %+v, want %+v", name, got, test.want)
			}
		}
	}
}

func TestReplyReaderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want error
	}{
		"nothing":               {"", io.ErrUnexpectedEOF},
		"half a line":           {"250 ok", io.ErrUnexpectedEOF},
		"half a reply":          {"250-ok\r\n", io.ErrUnexpectedEOF},
		"5321-4.2-d two codes":  {"250-ok\r\n550 no\r\n", ErrProtocol},
		"no code":               {"hello\r\n", ErrProtocol},
		"empty line":            {"\r\n", ErrProtocol},
		"two digits":            {"25 ok\r\n", ErrProtocol},
		"four digits":           {"2500 ok\r\n", ErrProtocol},
		"no separator":          {"250ok\r\n", ErrProtocol},
		"first digit 1":         {"150 ok\r\n", ErrProtocol},
		"first digit 6":         {"650 ok\r\n", ErrProtocol},
		"sign":                  {"+50 ok\r\n", ErrProtocol},
		"Q-16 line too long":    {"250 " + strings.Repeat("x", 8<<10) + "\r\n", ErrProtocol},
		"Q-16 line without end": {strings.Repeat("x", 10<<20), ErrProtocol},
		"Q-16 129 lines":        {strings.Repeat("250-x\r\n", 129), ErrProtocol},
		"Q-16 more than 64 KiB": {strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 70), ErrProtocol},
		"an unreadable line":    {"220 half", iotest.ErrTimeout},
	} {
		in := io.Reader(strings.NewReader(test.in))
		if test.want == iotest.ErrTimeout {
			in = io.MultiReader(in, iotest.ErrReader(test.want))
		}
		r := newReplyReader(in)
		if code, err := r.read(); !errors.Is(err, test.want) {
			t.Errorf("%s: %d, %v; want %v", name, code, err, test.want)
		}
	}
}

// The bounds hold to the octet: 128 lines are a reply.
func TestReplyOf128Lines(t *testing.T) {
	r := newReplyReader(strings.NewReader(strings.Repeat("250-x\r\n", 127) + "250 y\r\n"))
	if code, err := r.read(); err != nil || code != 250 || len(r.reply().Lines) != 128 {
		t.Errorf("%d, %v, %d lines", code, err, len(r.reply().Lines))
	}
}

// What is a reply, and which one, does not depend on how its octets arrive;
// and a reply that was read and is written reads as itself.
func FuzzReplyReader(f *testing.F) {
	f.Add([]byte("250-5.1.1 a\r\n250 5.1.1 b\r\n421\r\n"))
	f.Add([]byte("220-\n220 \r\nx"))
	f.Add([]byte("250-4.0.0\r\n250-\xff\x00\r\r\n250\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := newReplyReader(bytes.NewReader(in))
		pieces := newReplyReader(iotest.OneByteReader(bytes.NewReader(in)))
		for {
			code, err := whole.read()
			again, err2 := pieces.read()
			if code != again || (err == nil) != (err2 == nil) {
				t.Fatalf("%d, %v whole; %d, %v in pieces", code, err, again, err2)
			}
			if err != nil {
				return
			}
			reply := whole.reply()
			if code < 200 || code > 599 || len(reply.Lines) == 0 || len(reply.Lines) > maxReplyLines {
				t.Fatalf("reply %+v", reply)
			}
			if !slices.Equal(reply.Lines, pieces.reply().Lines) {
				t.Fatal("the lines depend on the pieces")
			}
			written := newReplyReader(bytes.NewReader(reply.AppendWire(nil)))
			if _, err := written.read(); err != nil {
				return // our own line became longer than the bound
			}
			if got := written.reply(); got.Code != code || got.Enhanced != reply.Enhanced || !slices.Equal(got.Lines, reply.Lines) {
				t.Fatalf("%+v was written and read as %+v", reply, got)
			}
		}
	})
}
