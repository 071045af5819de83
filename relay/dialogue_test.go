package relay

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"waypost/configs"
	"waypost/relay/auth"
	"waypost/relay/dialogue"
	"waypost/relay/relaytest"
)

// not even to whoever reads along.
//
// TestLoginsAreNotTold has somebody read along in clients' sessions over TLS, who
// learns how they log in and not with what, nor what they send.
func TestLoginsAreNotTold(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	var ca *relaytest.CA
	s := start(t, sink.Port(), func(c *configs.Config) {
		ca = withCertificate(t, c)
		c.Listeners[0].Auth = configs.AuthOptional
		c.Relay.UsersFile = usersFile(t, auth.ScramSHA256, "app=secret")
	})
	s.dns.Add("b.example. 60 IN MX 10 mx.b.example.", "mx.b.example. 60 IN A 127.0.0.5")
	for _, test := range []struct {
		name string
		say  func(c *textproto.Conn) []string // returns what is secret
		want []string
	}{
		{"PLAIN", func(c *textproto.Conn) []string {
			return s.login(c, sasl.NewPlainClient("", "app", "secret"))
		}, []string{"\nAUTH PLAIN ***\n235 "}},
		{"LOGIN", func(c *textproto.Conn) []string {
			return s.login(c, sasl.NewLoginClient("app", "secret"))
		}, []string{"\nAUTH LOGIN ***\n334 ***\n***\n235 "}},
		{"SCRAM", func(c *textproto.Conn) []string {
			return s.login(c, &scramClient{talk: scramUser(t).NewConversation(), name: "SCRAM-SHA-256"})
		}, []string{"\nAUTH SCRAM-SHA-256 ***\n334 ***\n***\n334 ***\n***\n235 "}},
		{"wrong", func(c *textproto.Conn) []string {
			s.cmd(c, 535, "auth plain %s", encoded("\x00app\x00guess"))
			return []string{encoded("\x00app\x00guess")}
		}, []string{"\nauth plain ***\n535 "}},
		{"a mechanism that is not there", func(c *textproto.Conn) []string {
			token := encoded("user=app\x01auth=Bearer token\x01\x01")
			s.cmd(c, 504, "AUTH XOAUTH2 %s", token)
			s.cmd(c, 504, "AUTH %s", token)
			s.cmd(c, 500, "AUTH\tPLAIN\t%s", token)
			return []string{token}
		}, []string{"\nAUTH XOAUTH2 ***\n504 ", "\nAUTH ***\n504 ", "\nAUTH PLAIN ***\n500 "}},
		{"lines that follow a refusal", func(c *textproto.Conn) []string {
			s.cmd(c, 504, "AUTH NTLM")
			s.cmd(c, 500, "%s", encoded("name"))
			s.cmd(c, 500, "%s", encoded("password"))
			return []string{encoded("name"), encoded("password")}
		}, []string{"\nAUTH NTLM\n504 ", "\n***\n500 5.5.1 "}},
		{"cancelled", func(c *textproto.Conn) []string {
			s.cmd(c, 334, "AUTH LOGIN")
			s.cmd(c, 501, "*")
			return nil
		}, []string{"\nAUTH LOGIN\n334 ***\n***\n501 "}},
		{"what is in chunks", func(c *textproto.Conn) []string {
			const first, last = "Subject: my password\r\n\r\nAUTH PLAIN AHBhc3M=\r\n", "RCPT TO:<other@b.example>\r\n"
			s.cmd(c, 250, "MAIL FROM:<s@a.example>")
			s.cmd(c, 250, "RCPT TO:<r@b.example>")
			s.cmd(c, 250, "BDAT %d\r\n%s", len(first), strings.TrimSuffix(first, "\r\n"))
			s.cmd(c, 250, "BDAT %d LAST\r\n%s", len(last), strings.TrimSuffix(last, "\r\n"))
			sink.Wait(1)
			return []string{"password", "AHBhc3M=", "other@"}
		}, []string{"\nRCPT TO:<r@b.example>\n250 ", "\nBDAT 45\n250 ", "\nBDAT 27 LAST\n250 2.0.0 "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader := s.dialogues.Read(dialogue.Filter{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}}, 1000)
			defer reader.Stop()
			nc, c := s.dialRaw("127.0.0.3")
			c, _ = s.secure(nc, c, &tls.Config{RootCAs: ca.Pool(), ServerName: "relay.example"})
			secrets := test.say(c)
			s.cmd(c, 221, "QUIT")
			told := untilEnd(reader)
			for _, secret := range secrets {
				if strings.Contains(told, secret) {
					t.Errorf("%q is told:\n%s", secret, told)
				}
			}
			for _, want := range append(test.want, "\nSTARTTLS\n220 ", "\nTLS 1.3 ", "\nQUIT\n221 ") {
				if !strings.Contains(told, want) {
					t.Errorf("there is no %q in\n%s", want, told)
				}
			}
		})
	}
}

// Whoever asks for a listener reads along in its sessions and in no others.
func TestSessionsOfAListenerAreTold(t *testing.T) {
	s := start(t, 1, func(c *configs.Config) {
		c.Listeners = append(c.Listeners, c.Listeners[0])
	})
	second := netip.MustParseAddrPort(s.SMTPAddrs()[1].String())
	reader := s.dialogues.Read(dialogue.Filter{Listeners: []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), second.Port())}}, 1000)
	defer reader.Stop()
	s.cmd(s.dial("127.0.0.3"), 221, "QUIT")
	nc, err := net.Dial("tcp", second.String())
	if err != nil {
		t.Fatal(err)
	}
	c := textproto.NewConn(nc)
	defer c.Close()
	s.expect(c, 220)
	s.cmd(c, 250, "NOOP second")
	s.cmd(c, 221, "QUIT")
	if told := untilEnd(reader); !strings.Contains(told, "\nNOOP second\n") || strings.Contains(told, "EHLO") {
		t.Errorf("told:\n%s", told)
	}
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// login logs in, and returns all that the client said and heard for it.
func (s *service) login(c *textproto.Conn, m sasl.Client) (secrets []string) {
	s.t.Helper()
	name, response, err := m.Start()
	if err != nil {
		s.t.Fatal(err)
	}
	line := fmt.Sprintf("AUTH %s %s", name, encoded(string(response)))
	for secrets = append(secrets, encoded(string(response))); ; {
		if err := c.PrintfLine("%s", line); err != nil {
			s.t.Fatal(err)
		}
		code, text, err := c.ReadResponse(0)
		if code == 235 {
			return secrets
		}
		if code != 334 {
			s.t.Fatalf("%d %s, %v", code, text, err)
		}
		challenge, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			response, err = m.Next(challenge)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if line = encoded(string(response)); line != "" {
			secrets = append(secrets, line)
		}
		secrets = append(secrets, text)
	}
}

// untilEnd is what is told until a session ends, line by line.
func untilEnd(r *dialogue.Reader) string {
	var all strings.Builder
	for {
		line := <-r.Lines
		all.WriteString(line.Text + "\n")
		if line.Note && line.Text == "session ends" {
			return all.String()
		}
	}
}
