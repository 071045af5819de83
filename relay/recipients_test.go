package relay

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/configs"
	"waypost/metrics"
	"waypost/relay/control"
	"waypost/relay/relaytest"
	"waypost/resolver/dnstest"
)

// rcpt begins a transaction and returns the replies to its recipients.
func (s *service) rcpt(mail string, to ...string) (replies []string) {
	s.t.Helper()
	c := s.dial("127.0.0.3")
	defer c.Close()
	s.cmd(c, 250, "MAIL FROM:<s@a.example>%s", mail)
	for _, r := range to {
		if err := c.PrintfLine("RCPT TO:<%s>", r); err != nil {
			s.t.Fatal(err)
		}
		line, err := c.ReadLine()
		if err != nil {
			s.t.Fatal(err)
		}
		replies = append(replies, line)
	}
	return replies
}

// checkReplies compares the beginnings of replies.
func checkReplies(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("replies %q, want %q", got, want)
			return
		}
	}
}

// explained says what explain says of a recipient.
func (s *service) explained(to string, size int64) *control.ExplainedDecision {
	s.t.Helper()
	e, err := s.Explain(s.t.Context(), &control.Question{Client: "127.0.0.3", From: "s@a.example", Recipients: []string{to}, Size: size})
	if err != nil {
		s.t.Fatal(err)
	}
	return e.Recipients[0].Decision
}

// 5321-4.5.1-a: every domain has its postmaster.
//
// TestRecipientsFile: who is not in the file is refused, whoever asks, and the
// file counts as it is now.
func TestRecipientsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recipients")
	writeFile(t, file, "ann@ok.example\n@all.example\n")
	l := startReloadable(t, 1, func(c *configs.Config) {
		c.Relay.Networks, c.Relay.Domains, c.Relay.RecipientsFile = []string{"127.0.0.3"}, []string{"ok.example", "all.example"}, file
	})
	s := l.service
	ask := []string{"Ann@OK.example", "bob@ok.example", "x@all.example", "postmaster@ok.example", "x@else.example", "postmaster"}
	checkReplies(t, s.rcpt("", ask...), "250", "550 5.1.1", "250", "250", "250", "250")
	if d := s.explained("bob@ok.example", 0); d.Allowed || !strings.Contains(d.Reason, "recipients_file") || !strings.HasPrefix(d.Reply, "550 5.1.1") {
		t.Errorf("explained: %+v", d)
	}
	if n := testutil.ToFloat64(s.metrics.Refused.WithLabelValues(metrics.RefusedRecipient)); n != 1 {
		t.Errorf("%v recipients were counted as refused", n)
	}
	writeFile(t, file, "bob@ok.example\n")
	l.reload(func(*configs.Config) {})
	checkReplies(t, s.rcpt("", "bob@ok.example", "ann@ok.example"), "250", "550 5.1.1")
	writeFile(t, file, "this is no address\n")
	if _, err := l.Reload(); err == nil || !strings.Contains(err.Error(), "recipients_file") {
		t.Errorf("reload with a bad file: %v", err)
	}
	checkReplies(t, s.rcpt("", "bob@ok.example", "ann@ok.example"), "250", "550 5.1.1")
}

// TestRecipientsAreVerified: the next hop's answer is the client's, and no report
// is born. What was found out outlives a reload; how an unknown is treated does not.
func TestRecipientsAreVerified(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithExtensions("PIPELINING"))
	sink.OnRcpt("no@ok.example", "550 5.1.1 secret reason")
	sink.OnRcpt("busy@ok.example", "451 4.3.0 secret reason")
	l := startReloadable(t, 1, func(c *configs.Config) {
		c.Relay.Networks, c.Relay.Domains, c.Relay.VerifyRecipients = []string{"127.0.0.2"}, []string{"ok.example", "down.example"}, true
		c.Routes = []configs.Route{
			{To: "ok.example", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone},
			{To: "down.example", Via: configs.Legs("smtp://127.0.0.1:1"), TLS: configs.TLSNone},
		}
	})
	s := l.service
	replies := s.rcpt("", "yes@ok.example", "no@ok.example", "busy@ok.example", "x@down.example", "NO@ok.example")
	checkReplies(t, replies, "250", "550 5.1.1", "250", "250", "550 5.1.1")
	for _, line := range replies {
		if strings.Contains(line, "secret") {
			t.Errorf("the client was told %q", line)
		}
	}
	if d := s.explained("no@ok.example", 0); d.Allowed || !strings.Contains(d.Reason, "secret reason") {
		t.Errorf("explained: %+v", d)
	}
	if d := s.explained("other@ok.example", 0); !d.Allowed || !strings.Contains(d.Reason, "would be asked") {
		t.Errorf("explained: %+v", d)
	}
	asked := count(sink, "RCPT")
	l.reload(func(c *configs.Config) { c.Relay.VerifyFailure = configs.VerifyDefer })
	checkReplies(t, s.rcpt("", "yes@ok.example", "no@ok.example", "busy@ok.example", "x@down.example"), "250", "550 5.1.1", "450 4.1.1", "450 4.1.1")
	if n := count(sink, "RCPT"); n != asked || asked != 3 {
		t.Errorf("the next hop was asked %d times, and then %d", asked, n)
	}
	verified := func(source, result string) float64 {
		return testutil.ToFloat64(s.metrics.Verifications.WithLabelValues(source, result))
	}
	if verified(metrics.VerifiedAsked, metrics.VerifiedExists) != 1 || verified(metrics.VerifiedAsked, metrics.VerifiedMissing) != 1 ||
		verified(metrics.VerifiedAsked, metrics.VerifiedUnknown) != 2 || verified(metrics.VerifiedRemembered, metrics.VerifiedMissing) != 2 {
		t.Error("the verifications were not counted")
	}
	if sink.Count() != 0 {
		t.Errorf("%d messages were sent", sink.Count())
	}
}

// 7505-b D-03: 556 for a domain without mail, 550 for one that is not there.
//
// TestUndeliverableIsRefused: what DNS and the next hop's limits say is said to the
// client, where it is certain.
func TestUndeliverableIsRefused(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.7:0", relaytest.WithExtensions("SIZE 2000"))
	s := start(t, sink.Port(), func(c *configs.Config) {
		c.Relay.Networks, c.Relay.RefuseUndeliverable = []string{"127.0.0.0/8"}, true
	})
	s.dns.Add("null.example. 60 IN MX 0 .", "here.example. 60 IN MX 10 mx.here.example.", "mx.here.example. 60 IN A 127.0.0.7")
	s.dns.Set("broken.example.", dnstest.Behaviour{Rcode: dns.RcodeServerFailure})
	ask := []string{"r@here.example", "r@null.example", "r@gone.example", "r@broken.example", "r@[127.0.0.7]"}
	checkReplies(t, s.rcpt(" SIZE=2001", ask...), "250", "556 5.1.10", "550 5.1.2", "250", "250")
	s.send("s@a.example", "Subject: x\r\n\r\nx\r\n", "r@here.example")
	sink.Wait(1)
	checkReplies(t, s.rcpt(" SIZE=2001", "r@here.example"), "552 5.3.4")
	checkReplies(t, s.rcpt(" SIZE=2000", "r@here.example"), "250")
	checkReplies(t, s.rcpt("", "r@here.example"), "250")
	c := s.dial("127.0.0.3")
	s.cmd(c, 550, "MAIL FROM:<s@null.example>")
	s.cmd(c, 250, "MAIL FROM:<s@gone.example>")
	if e, err := s.Explain(t.Context(), &control.Question{Client: "127.0.0.3", From: "s@null.example", Recipients: []string{"r@here.example"}}); err != nil || !strings.HasPrefix(e.Decision.Reply, "550 5.7.27") {
		t.Errorf("explained: %+v, %v", e, err)
	}
	if d := s.explained("r@null.example", 0); d.Allowed || !strings.HasPrefix(d.Reply, "556 5.1.10") {
		t.Errorf("explained: %+v", d)
	}
	if d := s.explained("r@here.example", 2001); d.Allowed || !strings.HasPrefix(d.Reply, "552 5.3.4") {
		t.Errorf("explained: %+v", d)
	}
}
