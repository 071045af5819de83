package relay

import (
	"io"
	"strings"
	"testing"
	"time"

	"waypost/configs"
	"waypost/relay/relaytest"
)

// TestExtensionsEndToEnd: what is offered to clients is kept all the way. Binary
// content reaches a host that takes it as it is, and another one in a form that
// it takes; MT-PRIORITY reaches whoever offers it.
func TestExtensionsEndToEnd(t *testing.T) {
	for _, tc := range []struct {
		name    string
		offers  []string
		content string   // how what arrives ends
		mail    []string // what MAIL says
	}{
		{"all of it", []string{"8BITMIME", "CHUNKING", "BINARYMIME", "MT-PRIORITY", "PIPELINING"}, "\r\n\r\na\nb\x00\xff", []string{" BODY=BINARYMIME", " MT-PRIORITY=3"}},
		{"nothing", []string{"PIPELINING"}, "\r\n\r\nYQpiAP8=\r\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithExtensions(tc.offers...))
			s := start(t, 25, func(c *configs.Config) {
				c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
			})
			c := s.dial("127.0.0.1")
			s.cmd(c, 250, "MAIL FROM:<s@a.example> BODY=BINARYMIME MT-PRIORITY=3")
			s.cmd(c, 250, "RCPT TO:<r@b.example>")
			const content = "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\x00\xff"
			if err := c.PrintfLine("BDAT %d LAST", len(content)); err != nil {
				t.Fatal(err)
			}
			io.WriteString(c.W, content)
			c.W.Flush()
			s.expect(c, 250)
			m := sink.Wait(1)[0]
			if !strings.HasSuffix(string(m.Content), tc.content) {
				t.Errorf("content %q", m.Content)
			}
			for _, want := range tc.mail {
				if !strings.Contains(m.MailLine, want) {
					t.Errorf("%s came without%s", m.MailLine, want)
				}
			}
		})
	}
}

// TestDeliverByEndToEnd: the time that is left goes on to a host that keeps it.
// A message that would have to be returned does not go to one that does not, and
// for any other its sender hears that it did (RFC 2852 §4).
func TestDeliverByEndToEnd(t *testing.T) {
	for _, tc := range []struct {
		name, offers, by string
		message          string   // what MAIL of the message has; empty when it does not arrive
		report           []string // what the report has; none when there is none
	}{
		{"kept", "DELIVERBY", "600;R", " BY=", nil},
		{"traced", "DELIVERBY", "600;RT", " BY=", []string{"Action: relayed", "Deliver-By-Date: ", "Status: 2."}},
		{"returned", "PIPELINING", "600;R", "", []string{"Action: failed", "Deliver-By-Date: ", "Status: 5.4.7"}},
		{"lost", "PIPELINING", "600;N", "MAIL FROM:<s@a.example>", []string{"Action: relayed", "Deliver-By-Date: "}},
		{"over", "DELIVERBY", "-60;N", " BY=-", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithExtensions(tc.offers, "DSN"))
			s := start(t, 25, func(c *configs.Config) {
				c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
			})
			c := s.dial("127.0.0.1")
			s.cmd(c, 250, "MAIL FROM:<s@a.example> BY=%s", tc.by)
			s.cmd(c, 250, "RCPT TO:<r@b.example>")
			s.cmd(c, 354, "DATA")
			s.cmd(c, 250, "Subject: x\r\n\r\nx\r\n.")
			expected := 0
			if tc.message != "" {
				expected++
			}
			if tc.report != nil {
				expected++
			}
			for s.queue.Stats().Messages > 0 { // a report is there before its message has left
				time.Sleep(time.Millisecond)
			}
			for _, m := range sink.Wait(expected) {
				if m.MailLine[:len("MAIL FROM:<>")] != "MAIL FROM:<>" {
					if !strings.Contains(m.MailLine, tc.message) || tc.message == "" {
						t.Errorf("the message came with %q", m.MailLine)
					}
					continue
				}
				if strings.Contains(m.MailLine, "BY=") {
					t.Errorf("the report has a by-time: %q", m.MailLine)
				}
				for _, want := range tc.report {
					if !strings.Contains(string(m.Content), want) {
						t.Errorf("no %q in %s", want, m.Content)
					}
				}
			}
			if sink.Count() != expected {
				t.Errorf("%d messages, want %d", sink.Count(), expected)
			}
		})
	}
}
