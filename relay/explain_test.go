package relay

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/control"
	"waypost/relay/relaytest"
)

// TestExplainSaysWhatTheServerDoes compares both for 200 random clients, senders,
// recipients and kinds of listeners.
func TestExplainSaysWhatTheServerDoes(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.6:0")
	s := start(t, sink.Port(), func(c *configs.Config) {
		c.Listeners = append(c.Listeners, configs.Listener{Address: "127.0.0.1:0", Mode: "submission", TLS: "none", TLSProfile: "modern", Auth: "none"})
		c.Relay.Networks, c.Relay.Domains = []string{"127.0.0.2", "127.0.1.0/24"}, []string{"ok.example", ".below.example"}
		c.Deny = configs.Lists{Clients: []string{"127.0.1.9"}, Senders: []string{"bad.example", "x@ok.example"}, Recipients: []string{"no@ok.example"}}
		c.Allow = configs.Lists{Senders: []string{"good@bad.example"}}
	})
	pick := func(all ...string) string { return all[rand.IntN(len(all))] }
	refused := 0
	for range 200 {
		client := pick("127.0.0.2", "127.0.0.3", "127.0.1.8", "127.0.1.9")
		from := pick("", "a@b.example", "x@bad.example", "good@bad.example", "x@ok.example", "x@short")
		to := pick("r", "no", "postmaster") + "@" + pick("ok.example", "OK.example", "a.below.example", "below.example", "evil.test", "relay.example", "[192.0.2.1]", "short")
		listener := rand.IntN(2)
		answer, err := s.Explain(t.Context(), &control.Question{Client: client, From: from, Submission: listener == 1, Recipients: []string{to}})
		if err != nil {
			t.Fatal(err)
		}
		said := "250"
		for _, d := range []*control.ExplainedDecision{answer.Recipients[0].Decision, answer.Decision} {
			if !d.Allowed {
				said = d.Reply
			}
		}
		did := "250"
		c := s.dialListener(listener, client)
		for _, line := range []string{fmt.Sprintf("MAIL FROM:<%s>", from), fmt.Sprintf("RCPT TO:<%s>", to)} {
			if err := c.PrintfLine("%s", line); err != nil {
				t.Fatal(err)
			}
			code, text, err := c.ReadResponse(0)
			if code != 250 {
				if did = fmt.Sprintf("%d %s", code, text); code == 0 {
					t.Fatal(err)
				}
				refused++
				break
			}
		}
		c.Close()
		if !strings.HasPrefix(did, said) {
			t.Errorf("%s at listener %d from <%s> to <%s>: the server says %q, explain %q", client, listener, from, to, did, said)
		}
	}
	if refused == 0 || refused == 200 {
		t.Errorf("%d of 200 were refused, which compares nothing", refused)
	}
}
