package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/xdg-go/scram"

	"waypost/metrics"
	"waypost/relay/smtpserver"
	"waypost/relay/watch"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// peer is a client's connection as the engine shows it.
type peer struct {
	net.Conn // nil: nothing is read or written
	addr     string
	state    *tls.ConnectionState
	der      []byte
}

func (p *peer) Hostname() string          { return "client.example" }
func (p *peer) ServerCertificate() []byte { return p.der }
func (p *peer) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(p.addr), Port: 4}
}
func (p *peer) TLSConnectionState() (tls.ConnectionState, bool) {
	if p.state == nil {
		return tls.ConnectionState{}, false
	}
	return *p.state, true
}

// conn makes a peer a smtpserver.Conn, whose Conn is a method.
type conn struct{ *peer }

func (c conn) Conn() net.Conn { return c.peer }

var _ smtpserver.AuthenticatingConn = conn{}

func newAuth(t testing.TB, text string) (*Authenticator, *metrics.Metrics) {
	t.Helper()
	users, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.New(nil)
	return New(Options{Users: watch.Fixed(users), Metrics: m}), m
}

// talk drives both sides of an exchange. It returns the login, and the error of
// the server or of the client.
func talk(a *Authenticator, c smtpserver.Conn, mechanism string, initial []byte, client func(challenge []byte) ([]byte, error)) (login string, err error) {
	server, err := a.Begin(c, mechanism, func(name string) { login = name })
	if err != nil {
		return "", err
	}
	for response := initial; ; {
		challenge, done, err := server.Next(response)
		if err != nil || done {
			return login, err
		}
		if response, err = client(challenge); err != nil {
			return login, err
		}
		if response == nil {
			response = []byte{}
		}
	}
}

func code(err error) int {
	if reply, ok := errors.AsType[*gosmtp.SMTPError](err); ok {
		return reply.Code
	}
	return 0
}

func saslClient(t testing.TB, c sasl.Client) ([]byte, func([]byte) ([]byte, error)) {
	_, initial, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	return initial, c.Next
}

// these mechanisms and no others.
func TestPlainAndLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, m := newAuth(t, "user:"+rfc7677)
		c := conn{&peer{addr: "192.0.2.1"}}
		if got := a.Mechanisms(c); !slices.Equal(got, []string{Scram, Plain, Login}) {
			t.Errorf("mechanisms %v", got)
		}
		for _, tc := range []struct {
			identity, name, password string
			want                     int
		}{
			{"", "user", "pencil", 0}, {"user", "user", "pencil", 0},
			{"root", "user", "pencil", 535}, {"", "user", "wrong", 535}, {"", "nobody", "pencil", 535},
			{"", "", "", 535}, {"", strings.Repeat("u", 256), "pencil", 501}, {"", "user", "\xff", 501},
		} {
			initial, next := saslClient(t, sasl.NewPlainClient(tc.identity, tc.name, tc.password))
			login, err := talk(a, c, Plain, initial, next)
			if code(err) != tc.want || (login == "user") != (tc.want == 0) {
				t.Errorf("PLAIN %.20q %q: %q, %v", tc.name, tc.password, login, err)
			}
			if tc.identity != "" || len(tc.name) > 255 || tc.password == "\xff" {
				continue
			}
			answers := [][]byte{[]byte(tc.name), []byte(tc.password)}
			login, err = talk(a, c, Login, nil, func([]byte) ([]byte, error) {
				answer := answers[0]
				answers = answers[1:]
				return answer, nil
			})
			if code(err) != tc.want || (login == "user") != (tc.want == 0) {
				t.Errorf("LOGIN %.20q %q: %q, %v", tc.name, tc.password, login, err)
			}
		}
		if n := testutil.ToFloat64(m.Auth.WithLabelValues(Plain, metrics.AuthFailed)); n != 4 {
			t.Errorf("%v failures of PLAIN are counted", n)
		}
		if _, err := a.Begin(c, "NTLM", nil); code(err) != 504 {
			t.Errorf("NTLM: %v", err)
		}
		if _, err := a.Begin(c, ScramPlus, nil); code(err) != 504 {
			t.Errorf("-PLUS without TLS: %v", err)
		}
	})
}

// later and later, and then not at all.
//
// Who fails is answered later and later, and then not any more; who succeeds
// from elsewhere does not notice.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newAuth(t, "user:"+rfc7677)
		try := func(from, password string) (int, time.Duration) {
			begin := time.Now()
			initial, next := saslClient(t, sasl.NewPlainClient("", "user", password))
			_, err := talk(a, conn{&peer{addr: from}}, Plain, initial, next)
			return code(err), time.Since(begin)
		}
		if got, took := try("198.51.100.1", "pencil"); got != 0 || took != 0 {
			t.Errorf("%d after %v", got, took)
		}
		var delays []time.Duration
		for range maxFailures {
			got, took := try("192.0.2.1", "guess")
			if got != 535 {
				t.Fatalf("%d", got)
			}
			delays = append(delays, took)
		}
		if !slices.IsSorted(delays) || delays[0] != firstDelay || delays[1] != 2*firstDelay || delays[99] != lastDelay {
			t.Errorf("delays %v", delays)
		}
		if got, took := try("192.0.2.1", "pencil"); got != 454 || took != 0 {
			t.Errorf("%d after %v", got, took)
		}
		if got, took := try("198.51.100.1", "pencil"); got != 0 || took != 0 {
			t.Errorf("%d after %v", got, took)
		}
	})
}

// handshake returns what the server and the client know of one TLS session.
func handshake(t testing.TB, server, client *tls.Config) (*tls.ConnectionState, *tls.ConnectionState) {
	t.Helper()
	left, right := net.Pipe()
	s, c := tls.Server(left, server), tls.Client(right, client)
	ended := make(chan error, 1)
	go func() { ended <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	// A server of TLS 1.3 is done only with the client's last message.
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ss, cs := s.ConnectionState(), c.ConnectionState()
	left.Close()
	right.Close()
	return &ss, &cs
}

// The other side of SCRAM is the library's own client.
func TestScram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, m := newAuth(t, "user:"+rfc7677)
		certificate := newCertificate(t, "mail.example", nil)
		serverTLS := &tls.Config{Certificates: []tls.Certificate{certificate}}
		clientTLS := &tls.Config{InsecureSkipVerify: true}
		state, clientState := handshake(t, serverTLS, clientTLS)
		_, otherClient := handshake(t, serverTLS, clientTLS)
		c := conn{&peer{addr: "192.0.2.1", state: state, der: certificate.Certificate[0]}}
		if got := a.Mechanisms(c); !slices.Equal(got, []string{ScramPlus, Scram, Plain, Login}) {
			t.Errorf("mechanisms %v", got)
		}
		exporter, err1 := scram.NewTLSExporterBinding(clientState)
		foreign, err2 := scram.NewTLSExporterBinding(otherClient)
		endPoint, err3 := scram.NewTLSServerEndpointBinding(clientState)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			what, mechanism, name, password string
			begin                           func(*scram.Client) *scram.ClientConversation
			want                            int
		}{
			{"right", Scram, "user", "pencil", (*scram.Client).NewConversation, 0},
			{"wrong", Scram, "user", "pencils", (*scram.Client).NewConversation, 535},
			{"unknown", Scram, "nobody", "pencil", (*scram.Client).NewConversation, 535},
			{"downgraded", Scram, "user", "pencil", (*scram.Client).NewConversationAdvertisingChannelBinding, 501},
			{"exporter", ScramPlus, "user", "pencil", with(exporter), 0},
			{"end point", ScramPlus, "user", "pencil", with(endPoint), 0},
			{"another session's", ScramPlus, "user", "pencil", with(foreign), 535},
			{"unbound", ScramPlus, "user", "pencil", (*scram.Client).NewConversation, 501},
			{"bound", Scram, "user", "pencil", with(exporter), 501},
			{"unknown kind", ScramPlus, "user", "pencil", with(scram.NewTLSUniqueBinding([]byte("x"))), 501},
		} {
			client, err := scram.SHA256.NewClient(tc.name, tc.password, "")
			if err != nil {
				t.Fatal(err)
			}
			talking := tc.begin(client)
			login, err := talk(a, c, tc.mechanism, nil, func(challenge []byte) ([]byte, error) {
				if talking.Done() {
					return nil, nil
				}
				answer, err := talking.Step(string(challenge))
				return []byte(answer), err
			})
			if code(err) != tc.want || (login == "user") != (tc.want == 0) || talking.Valid() != (tc.want == 0) {
				t.Errorf("%s: login %q, client is sure %t, %v", tc.what, login, talking.Valid(), err)
			}
		}
		if n := testutil.ToFloat64(m.Auth.WithLabelValues(ScramPlus, metrics.AuthOK)); n != 2 {
			t.Errorf("%v logins by -PLUS are counted", n)
		}
	})
}

func with(b scram.ChannelBinding) func(*scram.Client) *scram.ClientConversation {
	return func(c *scram.Client) *scram.ClientConversation { return c.NewConversationWithChannelBinding(b) }
}

func TestExternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newAuth(t, "")
		root := newCertificate(t, "root", nil)
		pool := x509.NewCertPool()
		pool.AddCert(root.Leaf)
		server := &tls.Config{Certificates: []tls.Certificate{newCertificate(t, "mail.example", nil)}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
		client := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{newCertificate(t, "app.example", &root)}}
		state, _ := handshake(t, server, client)
		c := conn{&peer{addr: "192.0.2.1", state: state}}
		if got := a.Mechanisms(c); !slices.Equal(got, []string{External}) {
			t.Errorf("mechanisms %v", got)
		}
		for identity, want := range map[string]int{"": 0, "app.example": 0, "root": 535, "mail.example": 535, "a\x00b": 501} {
			login, err := talk(a, c, External, []byte(identity), nil)
			if code(err) != want || (login == "app.example") != (want == 0) {
				t.Errorf("%q: %q, %v", identity, login, err)
			}
		}
		// A certificate that was not verified is none.
		state.VerifiedChains = nil
		if got := a.Mechanisms(c); len(got) > 0 {
			t.Errorf("mechanisms %v", got)
		}
	})
}

// Whatever a client says, no exchange panics, goes on for ever, or succeeds
// without the password.
func FuzzExchange(f *testing.F) {
	f.Add(0, []byte("\x00user\x00guess"), []byte(nil), []byte(nil))
	f.Add(1, []byte("user"), []byte("guess"), []byte(nil))
	f.Add(2, []byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), []byte("c=biws,r=rOprNGfwEbeRWgbNEkqO,p=AAAA"), []byte(nil))
	f.Add(2, []byte("p=tls-exporter,,n=user,r=x"), []byte("y,,n=,r="), []byte("n,a=b,n=c"))
	users, err := Parse([]byte("user:" + rfc7677))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which int, a, b, c []byte) {
		auth := New(Options{Users: watch.Fixed(users)})
		mechanisms := []string{Plain, Login, Scram}
		server, err := auth.Begin(conn{&peer{addr: "192.0.2.1"}}, mechanisms[uint(which)%3], func(login string) {
			for _, said := range [][]byte{a, b, c} {
				if strings.Contains(string(said), "pencil") {
					return
				}
			}
			t.Errorf("%q has logged in", login)
		})
		if err != nil {
			t.Fatal(err)
		}
		// A failure sleeps, and that is for other tests.
		auth.guard.delays = func(time.Duration) {}
		for _, said := range [][]byte{a, b, c, {}, {}} {
			if _, done, err := server.Next(said); err != nil || done {
				return
			}
		}
		t.Error("the exchange does not end")
	})
}
