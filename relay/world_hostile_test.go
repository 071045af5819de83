package relay

import (
	"strings"
	"testing"
	"time"

	"waypost/configs"
	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// TestWorldHostileHosts: what a host says to harm us or whoever reads of it. It is
// left for the next host, or its words stand in a report and in the log as plain
// text.
func TestWorldHostileHosts(t *testing.T) {
	t.Parallel()
	w, first, second := one(t, "127.7.60")
	for i, row := range []struct {
		name   string
		rule   relaytest.Rule
		status string   // of the report; "" when the next host gets the message
		text   []string // in the report
	}{
		{name: "Q-16 a reply without end", rule: relaytest.Rule{Verb: "CONNECT", Action: relaytest.Action{Raw: strings.Repeat("220-x\r\n", 200)}}},
		{name: "Q-16 a banner of 10 MiB", rule: relaytest.Rule{Verb: "CONNECT", Action: relaytest.Action{Raw: "220 " + strings.Repeat("x", 10<<20)}}},
		{name: "Q-16 extensions without end", rule: relaytest.Rule{Verb: "EHLO", Action: relaytest.Action{Raw: strings.Repeat("250-SIZE 1000\r\n", 5000)}}},
		{name: "Q-16 another protocol", rule: relaytest.Rule{Verb: "CONNECT", Action: relaytest.Action{Raw: "SSH-2.0-OpenSSH_9.2\r\n"}}},
		{name: "I-09 colours and NUL", rule: relaytest.Rule{Verb: "RCPT", Action: relaytest.Action{Raw: "550-5.1.1 \x1b[31mred\x00\r\n550 5.1.1 \xff\u202egone\r\n"}}, status: "5.1.1",
			text: []string{"?[31mred?"}},
		{name: "I-09 five long lines", rule: relaytest.Rule{Verb: "RCPT", Action: relaytest.Action{Raw: strings.Repeat("550-5.7.1 "+strings.Repeat("word ", 100)+"\r\n", 4) + "550 5.7.1 " + strings.Repeat("w", 2000) + "\r\n"}},
			status: "5.7.1", text: []string{"word word", "wwwwwwwwww"}},
		{name: "I-09 a field of its own", rule: relaytest.Rule{Verb: "DATA", Action: relaytest.Action{Raw: "554 5.6.0 no\rAction: delivered\r\n"}}, status: "5.6.0", text: []string{"no?Action: delivered"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := w.in(t)
			first.Behave()
			first.DropAll()
			second.DropAll()
			first.WaitIdle()
			second.WaitIdle()
			first.Add(row.rule)
			from := string(rune('a'+i)) + "@home.example"
			id := w.send(from, hello, "r@b.example")
			if row.status == "" {
				w.settled(id, "r@b.example", "sent")
				w.gone(id)
				if m := arrived(t, second, "r@b.example"); below(t, m.Content) != hello {
					t.Error("content changed")
				}
				return
			}
			w.settled(id, "r@b.example", "bounced")
			m := arrived(t, w.home, from)
			r := readReport(t, m)
			r.check(t, "failed", "r@b.example", row.status, row.text[0])
			for _, text := range row.text {
				if !strings.Contains(strings.Join(r.status, "\n"), text) {
					t.Errorf("no %q in the fields:\n%s", text, strings.Join(r.status, "\n"))
				}
			}
			for line := range strings.SplitSeq(string(m.Content), "\r\n") {
				if len(line) > 998 || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }) {
					t.Errorf("the report has the line %.100q of %d octets", line, len(line))
				}
			}
			told := strings.TrimSuffix(w.log.wait(t, " msg=delivery ", " queue_id="+id.String()+" "), "\n")
			if strings.ContainsFunc(told, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\u202e' || c == '\ufffd' }) {
				t.Errorf("the log says %q", told)
			}
		})
	}
}

// TestTimeouts: each step of a session has its own setting.
//
// 5321-4.5.3.2-a
func TestTimeouts(t *testing.T) {
	got := timeouts(&configs.Delivery{GreetingTimeout: 1, HelloTimeout: 2, MailTimeout: 3, RcptTimeout: 4, DataTimeout: 5, BlockTimeout: 6, DotTimeout: 7})
	if want := (smtpclient.Timeouts{Greeting: 1, Hello: 2, Mail: 3, Rcpt: 4, Data: 5, Block: 6, Dot: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestWorldTimeouts: a host that is silent for longer than it may is left for the
// next one.
//
// 5321-4.5.3.2-a
func TestWorldTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.70", 0, func(_ *world, c *configs.Config) { c.Delivery.GreetingTimeout = configs.Duration(5 * time.Second) })
	w.zone("b.example MX 10 mx1.b.example", "b.example MX 20 mx2.b.example", "mx1.b.example A $5", "mx2.b.example A $6")
	w.sink(t, 5).On("CONNECT", relaytest.Action{Silent: true, Stall: true})
	second := w.sink(t, 6)
	w.settled(w.send("s@home.example", hello, "r@b.example"), "r@b.example", "sent")
	if second.Count() != 1 {
		t.Errorf("%d messages came to the next host", second.Count())
	}
}
