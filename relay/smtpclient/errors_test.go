package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"go.uber.org/goleak"

	"waypost/relay/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		err       Error
		text      string
		status    smtp.EnhancedCode
		permanent bool
	}{
		{
			Error{Stage: StageGreeting, Reply: smtp.NewReply(554, smtp.EnhancedCode{5, 7, 1}, "go away")},
			"greeting: host said 554 5.7.1 go away", smtp.EnhancedCode{4, 7, 1}, false,
		},
		{Error{Stage: StageHello, Reply: smtp.NewReply(550, smtp.EnhancedCode{}, "no")}, "hello: host said 550 no", smtp.EnhancedCode{4, 0, 0}, false},
		{Error{Stage: StageConnect, Err: errors.New("refused")}, "connect: refused", smtp.EnhancedCode{4, 4, 1}, false},
		{Error{Stage: StageDot, Err: io.ErrUnexpectedEOF}, "dot: unexpected EOF", smtp.EnhancedCode{4, 4, 2}, false},
		{Error{Stage: StageHandshake, Err: errors.New("bad certificate")}, "handshake: bad certificate", smtp.EnhancedCode{4, 7, 0}, false},
		{
			Error{Stage: StageRcpt, Err: fmt.Errorf("%w: what", ErrProtocol)}, "rcpt: protocol error: what",
			smtp.EnhancedCode{4, 5, 0}, false,
		},
		{
			Error{Stage: StageContent, Scope: ScopeTransaction, Err: io.ErrNoProgress}, "content: " + io.ErrNoProgress.Error(),
			smtp.EnhancedCode{4, 3, 0}, false,
		},
		{
			Error{Stage: StageContent, Scope: ScopeTransaction, Err: ErrBareLineEnd}, "content: content has a bare CR or LF",
			smtp.EnhancedCode{5, 6, 0}, true,
		},
		{
			Error{Stage: StageMail, Err: errors.New("write: broken pipe"), Reply: smtp.NewReply(421, smtp.EnhancedCode{4, 3, 2}, "closing")},
			"mail: write: broken pipe: host said 421 4.3.2 closing", smtp.EnhancedCode{4, 3, 2}, false,
		},
	} {
		e := &test.err
		if e.Error() != test.text || e.Status() != test.status || e.Permanent() != test.permanent || e.Unwrap() != test.err.Err {
			t.Errorf("%q, status %v, permanent %v; want %q, %v, %v", e, e.Status(), e.Permanent(), test.text, test.status, test.permanent)
		}
	}
}

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for s := StageConnect; s <= StageReset; s++ {
		if name := s.String(); name == "" || name == "unknown" || seen[name] {
			t.Errorf("stage %d is %q", s, name)
		}
		seen[s.String()] = true
	}
	for got, want := range map[string]string{
		Stage(99).String(): "unknown", ScopeSession.String(): "session", ScopeTransaction.String(): "transaction",
		TLSOpportunistic.String(): "opportunistic", TLSRequired.String(): "required", TLSNever.String(): "never",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
