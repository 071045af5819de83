package relay

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/xdg-go/scram"

	"waypost/configs"
	"waypost/relay/auth"
	"waypost/relay/relaytest"
)

// withCertificate gives a configuration a certificate that the pool trusts.
func withCertificate(t testing.TB, c *configs.Config) *relaytest.CA {
	t.Helper()
	ca := relaytest.NewCA(t)
	c.TLS.Certificate, c.TLS.Key = writePair(t, ca.Leaf("relay.example", "127.0.0.1"))
	c.Listeners[0].TLS = configs.TLSStartTLS
	return ca
}

func writePair(t testing.TB, pair tls.Certificate) (certificate, key string) {
	t.Helper()
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	writeFile(t, certificate, string(chain))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return certificate, key
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// usersFile writes users, each "name=password", kept by one scheme.
func usersFile(t testing.TB, scheme auth.Scheme, users ...string) string {
	t.Helper()
	var text strings.Builder
	for _, u := range users {
		name, password, _ := strings.Cut(u, "=")
		hash, err := auth.Hash(scheme, password)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s:%s\n", name, hash)
	}
	name := filepath.Join(t.TempDir(), "users")
	writeFile(t, name, text.String())
	return name
}

// secure starts TLS in a session that has said EHLO, and says it again.
func (s *service) secure(nc net.Conn, c *textproto.Conn, o *tls.Config) (*textproto.Conn, *tls.Conn) {
	s.t.Helper()
	s.cmd(c, 220, "STARTTLS")
	t := tls.Client(nc, o)
	if err := t.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	c = textproto.NewConn(t)
	s.cmd(c, 250, "EHLO client.example")
	return c, t
}

func (s *service) dialRaw(from string) (net.Conn, *textproto.Conn) {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", s.SMTPAddrs()[0].String())
	if err != nil {
		s.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	s.t.Cleanup(func() { nc.Close() })
	c := textproto.NewConn(nc)
	s.expect(c, 220)
	s.cmd(c, 250, "EHLO client.example")
	return nc, c
}

// Who has logged in may send to anywhere, as the senders that are his, and the
// trace says that he had. Who has not may not even begin.
func TestLoginsRelay(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	var ca *relaytest.CA
	s := start(t, sink.Port(), func(c *configs.Config) {
		ca = withCertificate(t, c)
		c.Listeners[0].Auth = configs.AuthRequired
		c.Relay.Networks = nil
		c.Relay.UsersFile = usersFile(t, auth.ScramSHA256, "app@a.example=secret")
		c.Logins = []configs.Login{{Name: "*", Senders: []string{"{login}"}}}
	})
	s.dns.Add("b.example. 60 IN MX 10 mx.b.example.", "mx.b.example. 60 IN A 127.0.0.5")
	nc, c := s.dialRaw("127.0.0.3")
	if text := s.cmd(c, 250, "EHLO client.example"); strings.Contains(text, "AUTH") {
		t.Errorf("AUTH is offered in clear: %q", text)
	}
	s.cmd(c, 530, "MAIL FROM:<app@a.example>")
	plain := base64.StdEncoding.EncodeToString([]byte("\x00app@a.example\x00secret"))
	s.cmd(c, 538, "AUTH PLAIN %s", plain)
	c, _ = s.secure(nc, c, &tls.Config{RootCAs: ca.Pool(), ServerName: "relay.example"})
	if text := s.cmd(c, 250, "EHLO client.example"); !strings.Contains(text, "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN") {
		t.Errorf("mechanisms in %q", text)
	}
	s.cmd(c, 530, "MAIL FROM:<app@a.example>")
	s.cmd(c, 535, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00app@a.example\x00guess")))
	s.cmd(c, 530, "MAIL FROM:<app@a.example>")
	s.cmd(c, 235, "AUTH PLAIN %s", plain)
	s.cmd(c, 553, "MAIL FROM:<boss@a.example>")
	s.cmd(c, 250, "MAIL FROM:<app@a.example>")
	s.cmd(c, 250, "RCPT TO:<r@b.example>")
	s.cmd(c, 354, "DATA")
	w := c.DotWriter()
	fmt.Fprint(w, strings.ReplaceAll(hello, "\r\n", "\n"))
	w.Close()
	s.expect(c, 250)
	s.cmd(c, 250, "RSET")
	s.cmd(c, 250, "MAIL FROM:<>")
	if got := string(sink.Wait(1)[0].Content); !strings.Contains(got, "with ESMTPSA") {
		t.Errorf("trace of %.300q", got)
	}
}

// 6409-6.1-a A-11: in the envelope and in the header.
//
// What a message says of its author is held to the login where that is asked for,
// however it is written (RFC 6409 §6.1).
func TestAuthorsAreTheLogins(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.5:0")
	s := start(t, 1, func(c *configs.Config) {
		c.Listeners[0].Auth, c.Listeners[0].AuthWithoutTLS, c.Listeners[0].Mode = configs.AuthRequired, true, configs.ModeSubmission
		c.Relay.UsersFile = usersFile(t, auth.ScramSHA256, "app@a.example=secret", "free@a.example=secret")
		c.Logins = []configs.Login{{Name: "app@a.example", Senders: []string{"{login}", "team@a.example"}, CheckFrom: true}}
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
	})
	login := func(name string) *textproto.Conn {
		c := s.dial("127.0.0.1")
		s.cmd(c, 235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00secret")))
		return c
	}
	ours, free := login("app@a.example"), login("free@a.example")
	for _, tc := range []struct {
		header string
		code   int
	}{
		{"From: app@a.example\r\n", 250},
		{"From: \"The App\"\r\n <APP@A.example>\r\nSender: team@a.example\r\n", 250},
		{"from : app@a.example, team@a.example\r\n", 250},
		{"From: =?iso-2022-jp?B?GyRCJCIbKEI=?= <app@a.example>\r\n", 250},
		{"From: boss@a.example\r\n", 550},
		{"From: app@a.example, boss@a.example\r\n", 550},
		{"From: \"app@a.example\" <boss@a.example>\r\n", 550},
		{"From: app@a.example\r\nFrom: boss@a.example\r\n", 550},
		{"From: app@a.example\r\nFrom: app@a.example\r\n", 550},
		{"From: app@a.example\r\nSender: boss@a.example\r\n", 550},
		{"FROM:\r\n\tboss@a.example\r\n", 550},
		{"From: app@a.example <boss@a.example>\r\n", 550},
		{"From: nobody:;\r\n", 550},
		{"From:\r\n", 550},
		{"Subject: x\r\n", 550},
		{"no field\r\nFrom: boss@a.example\r\n", 550},
		{"X: " + strings.Repeat("x", 200_000) + "\r\nFrom: boss@a.example\r\n", 550},
	} {
		for c, code := range map[*textproto.Conn]int{ours: tc.code, free: 250} {
			s.cmd(c, 250, "MAIL FROM:<%s>", map[*textproto.Conn]string{ours: "app@a.example", free: "free@a.example"}[c])
			s.cmd(c, 250, "RCPT TO:<r@b.example>")
			s.cmd(c, 354, "DATA")
			if text := s.cmd(c, code, "%s\r\nFrom: boss@a.example\r\n.", tc.header); code == 550 && !strings.HasPrefix(text, "5.7.1 Author address") {
				t.Errorf("%.60q: %q", tc.header, text)
			}
		}
	}
}

// Every mechanism with somebody else's client.
func TestMechanisms(t *testing.T) {
	var ca *relaytest.CA
	s := start(t, 1, func(c *configs.Config) {
		ca = withCertificate(t, c)
		c.Listeners[0].Auth = configs.AuthOptional
		c.Relay.UsersFile = usersFile(t, auth.ScramSHA256, "app=secret")
	})
	for name, client := range map[string]func(*tls.ConnectionState) sasl.Client{
		"PLAIN": func(*tls.ConnectionState) sasl.Client { return sasl.NewPlainClient("", "app", "secret") },
		"LOGIN": func(*tls.ConnectionState) sasl.Client { return sasl.NewLoginClient("app", "secret") },
		"SCRAM-SHA-256": func(*tls.ConnectionState) sasl.Client {
			return &scramClient{talk: scramUser(t).NewConversation(), name: "SCRAM-SHA-256"}
		},
		"tls-exporter": func(state *tls.ConnectionState) sasl.Client {
			b, err := scram.NewTLSExporterBinding(state)
			if err != nil {
				t.Fatal(err)
			}
			return &scramClient{talk: scramUser(t).NewConversationWithChannelBinding(b), name: "SCRAM-SHA-256-PLUS"}
		},
		"tls-server-end-point": func(state *tls.ConnectionState) sasl.Client {
			b, err := scram.NewTLSServerEndpointBinding(state)
			if err != nil {
				t.Fatal(err)
			}
			return &scramClient{talk: scramUser(t).NewConversationWithChannelBinding(b), name: "SCRAM-SHA-256-PLUS"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", s.SMTPAddrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			c, err := gosmtp.NewClientStartTLS(nc, &tls.Config{RootCAs: ca.Pool(), ServerName: "relay.example"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Noop(); err != nil { // which ends the handshake
				t.Fatal(err)
			}
			state, ok := c.TLSConnectionState()
			if !ok || !state.HandshakeComplete {
				t.Fatal("no TLS")
			}
			if err := c.Auth(client(&state)); err != nil {
				t.Fatal(err)
			}
			if err := c.Mail("s@a.example", nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// scramClient is SCRAM for go-smtp's client, by the library that the server
// uses, too: it is the one of the two sides that is not ours.
type scramClient struct {
	talk *scram.ClientConversation
	name string
}

func scramUser(t testing.TB) *scram.Client {
	t.Helper()
	c, err := scram.SHA256.NewClient("app", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *scramClient) Start() (string, []byte, error) {
	first, err := c.talk.Step("")
	return c.name, []byte(first), err
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	if c.talk.Done() {
		return nil, nil
	}
	answer, err := c.talk.Step(string(challenge))
	return []byte(answer), err
}
