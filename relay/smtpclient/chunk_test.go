package smtpclient_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

func chunking(more ...string) relaytest.SinkOption {
	return relaytest.WithExtensions(append([]string{"PIPELINING", "CHUNKING", "8BITMIME"}, more...)...)
}

// A small message is one write, and so one round trip; a large one goes after
// the replies to its envelope.
func TestChunkedWrites(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", chunking())
	conn := dial(t, s)
	c, err := smtpclient.New(t.Context(), conn, options())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ size, writes int }{{5000, 1}, {30_000, 1}, {33_000, 3}, {1_000_000, 33}} {
		content := letter(row.size)
		for range 2 {
			conn.writes.Store(0)
			tx := message(t, "a@d.example", "b@d.example")
			tx.Content, tx.Size = iotest.HalfReader(bytes.NewReader(content)), int64(len(content))
			sent(t, c, tx, "250 250")
			if n := int(conn.writes.Load()); n > row.writes || row.writes == 1 && n != 1 {
				t.Errorf("%d octets: %d writes, want %d", row.size, n, row.writes)
			}
			all := s.Messages()
			if m := all[len(all)-1]; !m.Chunked || len(m.To) != 2 || !bytes.Equal(m.Content, content) {
				t.Errorf("%d octets: %d came, chunked %v", row.size, len(m.Content), m.Chunked)
			}
		}
	}
	c.Quit()
	s.WaitIdle()
}

// Each row is a host that refuses something of a message that is already on
// its way, and then takes an ordinary one in the same session.
func TestChunkedOutcomes(t *testing.T) {
	rule := func(verb, mailbox, text string) relaytest.Rule {
		return relaytest.Rule{Verb: verb, Mailbox: mailbox, Last: 1, Action: relaytest.Action{Reply: text}}
	}
	for _, test := range []struct {
		name  string
		rules []relaytest.Rule
		want  string
		steps string // of the next transaction
	}{
		{"all taken", nil, "250 250", "MAIL RCPT CONTENT BDAT DOT"},
		{"one refused", []relaytest.Rule{rule("RCPT", "b@d.example", "550 5.1.1 no")}, "250 550", "MAIL RCPT CONTENT BDAT DOT"},
		{"both refused", []relaytest.Rule{rule("RCPT", "a@d.example", "450 4.1.1 no"), rule("RCPT", "b@d.example", "550 5.1.1 no")},
			"450 550", "RSET MAIL RCPT CONTENT BDAT DOT"},
		{"MAIL refused", []relaytest.Rule{rule("MAIL", "", "451 4.3.0 no")}, "451 451", "MAIL RCPT CONTENT BDAT DOT"},
		{"content refused", []relaytest.Rule{rule("DOT", "", "554 5.6.0 no")}, "554 554", "RSET MAIL RCPT CONTENT BDAT DOT"},
		{"3030-e chunk refused", []relaytest.Rule{rule("BDAT", "", "552 5.3.4 no")}, "552 552", "RSET MAIL RCPT CONTENT BDAT DOT"},
	} {
		for _, size := range []int{2000, 100_000} {
			if test.name == "3030-e chunk refused" && size == 2000 {
				continue // its only chunk is the last one
			}
			t.Run(test.name, func(t *testing.T) {
				s := relaytest.NewSink(t, "127.0.0.5:0", chunking())
				s.Add(test.rules...)
				c := open(t, s, options())
				content := letter(size)
				tx := message(t, "a@d.example", "b@d.example")
				tx.Content, tx.Size = bytes.NewReader(content), int64(len(content))
				sent(t, c, tx, test.want)
				before := len(s.Commands())
				sent(t, c, message(t, "c@d.example"), "250")
				var verbs []string
				for _, c := range s.Commands()[before:] {
					verbs = append(verbs, c.Verb)
				}
				if got := strings.Join(verbs, " "); got != test.steps {
					t.Errorf("then %s, want %s", got, test.steps)
				}
			})
		}
	}
}

// By LMTP the last chunk has a reply for each recipient.
//
// 2033-a
func TestChunkedLMTP(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", chunking(), relaytest.WithLMTP())
	s.OnRcpt("b@d.example", "550 5.1.1 no")
	s.Add(relaytest.Rule{Verb: "DOT", Mailbox: "c@d.example", Action: relaytest.Action{Reply: "452 4.2.2 full"}})
	o := options()
	o.LMTP = true
	c := open(t, s, o)
	for range 2 {
		sent(t, c, message(t, "a@d.example", "b@d.example", "c@d.example"), "250 550 452")
	}
	s.OnRcpt("x@d.example", "550 5.1.1 no")
	sent(t, c, message(t, "x@d.example"), "550")
	sent(t, c, message(t, "a@d.example"), "250")
}

// What cannot be sent whole is not sent: the host never sees the chunk's end.
func TestChunkedBadContent(t *testing.T) {
	for name, test := range map[string]struct {
		content io.Reader
		length  int64
		cause   error
	}{
		"3030-e bare LF": {strings.NewReader("a: b\r\n\r\nx\ny\r\n"), 13, smtpclient.ErrBareLineEnd},
		"3030-e bare CR": {strings.NewReader("a: b\r\n\r\nx\ry\r\n"), 13, smtpclient.ErrBareLineEnd},
		"CR at last":     {strings.NewReader("a: b\r\n\r\nx\r"), 10, smtpclient.ErrBareLineEnd},
		"too short":      {strings.NewReader("a: b\r\n"), 7, nil},
		"too long":       {strings.NewReader("a: b\r\n"), 5, nil},
		"unreadable":     {io.MultiReader(bytes.NewReader(letter(1000)), iotest.ErrReader(io.ErrNoProgress)), 2000, io.ErrNoProgress},
		"late bare LF":   {strings.NewReader(string(letter(100_000)) + "x\n"), int64(len(letter(100_000))) + 2, smtpclient.ErrBareLineEnd},
		"late CR":        {strings.NewReader(string(letter(100_000)) + "x\r"), int64(len(letter(100_000))) + 2, smtpclient.ErrBareLineEnd},
		"late and short": {bytes.NewReader(letter(100_000)), int64(len(letter(100_000))) + 1, nil},
		"late and long":  {bytes.NewReader(letter(100_000)), int64(len(letter(100_000))) - 1, nil},
		"late unreadable": {io.MultiReader(bytes.NewReader(letter(100_000)), iotest.ErrReader(io.ErrNoProgress)),
			int64(len(letter(100_000))), io.ErrNoProgress},
	} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0", chunking())
			c := open(t, s, options())
			tx := message(t, "a@d.example")
			tx.Content, tx.Size = test.content, test.length
			res, err := c.Send(t.Context(), tx)
			e := failed(t, err, smtpclient.StageContent)
			if test.cause != nil && !errors.Is(err, test.cause) || e.Scope != smtpclient.ScopeTransaction || c.Reusable() || res.Ambiguous {
				t.Errorf("%v, scope %v, reusable %v, %+v", err, e.Scope, c.Reusable(), res)
			}
			s.WaitIdle()
			if s.Count() != 0 {
				t.Error("a message arrived")
			}
		})
	}
}

// When the connection is lost after all was written the host may have the
// message, unless it said no to it first.
func TestChunkedAmbiguity(t *testing.T) {
	drop := relaytest.Action{Silent: true, Drop: true}
	for _, test := range []struct {
		name      string
		rule      relaytest.Rule
		ambiguous bool
	}{
		{"at MAIL", relaytest.Rule{Verb: "MAIL", Action: drop}, true},
		{"at RCPT", relaytest.Rule{Verb: "RCPT", Action: drop}, true},
		{"at the end", relaytest.Rule{Verb: "DOT", Action: drop}, true},
		{"421 to MAIL", relaytest.Rule{Verb: "MAIL", Action: relaytest.Action{Reply: "421 4.3.2 bye", Drop: true}}, false},
		{"421 at the end", relaytest.Rule{Verb: "DOT", Action: relaytest.Action{Reply: "421 4.3.2 bye", Drop: true}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := relaytest.NewSink(t, "", chunking())
				s.Add(test.rule)
				c, err := smtpclient.New(t.Context(), s.Pipe(), options())
				if err != nil {
					t.Fatal(err)
				}
				res, err := c.Send(t.Context(), message(t, "a@d.example"))
				if err == nil || res.Ambiguous != test.ambiguous || codes(res) != "0" {
					t.Errorf("%v, ambiguous %v, replies %s", err, res.Ambiguous, codes(res))
				}
			})
		})
	}
}

// A host that may have hung up meanwhile is asked first: a lost connection then
// says that it has nothing.
func TestChunkedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.NewSink(t, "", chunking())
		c, err := smtpclient.New(t.Context(), s.Pipe(), options())
		if err != nil {
			t.Fatal(err)
		}
		sent(t, c, message(t, "a@d.example"), "250")
		time.Sleep(time.Minute)
		sent(t, c, message(t, "a@d.example"), "250")
		time.Sleep(time.Minute)
		s.DropAll()
		res, err := c.Send(t.Context(), message(t, "a@d.example"))
		if err == nil || res.Ambiguous {
			t.Errorf("%v, ambiguous %v", err, res.Ambiguous)
		}
	})
}

// Binary content goes only where it is taken, and as it is.
//
// 3030-f
func TestBinaryContent(t *testing.T) {
	content := "Content-Transfer-Encoding: binary\r\n\r\na\nb\rc\x00\xff" + strings.Repeat("x", 3000)
	for _, row := range []struct {
		offers []string
		want   string
	}{
		{[]string{"CHUNKING", "BINARYMIME", "8BITMIME", "PIPELINING"}, "250"}, {[]string{"CHUNKING", "BINARYMIME", "8BITMIME"}, "250"},
		{[]string{"BINARYMIME"}, "554"}, {[]string{"CHUNKING", "8BITMIME"}, "554"},
	} {
		s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(row.offers...))
		c := open(t, s, options())
		tx := message(t, "a@d.example")
		tx.Binary, tx.EightBit, tx.Size, tx.Content = true, true, int64(len(content)), strings.NewReader(content)
		res := sent(t, c, tx, row.want)
		if row.want != "250" {
			if !res.Local || res.Recipients[0].Enhanced.String() != "5.6.3" {
				t.Errorf("%+v", res)
			}
			continue
		}
		if m := s.Wait(1)[0]; string(m.Content) != content || !strings.Contains(m.MailLine, " BODY=BINARYMIME") {
			t.Errorf("%d octets by %s", len(m.Content), m.MailLine)
		}
	}
}

// Parameters are passed on where they are offered, and nowhere else.
//
// 6710-a 2852-b
func TestMoreParameters(t *testing.T) {
	for _, row := range []struct{ offer, want string }{
		{"MT-PRIORITY MIXER", " MT-PRIORITY=-3"}, {"DELIVERBY 60", " BY=120;RT"}, {"PIPELINING", ""},
	} {
		s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions(row.offer))
		c := open(t, s, options())
		tx := message(t, "a@d.example")
		tx.Priority, tx.By = -3, "120;RT"
		sent(t, c, tx, "250")
		if got := s.Wait(1)[0].MailLine; got != "MAIL FROM:<sender@relay.example>"+row.want {
			t.Errorf("%s: %s", row.offer, got)
		}
		if by := c.Extensions().MinDeliverBy; by != 0 && by != time.Minute {
			t.Errorf("least time %v", by)
		}
	}
}

// TestRequireTLS: such mail goes to hosts that promise to keep to it.
//
// 8689-b P-22
func TestRequireTLS(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions("REQUIRETLS"))
	c := open(t, s, options())
	tx := message(t, "a@d.example")
	tx.RequireTLS = true
	sent(t, c, tx, "250")
	if got := s.Wait(1)[0].MailLine; !strings.HasSuffix(got, " REQUIRETLS") {
		t.Error(got)
	}
	without := relaytest.NewSink(t, "127.0.0.5:0")
	tx = message(t, "a@d.example")
	tx.RequireTLS = true
	if res := sent(t, open(t, without, options()), tx, "550"); !res.Local || res.Recipients[0].Enhanced.String() != "5.7.30" {
		t.Errorf("%+v", res)
	}
}

// A host that hung up is found out before the content is sent to it, however
// short a time ago it spoke.
func TestChunkedAfterHangingUp(t *testing.T) {
	ca := relaytest.NewCA(t)
	for name, option := range map[string]relaytest.SinkOption{"in clear": chunking(), "TLS": relaytest.WithCertificate(ca.Leaf("sink.example"))} {
		s := relaytest.NewSink(t, "127.0.0.5:0", chunking(), option)
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		o := options()
		o.TLS = clientTLS(ca)
		c, err := smtpclient.New(t.Context(), conn, o)
		if err != nil {
			t.Fatal(err)
		}
		sent(t, c, message(t, "a@d.example"), "250")
		s.DropAll()
		s.WaitIdle()
		res, err := c.Send(t.Context(), message(t, "a@d.example"))
		if err == nil || res.Ambiguous {
			t.Errorf("%s: %v, ambiguous %v", name, err, res.Ambiguous)
		}
	}
}

// A host that takes the end of the connection for the end of a chunk must not
// believe that it has the message.
func TestChunkCutOff(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", chunking())
	c := open(t, s, options())
	content := letter(200_000)
	tx := message(t, "a@d.example")
	tx.Size, tx.Content = int64(len(content)), io.MultiReader(bytes.NewReader(content[:100_000]), iotest.ErrReader(io.ErrNoProgress))
	if _, err := c.Send(t.Context(), tx); err == nil {
		t.Fatal("no error")
	}
	sent := false
	for _, command := range s.Commands() {
		sent = sent || strings.HasSuffix(command.Line, " LAST")
	}
	if sent {
		t.Error("the last chunk was announced before its octets were there")
	}
}
