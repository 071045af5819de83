package auth

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/relay/smtp"
	"waypost/relay/smtpserver"
	"waypost/relay/watch"
)

// Names of the mechanisms, from the strongest.
const (
	External  = sasl.External
	ScramPlus = "SCRAM-SHA-256-PLUS"
	Scram     = "SCRAM-SHA-256"
	Plain     = sasl.Plain
	Login     = sasl.Login
)

// Options configures an Authenticator.
type Options struct {
	// Users may log in with a password; nil means that there are none.
	Users *watch.Value[*Users]
	// Before is the authenticator in whose place this one comes: what it has
	// counted goes on. Nil begins anew.
	Before  *Authenticator
	Log     *slog.Logger     // nil discards
	Metrics *metrics.Metrics // nil counts into nothing
}

// Authenticator finds out who clients are. It is safe for concurrent use.
type Authenticator struct {
	Options
	guard *guard
}

// New returns an authenticator.
func New(o Options) *Authenticator {
	if o.Users == nil {
		users, _ := Parse(nil) // nothing cannot be wrong
		o.Users = watch.Fixed(users)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	a := &Authenticator{Options: o, guard: newGuard()}
	if o.Before != nil {
		a.guard, a.Before = o.Before.guard, nil
	}
	return a
}

// exchange is one attempt of a client to log in, or the question of how it may.
type exchange struct {
	auth *Authenticator
	addr netip.Addr
	// tls is the state of TLS, nil in clear, and presented our certificate in
	// DER.
	tls       *tls.ConnectionState
	presented []byte
	// authenticated is told of success.
	authenticated func(login string)
}

func (a *Authenticator) exchange(c smtpserver.Conn) *exchange {
	e := &exchange{auth: a}
	if tcp, ok := c.Conn().RemoteAddr().(*net.TCPAddr); ok {
		e.addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	if state, ok := c.TLSConnectionState(); ok {
		e.tls = &state
	}
	if c, ok := c.(smtpserver.AuthenticatingConn); ok {
		e.presented = c.ServerCertificate()
	}
	return e
}

// Mechanisms lists what a client may use, from the strongest. Whether AUTH is
// possible without TLS at all is for others to say.
func (a *Authenticator) Mechanisms(c smtpserver.Conn) []string { return a.exchange(c).mechanisms() }

func (e *exchange) mechanisms() []string {
	var list []string
	if len(e.certificateNames()) > 0 {
		list = append(list, External)
	}
	if users := e.auth.Users.Get(); users.Len() > 0 {
		if users.SCRAM() {
			if len(e.bindings()) > 0 {
				list = append(list, ScramPlus)
			}
			list = append(list, Scram)
		}
		list = append(list, Plain, Login)
	}
	return list
}

// Begin begins an exchange. Once the client has shown who it is, authenticated
// is called. What is refused is an *smtp.SMTPError of go-smtp's.
func (a *Authenticator) Begin(c smtpserver.Conn, mechanism string, authenticated func(login string)) (sasl.Server, error) {
	e := a.exchange(c)
	e.authenticated = authenticated
	if !slices.Contains(e.mechanisms(), mechanism) {
		e.count(metrics.AuthOther, metrics.AuthRefused)
		return nil, errMechanism
	}
	switch mechanism {
	case External:
		return &external{exchange: e}, nil
	case Scram, ScramPlus:
		return &scramServer{exchange: e, mechanism: mechanism}, nil
	case Login:
		return &login{exchange: e}, nil
	}
	return &plain{exchange: e}, nil
}

// The answers (RFC 4954 §6). Whether a user exists is in none of them.
var (
	errMechanism = &gosmtp.SMTPError{Code: 504, EnhancedCode: gosmtp.EnhancedCode{5, 5, 4}, Message: "Mechanism not available"}
	errFailed    = &gosmtp.SMTPError{Code: 535, EnhancedCode: gosmtp.EnhancedCode{5, 7, 8}, Message: "Authentication failed"}
	errMalformed = &gosmtp.SMTPError{Code: 501, EnhancedCode: gosmtp.EnhancedCode{5, 5, 2}, Message: "Malformed authentication response"}
	errTooMany   = &gosmtp.SMTPError{Code: 454, EnhancedCode: gosmtp.EnhancedCode{4, 7, 0}, Message: "Too many failures, try again later"}
)

// malformed answers a response that is not of its mechanism.
func (e *exchange) malformed(mechanism string) error {
	e.count(mechanism, metrics.AuthMalformed)
	return errMalformed
}

// admit refuses those who failed too often, before anything is checked.
func (e *exchange) admit(mechanism, login string) error {
	if e.auth.guard.admits(e.addr, login, time.Now()) {
		return nil
	}
	e.count(mechanism, metrics.AuthRefused)
	e.auth.Log.Warn("login not tried", "client", e.addr.String(), "login", smtp.Printable(login), "mechanism", mechanism, "reason", "too many failures")
	return errTooMany
}

// settle ends an exchange. The answer to a failure takes its time.
func (e *exchange) settle(mechanism, login string, ok bool) error {
	a, now := e.auth, time.Now()
	if ok {
		a.guard.succeeded(e.addr, login, now)
		e.authenticated(login)
		e.count(mechanism, metrics.AuthOK)
		a.Log.Debug("logged in", "client", e.addr.String(), "login", smtp.Printable(login), "mechanism", mechanism)
		return nil
	}
	e.count(mechanism, metrics.AuthFailed)
	a.Log.Warn("login failed", "client", e.addr.String(), "login", smtp.Printable(login), "mechanism", mechanism)
	a.guard.delays(a.guard.failed(e.addr, login, now))
	return errFailed
}

func (e *exchange) count(mechanism, result string) {
	e.auth.Metrics.Auth.WithLabelValues(mechanism, result).Inc()
}
