package smtpclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"

	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// TestExtensions: keywords are known in any case, and nothing else is.
//
// 5321-4.1.1.1-b T-12 9422-a: STARTTLS in any case, and LIMITS by its grammar.
func TestExtensions(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	for reply, want := range map[string]smtpclient.Extensions{
		"250 sink.example":                    {},
		"250":                                 {},
		"250-x\n250-PIPELINING\n250 8BITMIME": {Pipelining: true, EightBitMIME: true},
		"250-x\n250-pipelining\n250-8BitMime\n250-smtpUTF8\n250-dsn\n250-EnhancedStatusCodes\n250 chunking": {
			Pipelining: true, EightBitMIME: true, SMTPUTF8: true, DSN: true, EnhancedStatusCodes: true, Chunking: true,
		},
		"250-x\n250 SIZE":                                     {Size: true},
		"250-x\n250 SIZE 0":                                   {Size: true},
		"250-x\n250 SIZE 1000":                                {Size: true, MaxSize: 1000},
		"250-x\n250 SIZE 99999999999999999999":                {Size: true},
		"250-x\n250 SIZE -5":                                  {Size: true},
		"250-x\n250-starttls\n250 DSNX":                       {STARTTLS: true},
		"250-x\n250 StartTLS":                                 {STARTTLS: true},
		"250-x\n250-AUTH login Plain\n250 AUTH=PLAIN":         {Auth: []string{"LOGIN", "PLAIN", "PLAIN"}},
		"250-x\n250 LIMITS RCPTMAX=100 MAILMAX=5 NEW=1":       {MaxRecipients: 100, MaxTransactions: 5},
		"250-x\n250 LIMITS RCPTMAX=100 MAILMAX=":              {},
		"250-x\n250 LIMITS RCPTMAX=1000000":                   {},
		"250-x\n250-PIPELINING \n250-\n250-  \n250 SMTPUTF8 ": {Pipelining: true, SMTPUTF8: true},
	} {
		s.Behave()
		s.On("EHLO", relaytest.Action{Reply: reply})
		if got := open(t, s, options()).Extensions(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", reply, got, want)
		}
	}
}

func TestHELO(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	s.On("EHLO", relaytest.Action{Reply: "502 5.5.1 what"})
	c := open(t, s, options())
	sent(t, c, message(t, "a@d.example"), "250")
	c.Quit()
	if m := s.Wait(1)[0]; m.Extended || m.Hello != "relay.example" || strings.Contains(m.MailLine, " SIZE") {
		t.Errorf("message %+v", m)
	}
	if e := c.Extensions(); !reflect.DeepEqual(e, smtpclient.Extensions{}) {
		t.Errorf("extensions %+v", e)
	}
}

// Each row is a host with which no session comes about.
func TestRefusedSessions(t *testing.T) {
	for name, test := range map[string]struct {
		verb, reply string
		stage       smtpclient.Stage
		steps       string
		code        int
	}{
		"greeting refused":         {"CONNECT", "554 5.7.1 go away", smtpclient.StageGreeting, "CONNECT QUIT", 554},
		"greeting refused for now": {"CONNECT", "450 later", smtpclient.StageGreeting, "CONNECT QUIT", 450},
		"no mail here":             {"CONNECT", "521 never", smtpclient.StageGreeting, "CONNECT QUIT", 521},
		"greeting out of place":    {"CONNECT", "354 what", smtpclient.StageGreeting, "CONNECT", 354},
		"closing":                  {"CONNECT", "421 4.3.2 closing", smtpclient.StageGreeting, "CONNECT", 421},
		"EHLO refused for now":     {"EHLO", "451 later", smtpclient.StageHello, "QUIT", 451},
		"closing at EHLO":          {"EHLO", "421 closing", smtpclient.StageHello, "", 421},
		"EHLO out of place":        {"EHLO", "334 what", smtpclient.StageHello, "", 334},
		"EHLO and HELO refused":    {"EHLO", "550 who", smtpclient.StageHello, "QUIT", 550},
	} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0")
			s.On(test.verb, relaytest.Action{Reply: test.reply})
			s.On("HELO", relaytest.Action{Reply: "550 who"})
			c, err := smtpclient.New(t.Context(), dial(t, s), options())
			e := failed(t, err, test.stage)
			if e.Reply.Code != test.code || e.Scope != smtpclient.ScopeSession || c != nil || e.Status()[0] != 4 {
				t.Errorf("%v, status %v", e, e.Status())
			}
			s.WaitIdle()
			if got := steps(s); got != test.steps {
				t.Errorf("steps %q, want %q", got, test.steps)
			}
		})
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]smtpclient.Options{
		"no name":       {},
		"injected name": {Hostname: "a\r\nQUIT"},
		"no TLS":        {Hostname: "a", TLSPolicy: smtpclient.TLSRequired},
	} {
		client, server := net.Pipe()
		_, err := smtpclient.New(t.Context(), client, o)
		failed(t, err, smtpclient.StageConnect)
		if _, err := server.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
}

func tlsSink(t *testing.T, options ...relaytest.SinkOption) (*relaytest.Sink, smtpclient.Options) {
	ca := relaytest.NewCA(t)
	options = append(options, relaytest.WithCertificate(ca.Leaf("sink.example")))
	s := relaytest.NewSink(t, "127.0.0.5:0", options...)
	return s, smtpclient.Options{Hostname: "relay.example", TLS: clientTLS(ca)}
}

// 3207-d: the handshake would fail on anything in clear behind STARTTLS.
//
// TestSTARTTLS: what was said in clear is forgotten under TLS.
//
// 3207-b T-05
func TestSTARTTLS(t *testing.T) {
	s, o := tlsSink(t, relaytest.WithExtensions("PIPELINING", "SIZE 1", "DSN", "AUTH PLAIN"))
	// RFC 3207 §4.2: what was offered in clear counts for nothing.
	s.OnNth("EHLO", 2, relaytest.Action{Reply: "250-sink.example\n250-STARTTLS\n250 8BITMIME"})
	for _, policy := range []smtpclient.TLSPolicy{smtpclient.TLSOpportunistic, smtpclient.TLSRequired} {
		o.TLSPolicy = policy
		c := open(t, s, o)
		state, ok := c.TLSState()
		if !ok || state.Version != tls.VersionTLS13 {
			t.Errorf("%v: TLS state %v, %v", policy, state.Version, ok)
		}
		if policy == smtpclient.TLSOpportunistic {
			if e := c.Extensions(); !reflect.DeepEqual(e, smtpclient.Extensions{EightBitMIME: true}) {
				t.Errorf("extensions %+v", e)
			}
			sent(t, c, message(t, "a@d.example"), "250")
			if m := s.Wait(1)[0]; !m.TLS || strings.Contains(m.MailLine, "SIZE") {
				t.Errorf("message %+v", m)
			}
		}
		c.Quit()
	}
	o.TLSPolicy = smtpclient.TLSNever
	if _, ok := open(t, s, o).TLSState(); ok {
		t.Error("TLS in spite of the policy")
	}
	if o.TLS.DynamicRecordSizingDisabled {
		t.Error("the caller's configuration was changed")
	}
}

func TestTLSMessageTakesTwoWrites(t *testing.T) {
	s, o := tlsSink(t)
	conn := dial(t, s)
	c, err := smtpclient.New(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	conn.writes.Store(0)
	tx := message(t, "a@d.example")
	tx.Content = strings.NewReader(string(letter(5000)))
	sent(t, c, tx, "250")
	if n := conn.writes.Load(); n != 2 {
		t.Errorf("%d writes", n)
	}
	c.Quit()
}

// TestSTARTTLSNotOffered: where TLS is required there is no session without it.
//
// 3207-c T-11
func TestSTARTTLSNotOffered(t *testing.T) {
	ca := relaytest.NewCA(t)
	s := relaytest.NewSink(t, "127.0.0.5:0")
	o := smtpclient.Options{Hostname: "relay.example", TLS: clientTLS(ca)}
	if _, ok := open(t, s, o).TLSState(); ok {
		t.Error("TLS that was not offered")
	}
	o.TLSPolicy = smtpclient.TLSRequired
	_, err := smtpclient.New(t.Context(), dial(t, s), o)
	failed(t, err, smtpclient.StageSTARTTLS)
	if !errors.Is(err, smtpclient.ErrNoSTARTTLS) {
		t.Error(err)
	}
	s.WaitCommand("QUIT", 1)
	if got := steps(s); got != "QUIT" {
		t.Errorf("steps %s", got)
	}
}

// Each row is a host with which TLS does not come about; in none is anything
// said in clear after that, but QUIT where the session still stands.
func TestSTARTTLSFails(t *testing.T) {
	for name, test := range map[string]struct {
		verb   string
		action relaytest.Action
		stage  smtpclient.Stage
		cause  error
		steps  string
	}{
		"3207-b refused for now": {"STARTTLS", relaytest.Action{Reply: "454 4.7.0 not now"}, smtpclient.StageSTARTTLS, nil, "STARTTLS QUIT"},
		"refused":                {"STARTTLS", relaytest.Action{Reply: "502 no"}, smtpclient.StageSTARTTLS, nil, "STARTTLS QUIT"},
		"out of place":           {"STARTTLS", relaytest.Action{Reply: "354 what"}, smtpclient.StageSTARTTLS, smtpclient.ErrProtocol, "STARTTLS"},
		"T-03 injected": {
			"STARTTLS", relaytest.Action{Reply: "220 go\n250-evil\n250 SIZE 1"}, smtpclient.StageHandshake,
			smtpclient.ErrInjected, "STARTTLS HANDSHAKE",
		},
		"garbage": {"HANDSHAKE", relaytest.Action{Raw: "220 this is not TLS\r\n"}, smtpclient.StageHandshake, nil, "STARTTLS HANDSHAKE"},
		"dropped": {"HANDSHAKE", relaytest.Action{Drop: true}, smtpclient.StageHandshake, nil, "STARTTLS HANDSHAKE"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := tlsSink(t)
			s.On(test.verb, test.action)
			_, err := smtpclient.New(t.Context(), dial(t, s), o)
			e := failed(t, err, test.stage)
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%v, want %v", err, test.cause)
			}
			if test.cause == nil && e.Status()[0] != 4 || e.Status()[1] != 7 && e.Reply.Code == 0 {
				t.Errorf("status %v", e.Status())
			}
			s.WaitIdle()
			if got := steps(s); got != test.steps {
				t.Errorf("steps %q, want %q", got, test.steps)
			}
		})
	}
}

func TestCertificateIsVerified(t *testing.T) {
	s, o := tlsSink(t)
	o.TLS.ServerName = "other.example"
	_, err := smtpclient.New(t.Context(), dial(t, s), o)
	failed(t, err, smtpclient.StageHandshake)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestAuth(t *testing.T) {
	long := strings.Repeat("p", 600)
	for name, test := range map[string]struct {
		offer, password string
		steps           string
	}{
		"PLAIN":                         {"AUTH PLAIN LOGIN", "secret", "AUTH QUIT"},
		"lower case":                    {"auth login plain", "secret", "AUTH QUIT"},
		"old form":                      {"AUTH=PLAIN", "secret", "AUTH QUIT"},
		"4954-4-f LOGIN":                {"AUTH LOGIN CRAM-MD5", "secret", "AUTH QUIT"},
		"4954-4-f PLAIN, long password": {"AUTH PLAIN", long, "AUTH QUIT"},
		"LOGIN, long password":          {"AUTH LOGIN", long, "AUTH QUIT"},
		"LOGIN, empty password":         {"AUTH LOGIN", "", "AUTH QUIT"},
		"PLAIN, UTF-8 and blank":        {"AUTH PLAIN", "pässwörd with blank", "AUTH QUIT"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := tlsSink(t, relaytest.WithAuth("user", test.password))
			s.On("EHLO", relaytest.Action{Reply: "250-sink.example\n250-STARTTLS\n250 " + test.offer})
			o.Username, o.Password = "user", test.password
			c := open(t, s, o)
			c.Quit()
			if got := steps(s); got != test.steps {
				t.Errorf("steps %s", got)
			}
			o.Password = "other"
			_, err := smtpclient.New(t.Context(), dial(t, s), o)
			e := failed(t, err, smtpclient.StageAuth)
			if e.Reply.Code != 535 || e.Scope != smtpclient.ScopeSession || e.Status() != [3]int{4, 7, 8} {
				t.Errorf("%v, status %v", err, e.Status())
			}
			if strings.Contains(err.Error(), "other") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestAuthWhereOthersCouldRead(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("user", "secret"))
	o := options()
	o.Username, o.Password = "user", "secret"
	open(t, s, o).Quit() // to loopback in clear
	conn := dial(t, s)
	conn.remote = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25}
	_, err := smtpclient.New(t.Context(), conn, o)
	failed(t, err, smtpclient.StageAuth)
	if !errors.Is(err, smtpclient.ErrClearAuth) {
		t.Error(err)
	}
	s.WaitIdle()
	if got := steps(s); got != "QUIT" {
		t.Errorf("steps %s", got)
	}
}

func TestAuthGoesWrong(t *testing.T) {
	for name, test := range map[string]struct {
		offer, reply string
		cause        error
	}{
		"not offered":        {"PIPELINING", "", smtpclient.ErrNoAuth},
		"unknown mechanisms": {"AUTH GSSAPI NTLM", "", smtpclient.ErrNoAuth},
		"strange challenge":  {"AUTH PLAIN", "334 d2hhdA==", nil},
		"bad base64":         {"AUTH PLAIN", "334 ???", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("user", "secret"), relaytest.WithLeniency())
			s.On("EHLO", relaytest.Action{Reply: "250-sink.example\n250 " + test.offer})
			if test.reply != "" {
				s.On("AUTH", relaytest.Action{Reply: test.reply})
			}
			o := options()
			o.Username, o.Password = "user", "secret"
			_, err := smtpclient.New(t.Context(), dial(t, s), o)
			failed(t, err, smtpclient.StageAuth)
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("got %v", err)
			}
			s.WaitIdle()
			commands := s.Commands()
			if last := commands[len(commands)-1]; test.reply != "" && last.Line != "*" {
				t.Errorf("the exchange was not cancelled; last came %q", last.Line)
			}
		})
	}
}

// A host that always asks for more does not hold us for ever.
func TestEndlessAuth(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithLeniency())
	s.Script(func(c relaytest.Command) (relaytest.Action, bool) {
		if c.Verb == "EHLO" {
			return relaytest.Action{Reply: "250-x\n250 AUTH LOGIN"}, true
		}
		return relaytest.Action{Reply: "334 "}, c.Verb != "CONNECT"
	})
	o := options()
	o.Username, o.Password = "user", "secret"
	_, err := smtpclient.New(t.Context(), dial(t, s), o)
	failed(t, err, smtpclient.StageAuth)
	if !errors.Is(err, smtpclient.ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

func TestCancelledBeforeNew(t *testing.T) {
	s := relaytest.NewSink(t, "127.0.0.5:0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := smtpclient.New(ctx, dial(t, s), options())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.WaitIdle()
}
