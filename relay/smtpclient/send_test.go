package smtpclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"waypost/relay/relaytest"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// 2920-3.1-a: MAIL, RCPT and DATA, which ends its group, and then the content.
func TestSendTakesTwoWrites(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	conn := dial(t, s)
	c, err := smtpclient.New(t.Context(), conn, options())
	if err != nil {
		t.Fatal(err)
	}
	conn.writes.Store(0)
	tx := message(t, "a@d.example", "b@d.example")
	content := letter(5000)
	tx.Content, tx.Size = bytes.NewReader(content), int64(len(content))
	sent(t, c, tx, "250 250")
	if n := conn.writes.Load(); n != 2 {
		t.Errorf("%d writes, want the envelope and the content", n)
	}
	m := s.Wait(1)[0]
	equal(t, m.Content, content)
	if m.Hello != "relay.example" || m.MailLine != fmt.Sprintf("MAIL FROM:<sender@relay.example> SIZE=%d", len(content)) ||
		strings.Join(m.RcptLines, "|") != "RCPT TO:<a@d.example>|RCPT TO:<b@d.example>" {
		t.Errorf("message %+v", m)
	}
	if !c.Reusable() {
		t.Error("the session is not reusable")
	}
	c.Quit()
	if got := steps(s); got != "MAIL RCPT RCPT DATA CONTENT DOT QUIT" {
		t.Errorf("steps %s", got)
	}
	if c.Reusable() {
		t.Error("the session is reusable after QUIT")
	}
	s.WaitIdle()
}

// Each row is a host that answers one envelope in its own way, with and
// without PIPELINING, and then takes an ordinary message in the same session.
func TestSendOutcomes(t *testing.T) {
	reply := func(verb, text string) relaytest.Rule {
		return relaytest.Rule{Verb: verb, Last: 1, Action: relaytest.Action{Reply: text}}
	}
	rcpt := func(mailbox, text string) relaytest.Rule {
		return relaytest.Rule{Verb: "RCPT", Mailbox: mailbox, Last: 1, Action: relaytest.Action{Reply: text}}
	}
	for _, test := range []struct {
		name      string
		rules     []relaytest.Rule
		want      string
		pipelined string // steps of the first transaction and up to MAIL of the next
		single    string
	}{
		{"all well", nil, "250 250", "MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL"},
		{"5321-4.5.4.1-c MAIL refused", []relaytest.Rule{reply("MAIL", "550 5.7.1 no")}, "550 550", "MAIL RCPT RCPT DATA MAIL", "MAIL MAIL"},
		{"MAIL refused for now", []relaytest.Rule{reply("MAIL", "451 4.3.0 no")}, "451 451", "MAIL RCPT RCPT DATA MAIL", "MAIL MAIL"},
		{
			"2920-3.1-b MAIL refused and DATA taken", []relaytest.Rule{reply("MAIL", "550 no"), reply("DATA", "354 yes")}, "550 550",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL MAIL",
		},
		{
			"one RCPT refused", []relaytest.Rule{rcpt("a@d.example", "550 5.1.1 no")}, "550 250",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
		{
			"5321-4.2-b unknown codes", []relaytest.Rule{rcpt("a@d.example", "499 what"), rcpt("b@d.example", "299 yes")}, "499 250",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
		{
			"2920-3.1-b every RCPT refused", []relaytest.Rule{rcpt("a@d.example", "550 no"), rcpt("b@d.example", "450 no")}, "550 450",
			"MAIL RCPT RCPT DATA RSET MAIL", "MAIL RCPT RCPT RSET MAIL",
		},
		{
			"2920-3.1-b every RCPT refused and DATA taken",
			[]relaytest.Rule{rcpt("a@d.example", "550 no"), rcpt("b@d.example", "450 no"), reply("DATA", "354 yes")}, "550 450",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT RSET MAIL",
		},
		{"DATA refused", []relaytest.Rule{reply("DATA", "451 4.3.1 no")}, "451 451", "MAIL RCPT RCPT DATA RSET MAIL", "MAIL RCPT RCPT DATA RSET MAIL"},
		{
			"RCPT and DATA refused", []relaytest.Rule{rcpt("b@d.example", "550 no"), reply("DATA", "451 no")}, "451 550",
			"MAIL RCPT RCPT DATA RSET MAIL", "MAIL RCPT RCPT DATA RSET MAIL",
		},
		{
			"content refused", []relaytest.Rule{reply("DOT", "554 5.6.0 no")}, "554 554",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
		{
			"RCPT and content refused", []relaytest.Rule{rcpt("a@d.example", "450 no"), reply("DOT", "554 no")}, "450 554",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
		{
			"5321-4.5.3.1.10-b too many recipients", []relaytest.Rule{rcpt("b@d.example", "552 too many recipients")}, "250 452",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
		{
			"5321-4.5.3.1.10-b a full mailbox", []relaytest.Rule{rcpt("b@d.example", "552 5.2.2 full")}, "250 552",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
		{
			"552 to the first", []relaytest.Rule{rcpt("a@d.example", "552 no")}, "552 250",
			"MAIL RCPT RCPT DATA CONTENT DOT MAIL", "MAIL RCPT RCPT DATA CONTENT DOT MAIL",
		},
	} {
		for _, extensions := range []string{"PIPELINING", plainExtensions} {
			t.Run(test.name+" "+extensions, func(t *testing.T) {
				s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(extensions))
				s.Add(test.rules...)
				c := open(t, s, options())
				sent(t, c, message(t, "a@d.example", "b@d.example"), test.want)
				if !c.Reusable() {
					t.Fatal("the session is not reusable")
				}
				before := s.Count()
				sent(t, c, message(t, "c@d.example"), "250")
				want := test.single
				if extensions == "PIPELINING" {
					want = test.pipelined
				}
				if got := steps(s); got != want+" RCPT DATA CONTENT DOT" {
					t.Errorf("steps %s, want %s RCPT DATA CONTENT DOT", got, want)
				}
				if s.Count() != before+1 {
					t.Errorf("%d messages after the second, %d before", s.Count(), before)
				}
			})
		}
	}
}

// 5321-4.2-d: the lines of a reply are kept as such.
func TestRepliesAreKeptWhole(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	s.OnRcpt("a@d.example", "550-5.1.1 there is\n550-5.1.1 nobody\n550 5.1.1 here")
	res := sent(t, open(t, s, options()), message(t, "a@d.example"), "550")
	r := res.Recipients[0]
	if r.Enhanced != (smtp.EnhancedCode{5, 1, 1}) || strings.Join(r.Lines, "|") != "there is|nobody|here" {
		t.Errorf("reply %+v", r)
	}
}

// a reply as long as may be.
//
// What is kept of it for each recipient is not.
func TestLongRepliesAreShortened(t *testing.T) {
	for name, row := range map[string]struct{ line, lines, want int }{"long lines": {1000, 60, 5}, "short lines": {40, 110, 103}} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0")
			text := strings.Repeat("x", row.line)
			s.OnRcpt("a@d.example", strings.Repeat("550-5.7.1 "+text+"\n", row.lines)+"550 5.7.1 the end")
			res := sent(t, open(t, s, options()), message(t, "a@d.example"), "550")
			r := res.Recipients[0]
			if r.Enhanced != (smtp.EnhancedCode{5, 7, 1}) || r.Lines[0] != text || len(r.Lines) != row.want || !strings.HasSuffix(r.Lines[len(r.Lines)-1], " [shortened]") {
				t.Errorf("%v, %d lines, the last one %q", r.Enhanced, len(r.Lines), r.Lines[len(r.Lines)-1])
			}
			if n := len(r.String()); n > 4500 {
				t.Errorf("%d octets are kept", n)
			}
		})
	}
}

// A 421 ends the session wherever it comes; recipients that were refused
// before it stay refused.
func TestServiceCloses(t *testing.T) {
	for verb, test := range map[string]struct {
		stage smtpclient.Stage
		want  string
	}{
		"MAIL": {smtpclient.StageMail, "0 0"}, "RCPT": {smtpclient.StageRcpt, "550 0"},
		"DATA": {smtpclient.StageData, "550 0"}, "DOT": {smtpclient.StageDot, "550 0"},
	} {
		for _, extensions := range []string{"PIPELINING", plainExtensions} {
			t.Run(verb+" "+extensions, func(t *testing.T) {
				s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(extensions))
				s.OnRcpt("a@d.example", "550 no")
				s.On(verb, relaytest.Action{Reply: "421 4.3.2 closing", Drop: true})
				c := open(t, s, options())
				res, err := c.Send(t.Context(), message(t, "a@d.example", "b@d.example"))
				e := failed(t, err, test.stage)
				if e.Reply.Code != 421 || e.Scope != smtpclient.ScopeSession || c.Reusable() || res.Ambiguous {
					t.Errorf("%v, %+v, reusable %v", e, res, c.Reusable())
				}
				if codes(res) != test.want || e.Status() != (smtp.EnhancedCode{4, 3, 2}) {
					t.Errorf("replies %s, status %v", codes(res), e.Status())
				}
				if _, err := c.Send(t.Context(), message(t, "a@d.example")); !errors.Is(err, smtpclient.ErrNotUsable) {
					t.Errorf("another transaction: %v", err)
				}
				s.WaitIdle()
			})
		}
	}
}

// The host refuses MAIL and closes before it answered the rest of the group:
// everybody is decided, and there is no error.
func TestRefusedAndClosed(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	s.On("MAIL", relaytest.Action{Reply: "550 5.7.1 go away", Drop: true})
	c := open(t, s, options())
	sent(t, c, message(t, "a@d.example", "b@d.example"), "550 550")
	if c.Reusable() {
		t.Error("the session is reusable")
	}
}

// 5321-3.3-d: a reply that cannot be the answer ends the session.
func TestReplyOutOfPlace(t *testing.T) {
	for verb, test := range map[string]struct {
		reply string
		stage smtpclient.Stage
	}{
		"MAIL": {"354 what", smtpclient.StageMail}, "RCPT": {"334 what", smtpclient.StageRcpt},
		"DATA": {"250 what", smtpclient.StageData},
	} {
		s := relaytest.NewSink(t, "127.0.0.5:0")
		s.On(verb, relaytest.Action{Reply: test.reply})
		c := open(t, s, options())
		_, err := c.Send(t.Context(), message(t, "a@d.example"))
		failed(t, err, test.stage)
		if !errors.Is(err, smtpclient.ErrProtocol) || c.Reusable() {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func TestRSETRefused(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithLeniency()) // MAIL follows in the same group
	s.On("RSET", relaytest.Action{Reply: "502 what"})
	s.OnRcpt("a@d.example", "550 no")
	c := open(t, s, options())
	sent(t, c, message(t, "a@d.example"), "550")
	_, err := c.Send(t.Context(), message(t, "b@d.example"))
	if e := failed(t, err, smtpclient.StageReset); e.Reply.Code != 502 || c.Reusable() {
		t.Errorf("%v, reusable %v", err, c.Reusable())
	}
}

// A host that speaks out of turn is closing or out of step: nothing is sent
// whose reply could be mistaken.
func TestReplyWithoutCommand(t *testing.T) {
	for reply, code := range map[string]int{"421 4.4.2 idle": 421, "250 again": 0} {
		s := relaytest.NewSink(t, "127.0.0.5:0")
		s.On("DOT", relaytest.Action{Reply: "250 taken\n" + reply})
		c := open(t, s, options())
		sent(t, c, message(t, "a@d.example"), "250")
		_, err := c.Send(t.Context(), message(t, "b@d.example"))
		if e := failed(t, err, smtpclient.StageMail); e.Reply.Code != code || !errors.Is(err, smtpclient.ErrProtocol) {
			t.Errorf("after %q: %v", reply, err)
		}
		s.WaitIdle()
		if got := steps(s); got != "MAIL RCPT DATA CONTENT DOT" {
			t.Errorf("steps %s", got)
		}
	}
}

// The host closed an idle session: no reply, and nothing ambiguous.
func TestClosedWhileIdle(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	c := open(t, s, options())
	sent(t, c, message(t, "a@d.example"), "250")
	s.DropAll()
	s.WaitIdle()
	res, err := c.Send(t.Context(), message(t, "b@d.example"))
	if e := failed(t, err, smtpclient.StageMail); e.Reply.Code != 0 || res.Ambiguous || codes(res) != "0" {
		t.Errorf("%v, %+v", e, res)
	}
}

// closing is a host that says 421 and closes while we are about to write.
type closing struct{ yes }

func (c *closing) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, []byte("MAIL")) {
		return c.yes.Write(p)
	}
	c.out = []byte("421 4.3.2 closing\r\n")
	return 0, syscall.EPIPE
}

func TestLateReplyToTheEnvelope(t *testing.T) {
	c, err := smtpclient.New(t.Context(), &closing{yes{out: []byte("220 yes.example\r\n")}}, options())
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Send(t.Context(), message(t, "a@d.example"))
	if e := failed(t, err, smtpclient.StageMail); e.Reply.Code != 421 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v", err)
	}
}

// 9422-a: MAILMAX is kept to, and what nobody knows is passed over.
func TestLimitOfTransactions(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions("LIMITS MAILMAX=2 RCPTMAX=7 RCPTDOMAINMAX=x"))
	c := open(t, s, options())
	if e := c.Extensions(); e.MaxRecipients != 7 || e.MaxTransactions != 2 {
		t.Errorf("extensions %+v", e)
	}
	sent(t, c, message(t, "a@d.example"), "250")
	if !c.Reusable() {
		t.Error("not reusable after the first")
	}
	sent(t, c, message(t, "a@d.example"), "250")
	if c.Reusable() {
		t.Error("reusable after the second")
	}
	c.Quit()
	if got := steps(s); !strings.HasSuffix(got, " QUIT") {
		t.Errorf("steps %s", got)
	}
}

func TestCloseIsIdempotent(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	c := open(t, s, options())
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if c.Reusable() {
		t.Error("reusable")
	}
	c.Quit()
	s.WaitIdle()
	if got := steps(s); got != "" {
		t.Errorf("steps %s", got)
	}
	if _, err := c.Send(t.Context(), message(t, "a@d.example")); !errors.Is(err, smtpclient.ErrNotUsable) {
		t.Errorf("Send after Close: %v", err)
	}
}
