package relay

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/auth"
	"waypost/relay/dialogue"
	"waypost/relay/relaytest"
)

// TestLoginsAreNotTold has somebody read along in a client's session, who learns
// how it logs in and not with what.
func TestLoginsAreNotTold(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	s := start(t, sink.Port(), func(c *configs.Config) {
		c.Listeners[0].Auth, c.Listeners[0].AuthWithoutTLS = configs.AuthOptional, true
		c.Relay.UsersFile = usersFile(t, auth.Bcrypt, "bob=swordfish")
	})
	reader := s.dialogues.Read(dialogue.Filter{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}}, 1000)
	defer reader.Stop()
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	plain, name, password := encoded("\x00bob\x00swordfish"), encoded("bob"), encoded("swordfish")
	c := s.dial("127.0.0.3")
	s.cmd(c, 535, "AUTH PLAIN %s", encoded("\x00bob\x00sword"))
	s.cmd(c, 334, "AUTH LOGIN")
	s.cmd(c, 334, "%s", name)
	s.cmd(c, 235, "%s", password)
	s.cmd(c, 221, "QUIT")
	d := s.dial("127.0.0.3")
	s.cmd(d, 235, "auth plain %s", plain)
	s.cmd(d, 221, "QUIT")
	var all strings.Builder
	for ended := 0; ended < 2; {
		line := <-reader.Lines
		all.WriteString(line.Text + "\n")
		if line.Note && line.Text == "session ends" {
			ended++
		}
	}
	for _, secret := range []string{"swordfish", plain, name, password, encoded("\x00bob\x00sword")} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%q is told:\n%s", secret, all.String())
		}
	}
	for _, want := range []string{"\nAUTH PLAIN ***\n535 ", "\nAUTH LOGIN\n334 ***\n***\n334 ***\n***\n235 ", "\nauth plain ***\n235 ", "\nQUIT\n221 "} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("there is no %q in\n%s", want, all.String())
		}
	}
}
