package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/relay/account"
	"waypost/relay/smtpclient"
)

// holdLogin is how long credentials that a host refused are not shown to it
// again: hosts lock out who insists. Others are shown at once.
const holdLogin = 10 * time.Minute

// logins remembers which credentials were refused where.
type logins struct {
	log     *slog.Logger
	gauge   prometheus.Gauge
	mu      sync.Mutex
	refused map[string]refusedLogin // by the leg
}

type refusedLogin struct {
	login account.Login
	err   error
	until time.Time
}

func newLogins(log *slog.Logger, gauge prometheus.Gauge) *logins {
	return &logins{log: log, gauge: gauge, refused: map[string]refusedLogin{}}
}

// held returns why a login is not to be shown now; nil when it may be.
func (l *logins) held(h hop, login account.Login) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.refused[h.key]; ok && r.login == login && time.Now().Before(r.until) {
		return r.err
	}
	return nil
}

// refuse notes that a login was refused. That is told once, until one is taken.
func (l *logins) refuse(h hop, login account.Login, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.refused[h.key]; !known {
		// Mail waits until somebody mends this.
		l.log.Error("login refused, mail waits", "next_hop", h.leg.String(), "error", err.Error())
	}
	l.refused[h.key] = refusedLogin{login, err, time.Now().Add(holdLogin)}
	l.gauge.Set(float64(len(l.refused)))
}

// reset forgets what was refused: under other routes it is found out anew.
func (l *logins) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.refused)
	l.gauge.Set(0)
}

// take notes that a login was taken.
func (l *logins) take(h hop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.refused[h.key]; known {
		l.log.Info("login taken again", "next_hop", h.leg.String())
		delete(l.refused, h.key)
		l.gauge.Set(float64(len(l.refused)))
	}
}

// loginError is that there is nothing to log in with. Its error is temporary.
type loginError struct{ err error }

func (e loginError) Error() string { return e.err.Error() }
func (e loginError) Unwrap() error { return e.err }

// withLogin adds to h what to log in with.
func (o *Outbound) withLogin(ctx context.Context, h hop) (hop, error) {
	h.login = account.Login{Username: h.terms.Username, Password: h.terms.Password}
	if h.terms.Account == "" {
		return h, o.logins.held(h, h.login)
	}
	if h.account == nil {
		return h, loginError{fmt.Errorf("there is no account %s", h.terms.Account)}
	}
	var err error
	if h.login, err = h.account.Login(ctx); err == nil {
		h.certificate, err = h.account.Certificate()
	}
	if err != nil && ctx.Err() == nil {
		err = loginError{err}
		o.logins.refuse(h, h.login, err)
	}
	if err != nil {
		return h, err
	}
	return h, o.logins.held(h, h.login)
}

// secrets reports whether h has something that must not travel in clear.
func (h hop) secrets() bool { return h.login != (account.Login{}) }

// present has a TLS configuration show the client certificate.
func (h hop) present(config *tls.Config) {
	if config != nil && h.certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return h.certificate, nil }
	}
}

// loggedIn notes what a host made of our login. It reports whether another login
// may be better: a token that was void before its time.
func (o *Outbound) loggedIn(h hop, err error) (renewed bool) {
	if !h.secrets() {
		return false
	}
	e, ok := errors.AsType[*smtpclient.Error](err)
	switch {
	case err == nil:
		o.logins.take(h)
	case ok && e.Stage == smtpclient.StageAuth && e.Reply.Permanent():
		if h.account != nil && h.account.Refused(h.login) && !h.renewed {
			return true
		}
		o.logins.refuse(h, h.login, err)
	case ok && e.Stage == smtpclient.StageAuth && e.Reply.Code == 0:
		// Nothing was refused, but nothing will change by itself either.
		o.logins.refuse(h, h.login, err)
	}
	return false
}
