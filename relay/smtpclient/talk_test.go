package smtpclient_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"waypost/relay/dialogue"
	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// TestSecretsAreNotTold has somebody read along in a session of every mechanism:
// the session is told whole, and nothing of AUTH but the mechanism's name.
func TestSecretsAreNotTold(t *testing.T) {
	ca := relaytest.NewCA(t)
	for _, name := range smtpclient.Mechanisms() {
		if name == "EXTERNAL" {
			continue // it has no secret
		}
		for _, secret := range []string{"swordfish-swordfish", strings.Repeat("swordfish-", 150)} {
			s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("user", secret), relaytest.WithMechanisms(name), relaytest.WithCertificate(ca.Leaf("sink.example")))
			hub := dialogue.New()
			reader := hub.Read(dialogue.Filter{Destinations: []string{"sink.example"}}, 1000)
			o := options()
			o.TLS, o.Username, o.Mechanism, o.Talk = clientTLS(ca), "user", name, hub.Host("sink", "sink.example")
			if strings.Contains(name, "OAUTH") {
				o.Token = secret
			} else {
				o.Password = secret
			}
			c, err := smtpclient.New(t.Context(), dial(t, s), o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sent(t, c, message(t, "a@d.example"), "250")
			c.Quit()
			s.WaitIdle()
			var told []string
			for len(reader.Lines) > 0 {
				told = append(told, (<-reader.Lines).Text)
			}
			all := strings.Join(told, "\n")
			for _, want := range []string{"220 ", "EHLO ", "STARTTLS", "TLS 1.3 ", "AUTH " + name, "MAIL FROM:<", "RCPT TO:<a@d.example>", "QUIT"} {
				if !strings.Contains(all, want) {
					t.Errorf("%s: %q is not told:\n%s", name, want, all)
				}
			}
			for _, word := range regexp.MustCompile(`[A-Za-z0-9+/]{8,}={0,2}`).FindAllString(all, -1) {
				if plain, err := base64.StdEncoding.DecodeString(word); err == nil && strings.Contains(string(plain), "user") {
					t.Errorf("%s: %q is told", name, plain)
				}
			}
			if _, rest, _ := strings.Cut(all, "AUTH "+name); strings.Contains(all, "swordfish") || !strings.HasPrefix(rest, " ***\n") && !strings.HasPrefix(rest, "\n") {
				t.Errorf("%s: secrets are told:\n%s", name, all)
			}
		}
	}
}
