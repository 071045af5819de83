package relay

import (
	"io"
	"strings"
	"testing"

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
				c.Routes = []configs.Route{{To: "*", Via: []string{"smtp://" + sink.Address()}, TLS: configs.TLSNone}}
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
