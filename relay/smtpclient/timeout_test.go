package smtpclient_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/relaytest"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// stages are the places where a host can hang, with the limit of each by
// RFC 5321 §4.5.3.2 and by this package's documentation.
var stages = []struct {
	name      string
	rule      relaytest.Rule
	stage     smtpclient.Stage
	limit     time.Duration
	ambiguous bool
}{
	{"5321-4.5.3.2-a 1123-5.3.2-a greeting", relaytest.Rule{Verb: "CONNECT"}, smtpclient.StageGreeting, 5 * time.Minute, false},
	{"EHLO", relaytest.Rule{Verb: "EHLO"}, smtpclient.StageHello, 5 * time.Minute, false},
	{"STARTTLS", relaytest.Rule{Verb: "STARTTLS"}, smtpclient.StageSTARTTLS, 5 * time.Minute, false},
	{"handshake", relaytest.Rule{Verb: "HANDSHAKE"}, smtpclient.StageHandshake, time.Minute, false},
	{"EHLO under TLS", relaytest.Rule{Verb: "EHLO", First: 2}, smtpclient.StageHello, 5 * time.Minute, false},
	{"AUTH", relaytest.Rule{Verb: "AUTH"}, smtpclient.StageAuth, 5 * time.Minute, false},
	{"5321-4.5.3.2-a 1123-5.3.2-a MAIL", relaytest.Rule{Verb: "MAIL"}, smtpclient.StageMail, 5 * time.Minute, false},
	{"5321-4.5.3.2-a 1123-5.3.2-a RCPT", relaytest.Rule{Verb: "RCPT", First: 2}, smtpclient.StageRcpt, 5 * time.Minute, false},
	{"5321-4.5.3.2-a 1123-5.3.2-a DATA", relaytest.Rule{Verb: "DATA"}, smtpclient.StageData, 2 * time.Minute, false},
	{"Q-17 5321-4.5.3.2-a 1123-5.3.2-a content", relaytest.Rule{Verb: "CONTENT"}, smtpclient.StageContent, 3 * time.Minute, false},
	{"1047-a 5321-4.5.3.2-a 1123-5.3.2-a dot", relaytest.Rule{Verb: "DOT"}, smtpclient.StageDot, 10 * time.Minute, true},
}

// try runs one session with one message against a sink in virtual time, and
// returns when the last of it failed.
func try(t *testing.T, ctx context.Context, rules []relaytest.Rule, pipelining bool) (*relaytest.Sink, smtpclient.Result, error) {
	t.Helper()
	ca := relaytest.NewCA(t)
	extensions := []string{"SIZE"}
	if pipelining {
		extensions = append(extensions, "PIPELINING")
	}
	s := relaytest.NewSink(t, "", relaytest.WithCertificate(ca.Leaf("sink.example")),
		relaytest.WithAuth("user", "secret"), relaytest.WithExtensions(extensions...))
	s.Add(rules...)
	o := options()
	o.TLS, o.Username, o.Password = clientTLS(ca), "user", "secret"
	c, err := smtpclient.New(ctx, s.Pipe(), o)
	if err != nil {
		return s, smtpclient.Result{}, err
	}
	res, err := c.Send(ctx, message(t, "a@d.example", "b@d.example"))
	if c.Reusable() != (err == nil) {
		t.Errorf("reusable %v after %v", c.Reusable(), err)
	}
	c.Quit()
	return s, res, err
}

func TestHangs(t *testing.T) {
	for _, test := range stages {
		for _, pipelining := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					rule := test.rule
					rule.Action = relaytest.Action{Silent: true, Stall: true}
					_, res, err := try(t, t.Context(), []relaytest.Rule{rule}, pipelining)
					failed(t, err, test.stage)
					if !errors.Is(err, os.ErrDeadlineExceeded) || res.Ambiguous != test.ambiguous {
						t.Errorf("%v, ambiguous %v", err, res.Ambiguous)
					}
					took := time.Since(start)
					if test.stage == smtpclient.StageContent {
						took -= time.Second // in which a late reply was looked for
					}
					if took != test.limit {
						t.Errorf("took %v, want %v", took, test.limit)
					}
				})
			})
		}
	}
}

// A host that sends an octet now and then gains nothing by it.
//
//
func TestDrips(t *testing.T) {
	for _, test := range stages {
		if test.stage == smtpclient.StageHandshake || test.stage == smtpclient.StageContent {
			continue // no reply to drip
		}
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				rule := test.rule
				rule.Action = relaytest.Action{Drip: 50 * time.Second, Reply: "250 2.0.0 this takes a long time"}
				_, _, err := try(t, t.Context(), []relaytest.Rule{rule}, true)
				failed(t, err, test.stage)
				if took := time.Since(start); took != test.limit {
					t.Errorf("took %v, want %v", took, test.limit)
				}
			})
		})
	}
}

// A cancelled context ends a session at once, wherever it stands.
func TestCancelled(t *testing.T) {
	for _, test := range stages {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cause := errors.New("shutting down")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(cause) })
				start := time.Now()
				rule := test.rule
				rule.Action = relaytest.Action{Silent: true, Stall: true}
				_, res, err := try(t, ctx, []relaytest.Rule{rule}, true)
				failed(t, err, test.stage)
				if !errors.Is(err, cause) || res.Ambiguous != test.ambiguous {
					t.Errorf("%v, ambiguous %v", err, res.Ambiguous)
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// The host closes the connection at each stage, without and with a 421.
//
// 5321-3.8-c: either way what has no reply is to be tried again.
func TestDrops(t *testing.T) {
	for _, test := range stages {
		for _, action := range []relaytest.Action{{Silent: true, Drop: true}, {Reply: "421 4.3.2 closing", Drop: true}} {
			if (test.stage == smtpclient.StageHandshake || test.stage == smtpclient.StageContent) && !action.Silent {
				continue // a handshake has no reply; for one within content see TestLateReply
			}
			t.Run(test.name+" "+action.Reply, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rule := test.rule
					rule.Action = action
					start := time.Now()
					_, res, err := try(t, t.Context(), []relaytest.Rule{rule}, true)
					stage := test.stage
					if test.name == "EHLO under TLS" && action.Silent {
						// By TLS 1.3 this is how a host refuses our side of the handshake.
						stage = smtpclient.StageHandshake
					}
					e := failed(t, err, stage)
					if (e.Reply.Code == 421) == action.Silent {
						t.Errorf("reply lost or made up: %v", err)
					}
					if res.Ambiguous != (test.ambiguous && action.Silent) {
						t.Errorf("ambiguous %v", res.Ambiguous)
					}
					if took := time.Since(start); took != 0 {
						t.Errorf("took %v", took)
					}
				})
			})
		}
	}
}

// Whatever QUIT meets, the outcome stands, and it takes five seconds at most.
//
// 5321-4.1.1.10-a
func TestQuitHangs(t *testing.T) {
	for _, action := range []relaytest.Action{
		{Silent: true}, {Silent: true, Stall: true}, {Drip: time.Second}, {Raw: "garbage\r\n"}, {Silent: true, Drop: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			s, res, err := try(t, t.Context(), []relaytest.Rule{{Verb: "QUIT", Action: action}}, true)
			if err != nil || codes(res) != "250 250" || s.Count() != 1 {
				t.Errorf("%s, %v, %d messages", codes(res), err, s.Count())
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A slow but honest host is waited for, and every reply has its own limit.
func TestSlowHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(verb string, d time.Duration) relaytest.Rule {
			return relaytest.Rule{Verb: verb, Action: relaytest.Action{Delay: d}}
		}
		start := time.Now()
		_, res, err := try(t, t.Context(), []relaytest.Rule{
			slow("CONNECT", 299*time.Second), slow("EHLO", 299*time.Second), slow("MAIL", 299*time.Second),
			slow("RCPT", 299*time.Second), slow("DATA", 119*time.Second), slow("DOT", 599*time.Second),
		}, true)
		if err != nil || codes(res) != "250 250" {
			t.Errorf("%s, %v", codes(res), err)
		}
		if took, want := time.Since(start), (6*299+119+599)*time.Second; took != want {
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

// 5321-4.5.3.2-a: each limit is a setting.
func TestTimeoutsAreSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.NewSink(t, "")
		s.On("RCPT", relaytest.Action{Silent: true, Stall: true})
		o := options()
		o.Timeouts.Rcpt = 7 * time.Second
		c, err := smtpclient.New(t.Context(), s.Pipe(), o)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = c.Send(t.Context(), message(t, "a@d.example"))
		e := failed(t, err, smtpclient.StageRcpt)
		if took := time.Since(start); took != 7*time.Second || e.Status() != (smtp.EnhancedCode{4, 4, 2}) {
			t.Errorf("took %v, status %v", took, e.Status())
		}
	})
}
