package smtpclient_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"waypost/relay/dialogue"
	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// Each mechanism proves who we are with the right secret, and is refused with a
// wrong one. Who reads along learns neither.
//
// 4954-4-c: also with responses that are longer than a command may be.
func TestMechanisms(t *testing.T) {
	ca := relaytest.NewCA(t)
	dialogues := dialogue.New()
	for _, name := range smtpclient.Mechanisms() {
		for _, long := range []bool{false, true} {
			secret := "pa ss=,wörd"
			if long {
				secret = strings.Repeat("0123456789", 150) // too long for the command
			}
			for _, right := range []bool{true, false} {
				s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("user", secret), relaytest.WithMechanisms("X-OTHER", name),
					relaytest.WithTLS(&tls.Config{Certificates: []tls.Certificate{ca.Leaf("sink.example")}, ClientAuth: tls.RequestClientCert}))
				o := options()
				o.TLS, o.Username, o.Mechanism = clientTLS(ca), "user", name
				given := secret
				if !right {
					given = "guess"
				}
				if strings.Contains(name, "OAUTH") {
					o.Token = given
				} else {
					o.Password = given
				}
				if name == "EXTERNAL" && right {
					o.TLS.Certificates = []tls.Certificate{ca.Leaf("client.example")}
				}
				reader := dialogues.Read(dialogue.Filter{Destinations: []string{"sink"}}, 1000)
				o.Talk = dialogues.Host("sink.example", "sink")
				c, err := smtpclient.New(t.Context(), dial(t, s), o)
				if right {
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					sent(t, c, message(t, "a@d.example"), "250")
					if got := s.Wait(1)[0].User; got != "user" {
						t.Errorf("%s: user %q", name, got)
					}
					c.Quit()
				} else if e := failed(t, err, smtpclient.StageAuth); e.Reply.Code != 535 {
					t.Errorf("%s: %v", name, err)
				}
				s.WaitIdle()
				reader.Stop()
				checkTold(t, reader, name, given)
			}
		}
	}
}

// checkTold makes sure that a session was told, but neither how it logged in nor
// what it sent.
func checkTold(t *testing.T, r *dialogue.Reader, mechanism, secret string) {
	t.Helper()
	told, within := false, false
	for len(r.Lines) > 0 {
		line := <-r.Lines
		auth := line.Text == "AUTH "+mechanism || line.Text == "AUTH "+mechanism+" ***"
		told, within = told || auth, auth || within && !strings.HasPrefix(line.Text, "235 ") && !strings.HasPrefix(line.Text, "535 ")
		if within && !auth && line.Text != "***" && line.Text != "334 ***" ||
			strings.Contains(line.Text, secret) || strings.Contains(line.Text, ".hello") {
			t.Errorf("%s: who reads along is told %q", mechanism, line.Text)
		}
	}
	if !told {
		t.Errorf("%s: who reads along is told of no AUTH", mechanism)
	}
}

// The mechanism that gives away least is chosen; what was asked for is not
// replaced by another.
func TestMechanismChoice(t *testing.T) {
	ca := relaytest.NewCA(t)
	for _, row := range []struct{ offer, token, asked, want string }{
		{"PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 SCRAM-SHA-256-PLUS XOAUTH2", "", "", "SCRAM-SHA-256-PLUS"},
		{"PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256", "", "", "SCRAM-SHA-256"},
		{"CRAM-MD5 LOGIN PLAIN", "", "", "PLAIN"}, {"CRAM-MD5 LOGIN", "", "", "LOGIN"}, {"CRAM-MD5", "", "", "CRAM-MD5"},
		{"PLAIN OAUTHBEARER XOAUTH2", "secret", "", "XOAUTH2"}, {"PLAIN OAUTHBEARER", "secret", "", "OAUTHBEARER"},
		{"PLAIN SCRAM-SHA-256", "", "PLAIN", "PLAIN"},
		{"PLAIN", "", "CRAM-MD5", ""}, {"PLAIN LOGIN", "secret", "", ""}, {"X-OTHER", "", "", ""},
	} {
		s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("user", "secret"), relaytest.WithMechanisms(strings.Fields(row.offer)...),
			relaytest.WithCertificate(ca.Leaf("sink.example")))
		o := options()
		o.TLS, o.Username, o.Password, o.Token, o.Mechanism = clientTLS(ca), "user", "secret", row.token, row.asked
		c, err := smtpclient.New(t.Context(), dial(t, s), o)
		if row.want == "" {
			if failed(t, err, smtpclient.StageAuth); !errors.Is(err, smtpclient.ErrNoAuth) {
				t.Errorf("%s: %v", row.offer, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", row.offer, err)
		}
		c.Quit()
		for _, command := range s.Commands() {
			if command.Verb == "AUTH" && command.Line != "AUTH "+row.want {
				t.Errorf("%s: %s, want %s", row.offer, command.Line, row.want)
			}
		}
	}
}

// A host that takes any SCRAM client without proof of its own is not the host.
func TestUnprovenHost(t *testing.T) {
	ca := relaytest.NewCA(t)
	s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("user", "secret"), relaytest.WithMechanisms("SCRAM-SHA-256"),
		relaytest.WithCertificate(ca.Leaf("sink.example")))
	s.On("AUTH", relaytest.Action{Reply: "235 2.7.0 welcome, whoever you are"})
	o := options()
	o.TLS, o.Username, o.Password = clientTLS(ca), "user", "other"
	_, err := smtpclient.New(t.Context(), dial(t, s), o)
	if failed(t, err, smtpclient.StageAuth); !strings.Contains(err.Error(), "prove") {
		t.Error(err)
	}
}
