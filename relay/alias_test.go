package relay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

const aliasesText = `root: admin@b.example
postmaster: root
staff: ann@b.example, bob@b.example
one@ok.example: ann@b.example
list: ann@b.example, gone@b.example
owner-list: admin@b.example
`

// startAliases runs a relay with aliases; everything goes to the sink.
func startAliases(t *testing.T, edit func(*configs.Config)) (*service, *relaytest.Sink) {
	t.Helper()
	sink := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithExtensions("DSN", "PIPELINING"))
	sink.OnRcpt("gone@b.example", "550 5.1.1 no such user")
	file := filepath.Join(t.TempDir(), "aliases")
	if err := os.WriteFile(file, []byte(aliasesText), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, 1, func(c *configs.Config) {
		c.Relay.AliasesFile = file
		c.Relay.Networks, c.Relay.Domains = []string{"127.0.0.1"}, []string{"ok.example"}
		c.Routes = []configs.Route{{To: "b.example", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}, {To: "a.example", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
		if edit != nil {
			edit(c)
		}
	})
	return s, sink
}

// transact sends a message by commands of one's own.
func (s *service) transact(mail string, rcpts ...string) {
	s.t.Helper()
	c := s.dial("127.0.0.1")
	s.cmd(c, 250, "MAIL FROM:%s", mail)
	for _, r := range rcpts {
		s.cmd(c, 250, "RCPT TO:%s", r)
	}
	s.cmd(c, 354, "DATA")
	s.cmd(c, 250, "%s.", transacted)
}

// transacted is the content of a message by transact.
const transacted = "From: s@a.example\r\nSubject: hello\r\n\r\nHello.\r\n"

// sentTo returns what a sink got, as the MAIL line and the RCPT lines of each
// message, without what it got more than n of.
func sentTo(sink *relaytest.Sink, n int) map[string]relaytest.Message {
	all := map[string]relaytest.Message{}
	for _, m := range sink.Wait(n) {
		line, _, _ := strings.Cut(m.MailLine, " SIZE=")
		all[line+"|"+strings.Join(m.RcptLines, "|")] = m
	}
	return all
}

// TestAliases: what goes on for each way of being named, and from whom.
//
// 5321-3.9-a
func TestAliases(t *testing.T) {
	const asked = " RET=HDRS ENVID=e1"
	for name, tc := range map[string]struct {
		mail  string
		rcpts []string
		want  []string // a line for each message
	}{
		"to one": {"<s@a.example>", []string{"<root@relay.example>"},
			[]string{"MAIL FROM:<s@a.example>|RCPT TO:<admin@b.example> ORCPT=rfc822;root@relay.example"}},
		"to one, nested, without a domain": {"<s@a.example>", []string{"<postmaster>"},
			[]string{"MAIL FROM:<s@a.example>|RCPT TO:<admin@b.example> ORCPT=rfc822;postmaster@relay.example"}},
		"to one, of another domain, who is named as well": {"<s@a.example>", []string{"<ONE@ok.example>", "<ann@b.example>"},
			[]string{"MAIL FROM:<s@a.example>|RCPT TO:<ann@b.example> ORCPT=rfc822;ONE@ok.example"}},
		"to one, with everything asked for": {"<s@a.example>" + asked, []string{"<root@relay.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@c.example"},
			[]string{"MAIL FROM:<s@a.example>" + asked + "|RCPT TO:<admin@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@c.example"}},
		"to several, with everything asked for": {"<s@a.example>" + asked, []string{"<staff@relay.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@c.example"},
			[]string{
				"MAIL FROM:<s@a.example>" + asked + "|RCPT TO:<ann@b.example> NOTIFY=DELAY ORCPT=rfc822;x@c.example|RCPT TO:<bob@b.example> NOTIFY=DELAY ORCPT=rfc822;x@c.example",
				"MAIL FROM:<>|RCPT TO:<s@a.example> NOTIFY=NEVER",
			}},
		"to several, only success asked for": {"<s@a.example>", []string{"<staff@relay.example> NOTIFY=SUCCESS"},
			[]string{
				"MAIL FROM:<s@a.example>|RCPT TO:<ann@b.example> NOTIFY=NEVER ORCPT=rfc822;staff@relay.example|RCPT TO:<bob@b.example> NOTIFY=NEVER ORCPT=rfc822;staff@relay.example",
				"MAIL FROM:<>|RCPT TO:<s@a.example> NOTIFY=NEVER",
			}},
		"a report to several": {"<>", []string{"<staff@relay.example> NOTIFY=SUCCESS"},
			[]string{"MAIL FROM:<>|RCPT TO:<ann@b.example> NOTIFY=NEVER ORCPT=rfc822;staff@relay.example|RCPT TO:<bob@b.example> NOTIFY=NEVER ORCPT=rfc822;staff@relay.example"}},
		"a list and others": {"<s@a.example>" + asked, []string{"<list@relay.example>", "<root@relay.example>"},
			[]string{
				"MAIL FROM:<s@a.example>" + asked + "|RCPT TO:<admin@b.example> ORCPT=rfc822;root@relay.example",
				"MAIL FROM:<owner-list@relay.example>|RCPT TO:<ann@b.example>",
				"MAIL FROM:<>|RCPT TO:<admin@b.example> NOTIFY=NEVER", // of gone@b.example, to the owner
			}},
		"the list alone": {"<s@a.example>", []string{"<list@relay.example> NOTIFY=SUCCESS ORCPT=rfc822;x@c.example"},
			[]string{
				"MAIL FROM:<owner-list@relay.example>|RCPT TO:<ann@b.example>",
				"MAIL FROM:<>|RCPT TO:<s@a.example> NOTIFY=NEVER", // that it has arrived
				"MAIL FROM:<>|RCPT TO:<admin@b.example> NOTIFY=NEVER",
			}},
		"from an alias, to nobody": {"<root@relay.example>", []string{"<gone@b.example>"},
			[]string{"MAIL FROM:<>|RCPT TO:<admin@b.example> NOTIFY=NEVER"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, sink := startAliases(t, nil)
			s.transact(tc.mail, tc.rcpts...)
			got := sentTo(sink, len(tc.want))
			for _, want := range tc.want {
				if m, ok := got[want]; !ok {
					t.Errorf("there is no %s", want)
				} else if m.From != "" && below(t, m.Content) != transacted {
					t.Errorf("%s has the content %q", want, m.Content)
				}
				delete(got, want)
			}
			for line := range got {
				t.Errorf("it made %s", line)
			}
		})
	}
}

// The reports on aliases tell what became of them, and nothing of those behind.
func TestReportsOnAliases(t *testing.T) {
	for to, want := range map[string]string{
		"staff": "Final-Recipient: rfc822; staff@relay.example\r\nAction: expanded\r\nStatus: 2.1.5\r\n",
		"list":  "Final-Recipient: rfc822; list@relay.example\r\nAction: delivered\r\nStatus: 2.1.5\r\n",
	} {
		s, sink := startAliases(t, nil)
		s.transact("<s@a.example> ENVID=e1", "<"+to+"@relay.example> NOTIFY=SUCCESS")
		var report string
		// The message, and one report; for the list another one, to its owner.
		for _, m := range sink.Wait(map[string]int{"staff": 2, "list": 3}[to]) {
			if m.From == "" && m.To[0] == "s@a.example" {
				report = string(m.Content)
			}
		}
		if !strings.Contains(report, want) || !strings.Contains(report, "Original-Envelope-Id: e1\r\n") || !strings.Contains(report, "Subject: hello\r\n") || strings.Contains(report, "ann@b.example") {
			t.Errorf("%s: the report is\n%s", to, report)
		}
	}
}

// 5321-3.5-a 5321-7.3-a: a true answer or none.
//
// VRFY and EXPN tell our own clients about aliases, and strangers nothing.
func TestVerifyAndExpand(t *testing.T) {
	s, _ := startAliases(t, func(c *configs.Config) { c.Relay.Expn = true })
	ours, stranger := s.dial("127.0.0.1"), s.dial("127.0.0.3")
	for _, tc := range []struct {
		line           string
		ours, stranger int
		text           string
	}{
		{"VRFY root", 251, 252, "2.1.5 User not local; will forward to <admin@b.example>"},
		{"VRFY <ROOT@relay.example>", 251, 252, "2.1.5 User not local; will forward to <admin@b.example>"},
		{"VRFY staff@relay.example", 250, 252, "2.1.5 <staff@relay.example>"},
		{"VRFY list", 250, 252, "2.1.5 <list@relay.example>"},
		{"VRFY nobody", 550, 252, "5.1.1 No such user here"},
		{"VRFY nobody@ok.example", 252, 252, ""},
		{"VRFY Ann Smith", 252, 252, ""},
		{"EXPN staff", 250, 502, "2.1.5 <ann@b.example>\n2.1.5 <bob@b.example>"},
		{"EXPN <one@ok.example>", 250, 502, "2.1.5 <ann@b.example>"},
		{"EXPN nobody", 550, 502, "5.1.1 No such list"},
	} {
		if text := s.cmd(ours, tc.ours, "%s", tc.line); tc.text != "" && text != tc.text {
			t.Errorf("%s: %q, want %q", tc.line, text, tc.text)
		}
		s.cmd(stranger, tc.stranger, "%s", tc.line)
	}
}

// 5321-3.4-a: who is behind an alias is told on request, and to nobody by default.
func TestForwardingIsDisclosed(t *testing.T) {
	for disclose, want := range map[bool][]int{true: {251, 250, 250, 250}, false: {250, 250, 250, 250}} {
		s, sink := startAliases(t, func(c *configs.Config) { c.Relay.DiscloseForwarding = disclose })
		c := s.dial("127.0.0.1")
		s.cmd(c, 250, "MAIL FROM:<s@a.example>")
		for i, to := range []string{"root", "staff", "list", "nobody"} {
			text := s.cmd(c, want[i], "RCPT TO:<%s@relay.example>", to)
			if told := strings.Contains(text, "b.example"); told != (want[i] == 251) {
				t.Errorf("disclose %t: RCPT to %s: %q", disclose, to, text)
			}
		}
		s.cmd(c, 250, "RSET")
		s.cmd(c, 250, "MAIL FROM:<s@a.example>")
		s.cmd(c, want[0], "RCPT TO:<root@relay.example>")
		s.cmd(c, 354, "DATA")
		s.cmd(c, 250, "Subject: hello\r\n\r\nHello.\r\n.")
		if to := sink.Wait(1)[0].To[0]; to != "admin@b.example" {
			t.Errorf("disclose %t: it went to %s", disclose, to)
		}
	}
}

// What a list of recipients knows is told to our own clients, too.
func TestVerifyRecipients(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recipients")
	if err := os.WriteFile(file, []byte("ann@ok.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startAliases(t, func(c *configs.Config) { c.Relay.RecipientsFile = file })
	ours, stranger := s.dial("127.0.0.1"), s.dial("127.0.0.3")
	for line, want := range map[string]int{
		"VRFY ann@ok.example": 250, "VRFY bob@ok.example": 550, "VRFY postmaster@ok.example": 250,
		"VRFY one@ok.example": 251, // an alias, which is on no list
		"VRFY bob@b.example":  252,
	} {
		s.cmd(ours, want, "%s", line)
		s.cmd(stranger, 252, "%s", line)
	}
	s.cmd(stranger, 250, "MAIL FROM:<s@a.example>")
	s.cmd(stranger, 250, "RCPT TO:<one@ok.example>")
	s.cmd(stranger, 550, "RCPT TO:<bob@ok.example>")
}

// With a route for our own name others than aliases may be there; without expn
// nobody has EXPN.
func TestVerifyDoesNotGuess(t *testing.T) {
	s, _ := startAliases(t, func(c *configs.Config) {
		c.Routes = append(c.Routes, configs.Route{To: ".example", Via: configs.Legs("discard:"), TLS: configs.TLSNone})
	})
	c := s.dial("127.0.0.1")
	s.cmd(c, 252, "VRFY nobody")
	s.cmd(c, 251, "VRFY root")
	s.cmd(c, 502, "EXPN staff")
	// An alias opens no relay.
	c = s.dial("127.0.0.3")
	s.cmd(c, 250, "MAIL FROM:<s@a.example>")
	s.cmd(c, 550, "RCPT TO:<root@relay.example>")
	s.cmd(c, 250, "RCPT TO:<one@ok.example>")
	s.cmd(c, 250, "RCPT TO:<postmaster>")
}
