package outbound

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/smtp"
)

// TestEachRecipientHasItsReply: one transaction, one result for each open
// recipient in their order; who is done already is not sent to again.
//
// 3461-5.2.1-a 3463-a
func TestEachRecipientHasItsReply(t *testing.T) {
	m, _ := message(t, queue.Envelope{EnvelopeID: "a+b=c", Return: "HDRS"}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.OnRcpt("later@b.example", "450 4.2.1 busy")
		s.OnRcpt("never@b.example", "550 5.1.1 no such user")
		s.OnRcpt("odd@b.example", "550 2.1.5 the code says yes")
		o := start(t, n, two(), nil)
		out := deliverTo(t, t.Context(), o, m,
			queue.Recipient{Path: path("done@b.example"), State: queue.Delivered},
			queue.Recipient{Path: path("later@b.example"), State: queue.Deferred},
			queue.Recipient{Path: path("good@b.example"), Notify: smtp.NotifySuccess | smtp.NotifyDelay, OriginalRecipient: "rfc822;g+2B1@c.example"},
			queue.Recipient{Path: path("never@b.example")},
			queue.Recipient{Path: path("odd@b.example")},
		)
		want(t, out.Results[0], queue.Deferred, "4.2.1", "450 4.2.1 busy")
		want(t, out.Results[1], queue.Delivered, "2.0.0", "250")
		want(t, out.Results[2], queue.Failed, "5.1.1", "550 5.1.1 no such user")
		want(t, out.Results[3], queue.Failed, "5.0.0", "550")
		if !out.Results[1].Reported || out.Results[0].Reported || out.Results[2].Reported {
			t.Errorf("duty to report: %+v", out.Results)
		}
		got := s.Messages()[0]
		if !strings.HasSuffix(got.MailLine, " RET=HDRS ENVID=a+2Bb+3Dc") || len(got.To) != 1 ||
			!strings.HasSuffix(got.RcptLines[0], "> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;g+2B1@c.example") {
			t.Errorf("%s, %v", got.MailLine, got.RcptLines)
		}
		if string(got.Content) != short {
			t.Errorf("content %q", got.Content)
		}
	})
}

// TestAmbiguousEnd: a host that went away after the dot may have the message
// (RFC 1047), so no other host gets it now.
//
// 1047-a
func TestAmbiguousEnd(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.OnRcpt("never@b.example", "550 5.1.1 no such user")
		s.On("DOT", relaytest.Action{Silent: true, Store: true, Drop: true})
		next := n.sink(t, "192.0.2.2")
		o := start(t, n, two(), nil)
		out := deliver(t, t.Context(), o, m, "r@b.example", "never@b.example")
		want(t, out.Results[0], queue.Deferred, "4.4.2", "dot")
		want(t, out.Results[1], queue.Failed, "5.1.1", "no such user")
		if out.Unreachable || next.Connections() != 0 || testutil.ToFloat64(o.Metrics.AmbiguousEnds) != 1 {
			t.Errorf("unreachable %v, %d connections to the next host, %v ambiguous ends", out.Unreachable,
				next.Connections(), testutil.ToFloat64(o.Metrics.AmbiguousEnds))
		}
	})
}

// TestLostBeforeTheDot: a host that goes away earlier has nothing, so the next
// one gets the message.
func TestLostBeforeTheDot(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short+strings.Repeat("another line of seventy octets or so, to fill more than one block ...\r\n", 3000))
	for name, rule := range map[string]relaytest.Rule{
		"5321-3.8-c at MAIL":            {Verb: "MAIL", Action: relaytest.Action{Silent: true, Drop: true}},
		"5321-3.8-c 421 at MAIL":        {Verb: "MAIL", Action: relaytest.Action{Reply: "421 4.3.2 shutting down", Drop: true}},
		"at RCPT":                       {Verb: "RCPT", Action: relaytest.Action{Silent: true, Drop: true}},
		"at DATA":                       {Verb: "DATA", Action: relaytest.Action{Silent: true, Drop: true}},
		"5321-3.8-c within the content": {Verb: "CONTENT", Action: relaytest.Action{After: 100_000, Drop: true}},
		"421 to the dot":                {Verb: "DOT", Action: relaytest.Action{Reply: "421 4.3.2 shutting down", Drop: true}},
		"no SMTP":                       {Verb: "CONNECT", Action: relaytest.Action{Raw: "HTTP/1.1 400 Bad Request\r\n", Drop: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				n.sink(t, "192.0.2.1").Add(rule)
				next := n.sink(t, "192.0.2.2")
				o := start(t, n, two(), nil)
				delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
				if next.Count() != 1 || int64(len(next.Messages()[0].Content)) != m.Size {
					t.Errorf("%d messages came", next.Count())
				}
				if n := testutil.ToFloat64(o.Metrics.AmbiguousEnds); n != 0 {
					t.Errorf("%v ambiguous ends", n)
				}
			})
		})
	}
}

// TestLostBetweenRecipients: what a host has said about a recipient stands,
// though the session is lost before it spoke of the next one.
//
// 5321-3.8-c
func TestLostBetweenRecipients(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.OnRcpt("never@b.example", "550 5.1.1 no such user")
		s.Add(relaytest.Rule{Verb: "RCPT", Mailbox: "r@b.example", Action: relaytest.Action{Silent: true, Drop: true}})
		o := start(t, n, two(), nil)
		out := deliver(t, t.Context(), o, m, "never@b.example", "r@b.example")
		want(t, out.Results[0], queue.Failed, "5.1.1", "no such user")
		want(t, out.Results[1], queue.Deferred, "4.4.2", "rcpt")
		if out.Unreachable || testutil.ToFloat64(o.Metrics.AmbiguousEnds) != 0 {
			t.Error("a host that spoke is called unreachable, or its end ambiguous")
		}
	})
}

// TestDamagedContent: a message that cannot be read waits for repair, and the
// connection is good for the next.
func TestDamagedContent(t *testing.T) {
	big := short + strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 4000)
	lost, dir := message(t, queue.Envelope{}, big)
	bad, badDir := message(t, queue.Envelope{}, big)
	good, _ := message(t, queue.Envelope{}, short)
	if err := os.Remove(contentFile(t, dir, lost)); err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(big, "Hello", "Jello", 1)
	if err := os.WriteFile(contentFile(t, badDir, bad), []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, two(), nil)
		want(t, deliver(t, t.Context(), o, lost, "r@b.example").Results[0], queue.Deferred, "4.3.0", "damaged")
		delivered(t, deliver(t, t.Context(), o, good, "r@b.example"))
		want(t, deliver(t, t.Context(), o, bad, "r@b.example").Results[0], queue.Deferred, "4.3.0", "damaged")
		if s.Count() != 1 || s.Connections() != 1 {
			t.Errorf("%d messages over %d connections", s.Count(), s.Connections())
		}
	})
}

// contentFile finds the file that holds a message's content.
func contentFile(t *testing.T, dir string, m *queue.Message) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", m.ID.String()))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of the content: %v, %v", files, err)
	}
	return files[0]
}
