package smtpclient_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"waypost/relay/relaytest"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// TestManyRecipients: thousands of recipients in one transaction, in groups that
// the buffers between two hosts hold.
//
// 2920-3.1-c
func TestManyRecipients(t *testing.T) {
	const n = 5000
	for _, extensions := range []string{"PIPELINING", plainExtensions} {
		s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(extensions))
		s.OnRcpt("user777@d.example", "550 no")
		conn := dial(t, s)
		c, err := smtpclient.New(t.Context(), conn, options())
		if err != nil {
			t.Fatal(err)
		}
		conn.writes.Store(0)
		tx := message(t)
		for i := range n {
			tx.Recipients = append(tx.Recipients, smtpclient.Recipient{Path: smtp.Path{Local: fmt.Sprint("user", i), Domain: "d.example"}})
		}
		res, err := c.Send(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range res.Recipients {
			if want := map[bool]int{true: 550, false: 250}[i == 777]; r.Code != want {
				t.Fatalf("recipient %d: %v", i, r)
			}
		}
		if m := s.Wait(1)[0]; len(m.To) != n-1 {
			t.Errorf("%d recipients arrived", len(m.To))
		}
		if w := int(conn.writes.Load()); extensions == "PIPELINING" && w > 20 || extensions != "PIPELINING" && w != n+3 {
			t.Errorf("%d writes with %s", w, extensions)
		}
		c.Quit()
	}
}

func TestParameters(t *testing.T) {
	tx := func(t *testing.T) smtpclient.Transaction {
		tx := message(t, `"a b"@d.example`)
		tx.Return, tx.EnvelopeID = "HDRS", "QQ+3Dx"
		tx.Recipients[0].Notify = smtp.NotifySuccess | smtp.NotifyDelay
		tx.Recipients[0].OriginalRecipient = "RFC822;A+2Bb@x.example"
		return tx
	}
	for _, test := range []struct {
		name       string
		extensions []string
		change     func(*smtpclient.Transaction)
		mail, rcpt string
	}{
		{"5321-4.1.1.11-a none", []string{"HELP"}, nil, "<sender@relay.example>", `<"a b"@d.example>`},
		{
			"3461-5.2.1-a DSN", []string{"dsn"}, nil,
			"<sender@relay.example> RET=HDRS ENVID=QQ+3Dx", `<"a b"@d.example> NOTIFY=SUCCESS,DELAY ORCPT=RFC822;A+2Bb@x.example`,
		},
		{"1870-c SIZE", []string{"size 5000"}, nil, "<sender@relay.example> SIZE=28", `<"a b"@d.example>`},
		{"SIZE unknown", []string{"SIZE"}, func(tx *smtpclient.Transaction) { tx.Size = 0 }, "<sender@relay.example>", `<"a b"@d.example>`},
		{
			"8BITMIME", []string{"8bitMIME"}, func(tx *smtpclient.Transaction) { tx.EightBit = true },
			"<sender@relay.example> BODY=8BITMIME", `<"a b"@d.example>`,
		},
		{"8BITMIME not needed", []string{"8BITMIME"}, nil, "<sender@relay.example>", `<"a b"@d.example>`},
		{
			"SMTPUTF8", []string{"SmtpUtf8", "8BITMIME"}, func(tx *smtpclient.Transaction) { tx.UTF8 = true },
			"<sender@relay.example> SMTPUTF8", `<"a b"@d.example>`,
		},
		{
			"path is not ASCII", []string{"SMTPUTF8"}, func(tx *smtpclient.Transaction) { tx.Recipients[0].Path.Local = "é" },
			"<sender@relay.example> SMTPUTF8", `<é@d.example>`,
		},
		{"null path", []string{"X"}, func(tx *smtpclient.Transaction) { tx.ReversePath = smtp.Path{} }, "<>", `<"a b"@d.example>`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(test.extensions...))
			tx := tx(t)
			if test.change != nil {
				test.change(&tx)
			}
			sent(t, open(t, s, options()), tx, "250")
			m := s.Wait(1)[0]
			if got := strings.TrimPrefix(m.MailLine, "MAIL FROM:"); got != test.mail {
				t.Errorf("MAIL %s, want %s", got, test.mail)
			}
			if got := strings.TrimPrefix(m.RcptLines[0], "RCPT TO:"); got != test.rcpt {
				t.Errorf("RCPT %s, want %s", got, test.rcpt)
			}
		})
	}
}

// What a host cannot take is refused here, and the host hears nothing.
func TestLocalRefusals(t *testing.T) {
	for _, test := range []struct {
		name       string
		extensions string
		change     func(*smtpclient.Transaction)
		code       int
		enhanced   smtp.EnhancedCode
	}{
		{"1870-c size", "SIZE 27", func(*smtpclient.Transaction) {}, 552, smtp.EnhancedCode{5, 3, 4}},
		{"6152-b 8-bit", "SIZE", func(tx *smtpclient.Transaction) { tx.EightBit = true }, 554, smtp.EnhancedCode{5, 6, 3}},
		{"6531-c UTF-8", "8BITMIME", func(tx *smtpclient.Transaction) { tx.UTF8 = true }, 553, smtp.EnhancedCode{5, 6, 7}},
		{
			"reverse-path", "8BITMIME", func(tx *smtpclient.Transaction) { tx.ReversePath.Local = "é" }, 553,
			smtp.EnhancedCode{5, 6, 7},
		},
		{
			"ORCPT", "8BITMIME", func(tx *smtpclient.Transaction) { tx.Recipients[1].OriginalRecipient = "utf-8;é@x" }, 553,
			smtp.EnhancedCode{5, 6, 7},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(test.extensions))
			c := open(t, s, options())
			tx := message(t, "a@d.example", "b@d.example")
			test.change(&tx)
			res := sent(t, c, tx, fmt.Sprintf("%d %[1]d", test.code))
			if !res.Local || res.Recipients[1].Enhanced != test.enhanced || !res.Recipients[0].Permanent() {
				t.Errorf("result %+v", res)
			}
			if !c.Reusable() || steps(s) != "" {
				t.Errorf("reusable %v, steps %q", c.Reusable(), steps(s))
			}
		})
	}
}

// An envelope that would write other commands than its own is not written.
//
// I-02: the last gate, behind the parser.
func TestInjection(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	c := open(t, s, options())
	for name, change := range map[string]func(*smtpclient.Transaction){
		"local part":   func(tx *smtpclient.Transaction) { tx.Recipients[0].Path.Local = "a\r\nRSET" },
		"domain":       func(tx *smtpclient.Transaction) { tx.Recipients[0].Path.Domain = "b> NOTIFY=NEVER <c" },
		"end of path":  func(tx *smtpclient.Transaction) { tx.Recipients[0].Path.Domain = "b>" },
		"null path":    func(tx *smtpclient.Transaction) { tx.Recipients[0].Path = smtp.Path{} },
		"reverse-path": func(tx *smtpclient.Transaction) { tx.ReversePath.Local = "a\x00" },
		"RET":          func(tx *smtpclient.Transaction) { tx.Return = "FULL BODY=8BITMIME" },
		"ENVID":        func(tx *smtpclient.Transaction) { tx.EnvelopeID = "a\nb" },
		"ORCPT":        func(tx *smtpclient.Transaction) { tx.Recipients[0].OriginalRecipient = "rfc822;a NOTIFY=NEVER" },
		"no content":   func(tx *smtpclient.Transaction) { tx.Content = nil },
		"no recipient": func(tx *smtpclient.Transaction) { tx.Recipients = nil },
	} {
		tx := message(t, "a@d.example")
		change(&tx)
		_, err := c.Send(t.Context(), tx)
		e := failed(t, err, smtpclient.StageMail)
		if e.Scope != smtpclient.ScopeTransaction || !errors.Is(err, smtpclient.ErrEnvelope) || !c.Reusable() {
			t.Errorf("%s: %v, reusable %v", name, err, c.Reusable())
		}
	}
	if steps(s) != "" {
		t.Errorf("the host heard %s", steps(s))
	}
	sent(t, c, message(t, "a@d.example"), "250")
}
