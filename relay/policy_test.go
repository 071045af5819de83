package relay

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

// Every known way to have a stranger's mail relayed, and that nothing leaves
// (RFC 5321 §3.6.1, §4.1.3, §F.2).
func TestNoOpenRelay(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	s := start(t, sink.Port(), func(c *configs.Config) {
		c.Relay.Networks, c.Relay.Domains = []string{"127.0.0.2"}, []string{"ok.example"}
	})
	s.dns.Add("ok.example. 60 IN MX 10 mx.example.", "evil.test. 60 IN MX 10 mx.example.", "mx.example. 60 IN A 127.0.0.5")
	// Neither the name that the client gives nor the sender has any weight.
	for _, sender := range []string{"<>", "<x@ok.example>", "<x@relay.example>", "<x@evil.test>"} {
		c := s.dial("127.0.0.3")
		s.cmd(c, 250, "EHLO localhost")
		s.cmd(c, 250, "MAIL FROM:%s", sender)
		s.cmd(c, 550, "RCPT TO:<v@evil.test>")
	}
	c := s.dial("127.0.0.3")
	s.cmd(c, 250, "EHLO ok.example")
	s.cmd(c, 250, "MAIL FROM:<x@ok.example>")
	for path, code := range map[string]int{
		"<v@evil.test>": 550, "<v%evil.test@relay.example>": 550, "<v%evil.test@[127.0.0.1]>": 550,
		"<evil.test!v>": 501, "<evil.test!v@relay.example>": 550, "<ok.example!evil.test!v@relay.example>": 550,
		"<@relay.example:v@evil.test>": 550, "<@ok.example,@relay.example:v@evil.test>": 550,
		`<"v@evil.test"@relay.example>`: 550, `<"v@ok.example"@evil.test>`: 550,
		"<v@[192.0.2.1]>": 550, "<v@[IPv6:2001:db8::1]>": 550, "<v@[IPv6:::ffff:127.0.0.1]>": 550, "<v@[127.0.0.1]>": 550,
		"<v@127.0.0.1>": 501, "<v@2130706433>": 501, "<v@0x7f.1>": 501, "<v@[127.1]>": 501,
		"<v@evil.test.>": 501, "<v@ok.example..>": 501, "<v@ok.example >": 501, "<v@ok.example,w@evil.test>": 501,
		"<v@ok.example> <w@evil.test>": 501, "v@ok.example>evil.test": 501, "<v@ok.example\x00.evil.test>": 500,
		"<v>": 501, "<>": 501, "<@ok.example>": 501, "<postmaster@evil.test>": 550,
	} {
		s.cmd(c, code, "RCPT TO:%s", path)
	}
	if n := len(sink.Commands()); n != 0 {
		t.Errorf("the sink heard %d commands", n)
	}
	c = s.dial("127.0.0.3")
	s.cmd(c, 250, "MAIL FROM:<x@ok.example>")
	for _, path := range []string{"<v@OK.EXAMPLE>", "<v%evil.test@ok.example>", `<"v@evil.test"@ok.example>`, "<postmaster>", "<Postmaster@relay.example>"} {
		s.cmd(c, 250, "RCPT TO:%s", path)
	}
	s.cmd(c, 250, "RSET")
	s.cmd(c, 503, "DATA")
	s.cmd(c, 250, "MAIL FROM:<x@ok.example>")
	s.cmd(c, 250, "RCPT TO:<v@ok.example>")
	s.cmd(c, 250, "EHLO again.example")
	s.cmd(c, 503, "DATA")
}

// messages, recipients and octets.
//
// What a client may send is bounded, and it is told to come back.
func TestRatesAreLimited(t *testing.T) {
	s := start(t, 1, func(c *configs.Config) {
		c.Limits.MessagesPerClient, c.Limits.RecipientsPerSender, c.Limits.BytesPerClient = "2/1h", "2/1h", "1kB/1h"
		c.Deny.Recipients = []string{"trap@b.example"}
	})
	c := s.dial("127.0.0.1")
	s.cmd(c, 452, "MAIL FROM:<s@a.example> SIZE=1001")
	s.cmd(c, 250, "MAIL FROM:<s@a.example>")
	s.cmd(c, 250, "RCPT TO:<one@b.example>")
	s.cmd(c, 550, "RCPT TO:<trap@b.example>")
	s.cmd(c, 250, "RCPT TO:<two@b.example>")
	s.cmd(c, 452, "RCPT TO:<three@b.example>")
	s.cmd(c, 250, "RSET")
	s.cmd(c, 250, "MAIL FROM:<other@a.example>")
	s.cmd(c, 250, "RSET")
	s.cmd(c, 450, "MAIL FROM:<s@a.example>")
	other := s.dial("127.0.0.4")
	s.cmd(other, 250, "MAIL FROM:<other@a.example>")
	s.cmd(other, 250, "RCPT TO:<one@b.example>")
}

func TestCheck(t *testing.T) {
	c := configs.Default()
	c.Relay.Networks = []string{"127.0.0.0/8", "172.17.0.0/16"}
	c.Relay.UsersFile = filepath.Join(t.TempDir(), "users")
	writeFile(t, c.Relay.UsersFile, "# comment\nu:secret\n")
	problems := check(&c, []netip.Addr{netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("fd00::1")}).Error()
	for _, want := range []string{"users:2: \"u\": this is no hash", "relay.networks[1]: 172.17.0.0/16 has 172.17.0.1, the gateway"} {
		if !strings.Contains(problems, want) {
			t.Errorf("the problems lack %q:\n%s", want, problems)
		}
	}
	if strings.Contains(problems, "fd00") || strings.Contains(problems, "networks[0]") || strings.Contains(problems, "secret") {
		t.Errorf("there are too many problems:\n%s", problems)
	}
}
