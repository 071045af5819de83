package smtpclient_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/relaytest"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// spoken are the commands that a sink heard, and an ellipsis where it waits for
// content.
func spoken(s *relaytest.Sink) string {
	var all []string
	for _, c := range s.Commands() {
		switch {
		case c.Verb == "CONTENT":
			all = append(all, "...")
		case c.Line != "":
			all = append(all, strings.TrimPrefix(c.Line, "MAIL FROM:<sender@relay.example>"))
		}
	}
	return strings.Join(all, "|")
}

// TestConformance has one row for each rule of what a client says, and in which
// order: a session with one message, or with two of the same. MAIL stands in it
// without its sender.
func TestConformance(t *testing.T) {
	rule := func(verb, reply string) relaytest.Rule {
		return relaytest.Rule{Verb: verb, Last: 1, Action: relaytest.Action{Reply: reply}}
	}
	everything := func(tx *smtpclient.Transaction) {
		tx.Size, tx.EightBit, tx.Return, tx.EnvelopeID, tx.Priority, tx.By = 0, false, "FULL", "x", 2, "60;N"
		tx.Recipients[0].Notify, tx.Recipients[0].OriginalRecipient = smtp.NotifyNever, "rfc822;a@d.example"
	}
	const one = "|RCPT TO:<a@d.example>|DATA|...|"
	for _, row := range []struct {
		name  string
		offer []string // besides PIPELINING
		rules []relaytest.Rule
		hello string
		to    string // default a@d.example
		edit  func(*smtpclient.Transaction)
		twice bool
		codes string // "" when it comes to no reply
		says  string
	}{
		{name: "5321-2.2.1-b 5321-4.1.4-g EHLO first, QUIT last", codes: "250", says: "EHLO relay.example|" + one + "QUIT"},
		{name: "5321-4.1.4-c 5321-2.3.5-a a literal for want of a name", hello: "[192.0.2.1]", codes: "250", says: "EHLO [192.0.2.1]|" + one + "QUIT"},
		{name: "5321-3.2-b EHLO is unknown", rules: []relaytest.Rule{rule("EHLO", "500 5.5.1 what")}, codes: "250", says: "EHLO relay.example|HELO relay.example|" + one + "QUIT"},
		{name: "5321-3.2-b EHLO is refused", rules: []relaytest.Rule{rule("EHLO", "550 5.7.1 no")}, codes: "250", says: "EHLO relay.example|HELO relay.example|" + one + "QUIT"},
		{name: "5321-4.1.1.1-a both are refused", rules: []relaytest.Rule{rule("EHLO", "502 no"), rule("HELO", "504 no")}, says: "EHLO relay.example|HELO relay.example|QUIT"},
		{name: "5321-3.3-d DATA is refused", rules: []relaytest.Rule{rule("DATA", "451 4.3.0 later")}, codes: "451", says: "EHLO relay.example||RCPT TO:<a@d.example>|DATA|QUIT"},
		{name: "5321-3.3-d DATA is answered by 250", rules: []relaytest.Rule{rule("DATA", "250 ok")}, says: "EHLO relay.example||RCPT TO:<a@d.example>|DATA"},
		{name: "5321-3.6.1-a 5321-2.4-a a source route, and capitals", to: "@x.example,@y.example:MiXed@d.example", codes: "250",
			says: "EHLO relay.example||RCPT TO:<MiXed@d.example>|DATA|...|QUIT"},
		{name: "5321-2.3.11-a signs of other routes", to: "y.example!a%x.example@d.example", codes: "250",
			says: "EHLO relay.example||RCPT TO:<y.example!a%x.example@d.example>|DATA|...|QUIT"},
		{name: "5321-4.1.2-b quotes that nobody needs", to: `"a.b"@d.example`, codes: "250", says: "EHLO relay.example||RCPT TO:<a.b@d.example>|DATA|...|QUIT"},
		{name: "5321-4.1.2-b quotes that are needed", to: `"a..b"@d.example`, codes: "250", says: `EHLO relay.example||RCPT TO:<"a..b"@d.example>|DATA|...|QUIT`},
		{name: "I-02 a parameter within quotes", to: `"x@evil.test> NOTIFY=NEVER"@d.example`, codes: "250",
			says: `EHLO relay.example||RCPT TO:<"x@evil.test> NOTIFY=NEVER"@d.example>|DATA|...|QUIT`},
		{name: "I-03 a parameter within quotes", to: `"foo@evil.test> ORCPT=rfc822;x"@d.example`, codes: "250",
			says: `EHLO relay.example||RCPT TO:<"foo@evil.test> ORCPT=rfc822;x"@d.example>|DATA|...|QUIT`},
		{name: "I-03 a quote within quotes", to: `"a\" b"@d.example`, codes: "250", says: `EHLO relay.example||RCPT TO:<"a\" b"@d.example>|DATA|...|QUIT`},
		{name: "I-03 a backslash", to: `"\\"@d.example`, codes: "250", says: `EHLO relay.example||RCPT TO:<"\\"@d.example>|DATA|...|QUIT`},
		{name: "I-03 a blank", to: `" "@d.example`, codes: "250", says: `EHLO relay.example||RCPT TO:<" "@d.example>|DATA|...|QUIT`},
		{name: "I-03 an at sign", to: `"@"@d.example`, codes: "250", says: `EHLO relay.example||RCPT TO:<"@"@d.example>|DATA|...|QUIT`},
		{name: "5321-4.1.1-a DATA, RSET and QUIT are bare", rules: []relaytest.Rule{rule("RCPT", "550 5.1.1 no")}, twice: true, codes: "550 250",
			says: "EHLO relay.example||RCPT TO:<a@d.example>|DATA|RSET|" + one + "QUIT"},
		{name: "5321-4.1.1.11-a 4954-5-a nothing is offered", edit: everything, codes: "250", says: "EHLO relay.example|" + one + "QUIT"},
		{name: "5321-4.1.1.11-a 4954-5-a all is offered", offer: []string{"DSN", "MT-PRIORITY", "DELIVERBY", "SIZE", "8BITMIME", "AUTH PLAIN", "REQUIRETLS", "SMTPUTF8"},
			edit: everything, codes: "250", says: "EHLO relay.example| MT-PRIORITY=2 BY=60;N RET=FULL ENVID=x|RCPT TO:<a@d.example> NOTIFY=NEVER ORCPT=rfc822;a@d.example|DATA|...|QUIT"},
		{name: "5321-4.2-b codes that nobody knows", rules: []relaytest.Rule{rule("CONNECT", "299 x"), rule("MAIL", "298 x"), rule("RCPT", "297 x"), rule("DATA", "399 x"), rule("DOT", "296 x")},
			codes: "296", says: "EHLO relay.example|" + one + "QUIT"},
		{name: "5321-4.2-b replies without text", rules: []relaytest.Rule{rule("CONNECT", "220"), rule("MAIL", "250"), rule("RCPT", "250"), rule("DATA", "354"), rule("DOT", "250"), rule("QUIT", "221")},
			codes: "250", says: "EHLO relay.example|" + one + "QUIT"},
		{name: "5321-4.2-b refusals that nobody knows", rules: []relaytest.Rule{rule("RCPT", "499 x")}, twice: true, codes: "499 250",
			says: "EHLO relay.example||RCPT TO:<a@d.example>|DATA|RSET|" + one + "QUIT"},
		{name: "5321-4.2-d replies of many lines", rules: []relaytest.Rule{rule("CONNECT", "220-x\n220-y\n220 z"), rule("MAIL", "250-x\n250"), rule("DOT", "554-5.6.0 a\n554 5.6.0 b")},
			codes: "554", says: "EHLO relay.example|" + one + "QUIT"},
		{name: "5321-4.2-d lines that differ", rules: []relaytest.Rule{rule("RCPT", "250-x\n550 y")}, says: "EHLO relay.example||RCPT TO:<a@d.example>|DATA|..."},
		{name: "1870-c the size is told", offer: []string{"SIZE 1000"}, codes: "250", says: "EHLO relay.example| SIZE=28" + one + "QUIT"},
		{name: "1870-d the size ends nothing", offer: []string{"SIZE"}, edit: func(tx *smtpclient.Transaction) { tx.Size = 3 }, codes: "250", says: "EHLO relay.example| SIZE=3" + one + "QUIT"},
		{name: "1870-d too large a size waits for nothing", offer: []string{"SIZE"}, edit: func(tx *smtpclient.Transaction) { tx.Size = 3000 }, codes: "250", says: "EHLO relay.example| SIZE=3000" + one + "QUIT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := relaytest.NewSink(t, "", relaytest.WithExtensions(append(row.offer, "PIPELINING")...))
				s.Add(row.rules...)
				o := options()
				if row.hello != "" {
					o.Hostname = row.hello
				}
				to := "a@d.example"
				if row.to != "" {
					to = row.to
				}
				var got []string
				c, err := smtpclient.New(t.Context(), s.Pipe(), o)
				times := 1
				if row.twice {
					times = 2
				}
				for n := 0; err == nil && n < times; n++ {
					tx := message(t, to)
					if row.edit != nil {
						row.edit(&tx)
					} else if row.offer == nil {
						tx.Size = 0
					}
					var res smtpclient.Result
					if res, err = c.Send(t.Context(), tx); err == nil {
						got = append(got, codes(res))
					}
				}
				if err == nil {
					c.Quit()
				}
				synctest.Wait()
				if got := strings.Join(got, " "); got != row.codes || (err == nil) != (row.codes != "") {
					t.Errorf("replies %q, want %q (%v)", got, row.codes, err)
				}
				if got := spoken(s); got != row.says {
					t.Errorf("the host heard\n%s, want\n%s", got, row.says)
				}
				const content = "Subject: test\r\n\r\n.hello\r\n.\r\n"
				for _, m := range s.Messages() {
					if string(m.Content) != content {
						t.Errorf("content %q", m.Content)
					}
				}
			})
		})
	}
}

// TestWaits: a client that may not write ahead writes nothing before each reply,
// and before the greeting (RFC 5321 §4.3.1). After QUIT it waits for the reply,
// and closes then (RFC 5321 §4.1.1.10).
//
// 5321-4.3.1-a 5321-4.1.1.10-a
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			c, err := smtpclient.New(t.Context(), ours, options())
			if err == nil {
				_, err = c.Send(t.Context(), message(t, "a@d.example", "b@d.example"))
				c.Quit()
			}
			ended <- err
		}()
		buffer := make([]byte, 4096)
		replies := []struct{ heard, reply string }{
			{"", "220 slow.example\r\n"}, {"EHLO ", "250 slow.example\r\n"}, {"MAIL ", "250 ok\r\n"}, {"RCPT ", "250 ok\r\n"}, {"RCPT ", "250 ok\r\n"},
			{"DATA\r\n", "354 go\r\n"}, {"Subject: ", "250 ok\r\n"}, {"QUIT\r\n", "221 bye\r\n"},
		}
		for _, step := range replies {
			if step.heard != "" {
				n, err := theirs.Read(buffer)
				if err != nil || !strings.HasPrefix(string(buffer[:n]), step.heard) {
					t.Fatalf("heard %q, %v, want %q", buffer[:n], err, step.heard)
				}
			}
			// Whatever it would write now stands in the pipe's way.
			if err := theirs.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err := theirs.Read(buffer); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("before %q it wrote %q, %v", step.reply, buffer[:n], err)
			}
			if err := theirs.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(theirs, step.reply); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := theirs.Read(buffer); err != io.EOF {
			t.Errorf("after QUIT it wrote %q, %v", buffer[:n], err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
