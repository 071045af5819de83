package smtpclient_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// What cannot be sent is not sent: no message arrives, not even half of one.
func TestBadContent(t *testing.T) {
	long := string(letter(100_000))
	for name, test := range map[string]struct {
		content io.Reader
		cause   error
	}{
		"5321-2.3.8-b 5322-2.3-a bare LF":    {strings.NewReader("a: b\r\n\r\nx\ny\r\n"), smtpclient.ErrBareLineEnd},
		"5321-2.3.8-b 5322-2.3-a bare CR":    {strings.NewReader("a: b\r\n\r\nx\ry\r\n"), smtpclient.ErrBareLineEnd},
		"late bare LF":                       {strings.NewReader(long + "x\n"), smtpclient.ErrBareLineEnd},
		"5321-2.3.8-b 5322-2.3-a CR at last": {strings.NewReader("a: b\r\n\r\nx\r"), smtpclient.ErrBareLineEnd},
		"unreadable":                         {io.MultiReader(strings.NewReader(long), iotest.ErrReader(io.ErrNoProgress)), io.ErrNoProgress},
	} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0")
			s.OnRcpt("b@d.example", "550 no")
			c := open(t, s, options())
			tx := message(t, "a@d.example", "b@d.example")
			tx.Content = test.content
			res, err := c.Send(t.Context(), tx)
			e := failed(t, err, smtpclient.StageContent)
			if !errors.Is(err, test.cause) || e.Scope != smtpclient.ScopeTransaction || c.Reusable() || res.Ambiguous {
				t.Errorf("%v, scope %v, reusable %v, %+v", err, e.Scope, c.Reusable(), res)
			}
			if codes(res) != "0 550" {
				t.Errorf("replies %s", codes(res))
			}
			s.WaitIdle()
			if s.Count() != 0 {
				t.Error("a message arrived")
			}
		})
	}
}

// TestContentsArriveUnchanged: dots, long lines and a missing last CRLF.
//
// S-13 5321-4.1.1.4-a 5321-4.5.2-a 5322-2.1.1-a
func TestContentsArriveUnchanged(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	c := open(t, s, options())
	for i, content := range []string{
		"", "\r\n", ".", ".\r\n", "..\r\n.", "a", "a\r\n.\r\nMAIL FROM:<x>\r\n", strings.Repeat(".\r\n", 50_000),
		string(letter(32 << 10)), string(letter(3_000_000)), strings.Repeat("x", 200_000),
	} {
		for _, r := range []io.Reader{strings.NewReader(content), iotest.HalfReader(strings.NewReader(content))} {
			tx := message(t, "a@d.example")
			tx.Content, tx.Size = r, int64(len(content))
			sent(t, c, tx, "250")
			messages := s.Messages()
			want := content
			if want != "" && !strings.HasSuffix(want, "\r\n") {
				want += "\r\n"
			}
			if got := string(messages[len(messages)-1].Content); got != want {
				t.Errorf("content %d differs: %d octets, want %d", i, len(got), len(want))
			}
		}
	}
}

// The host refuses in the middle of the content and closes: its reply counts.
func TestLateReply(t *testing.T) {
	for name, test := range map[string]struct {
		reply string
		want  string
	}{
		"1870-c too big": {"552 5.3.4 too big", "552 550"}, "1870-c no room": {"452 4.3.1 no room", "452 550"},
		"closing": {"421 4.3.2 closing", "0 550"}, "senseless": {"250 what", "0 550"},
	} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0")
			s.OnRcpt("b@d.example", "550 no")
			s.On("CONTENT", relaytest.Action{After: 100_000, Reply: test.reply, Drop: true})
			c := open(t, s, options())
			tx := message(t, "a@d.example", "b@d.example")
			tx.Size, tx.Content = 0, &endless{line: letter(1000)}
			res, err := c.Send(t.Context(), tx)
			if codes(res) != test.want || res.Ambiguous || c.Reusable() {
				t.Errorf("%s, ambiguous %v, reusable %v, %v", codes(res), res.Ambiguous, c.Reusable(), err)
			}
			if decided := !strings.HasPrefix(test.want, "0"); decided {
				if err != nil {
					t.Errorf("everybody is decided, and yet: %v", err)
				}
				return
			}
			if e := failed(t, err, smtpclient.StageContent); name == "closing" && e.Reply.Code != 421 {
				t.Errorf("the reply is lost: %v", err)
			}
		})
	}
}

// endless is content that never ends, so that only the host can end it.
type endless struct{ line []byte }

func (e *endless) Read(p []byte) (int, error) { return copy(p, e.line), nil }

// TestAmbiguousEnd: without a reply to the final dot nobody knows.
//
// 1047-a
func TestAmbiguousEnd(t *testing.T) {
	for name, test := range map[string]struct {
		action relaytest.Action
		stored int
	}{
		"dropped, kept":     {relaytest.Action{Silent: true, Drop: true, Store: true}, 1},
		"dropped, not kept": {relaytest.Action{Silent: true, Drop: true}, 0},
		"reset":             {relaytest.Action{Silent: true, Reset: true}, 0},
		"garbage":           {relaytest.Action{Raw: "what?\r\n", Store: true}, 1},
		"354":               {relaytest.Action{Reply: "354 go on", Store: true}, 1},
		"half a reply":      {relaytest.Action{Raw: "250 o", Drop: true, Store: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0")
			s.On("DOT", test.action)
			s.OnRcpt("b@d.example", "550 no")
			c := open(t, s, options())
			res, err := c.Send(t.Context(), message(t, "a@d.example", "b@d.example"))
			failed(t, err, smtpclient.StageDot)
			if !res.Ambiguous || codes(res) != "0 550" || c.Reusable() {
				t.Errorf("%+v, reusable %v", res, c.Reusable())
			}
			s.WaitIdle()
			if s.Count() != test.stored {
				t.Errorf("%d messages stored", s.Count())
			}
		})
	}
}
