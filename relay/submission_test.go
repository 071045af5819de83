package relay

import (
	"regexp"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

// 6409-3.1-a 6409-8-a: at the one, and not at the other.
//
// A listener for submission completes a message, and one for relaying does not
// (RFC 6409 §8, RFC 5321 §3.6.3).
func TestSubmissionCompletesMessages(t *testing.T) {
	const content = "From: s@a.example\r\nBcc: secret@b.example,\r\n other@b.example\r\nSubject: x\r\n\r\nBcc: in the body\r\n"
	for mode, want := range map[string]string{
		configs.ModeRelay: "^" + regexp.QuoteMeta(content) + "$",
		configs.ModeSubmission: "^From: s@a.example\r\nSubject: x\r\nDate: [A-Z][a-z]{2}, [^\r]+ [+-][0-9]{4}\r\nMessage-ID: <ID@relay.example>\r\n" +
			"\r\nBcc: in the body\r\n$",
	} {
		sink := relaytest.NewSink(t, "127.0.0.5:0")
		s := start(t, 1, func(c *configs.Config) {
			c.Listeners[0].Mode = mode
			c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
		})
		id := s.send("s@a.example", content, "r@b.example")
		got := below(t, sink.Wait(1)[0].Content)
		if !regexp.MustCompile(strings.ReplaceAll(want, "<ID@", "<"+id.String()+"@")).MatchString(got) {
			t.Errorf("%s: %q", mode, got)
		}
	}
}
