package smtpclient

import (
	"cmp"
	"crypto/tls"
	"errors"
	"time"

	"waypost/relay/dialogue"
)

// TLSPolicy says when a session uses STARTTLS. Whether the host's certificate
// is verified is decided in the tls.Config.
type TLSPolicy uint8

const (
	// TLSOpportunistic, the zero value: STARTTLS where it is offered and a
	// tls.Config is there. When STARTTLS is refused or the handshake fails,
	// New returns an error of StageSTARTTLS or StageHandshake; going on in
	// clear takes a new connection and TLSNever.
	TLSOpportunistic TLSPolicy = iota
	// TLSRequired: without STARTTLS New returns ErrNoSTARTTLS.
	TLSRequired
	// TLSNever: STARTTLS is not used even if it is offered.
	TLSNever
	// TLSImplicit: the connection begins with the handshake (RFC 8314 §3).
	TLSImplicit
)

// String returns "opportunistic", "required", "never" or "implicit".
func (p TLSPolicy) String() string {
	switch p {
	case TLSRequired:
		return "required"
	case TLSNever:
		return "never"
	case TLSImplicit:
		return "implicit"
	}
	return "opportunistic"
}

// Options are the settings of a session.
type Options struct {
	// Hostname is our own name, the argument of EHLO: a fully qualified name
	// or an address literal (RFC 5321 §4.1.4). Required.
	Hostname string
	// Talk records the session for who reads along; nil for nobody.
	Talk *dialogue.Session
	// LMTP says that the host speaks LMTP (RFC 2033): it is greeted with LHLO,
	// and says after the content what became of each recipient.
	LMTP bool
	// NoPipelining and NoChunking leave these extensions alone, even where they
	// are offered.
	NoPipelining, NoChunking bool
	// Timeouts bounds each wait; zero fields have their defaults.
	Timeouts Timeouts
	// TLS is the configuration for STARTTLS, with the name to verify in it.
	// It is cloned. Nil means no STARTTLS.
	TLS *tls.Config
	// TLSPolicy says when STARTTLS is used; the zero value is opportunistic.
	TLSPolicy TLSPolicy
	// Username and Password are the credentials; an empty Username means
	// that the session does not authenticate. They are sent under TLS or to
	// a loopback address only.
	Username, Password string
	// Token is an OAuth 2.0 access token, in place of a password.
	Token string
	// Mechanism is the SASL mechanism to use, one of [Mechanisms]; empty takes
	// the best one that the host offers.
	Mechanism string
}

// Timeouts bounds the waits of a session. Each is absolute: a host that sends
// an octet now and then does not prolong it. A zero field has the default,
// which for the first seven is the one of RFC 5321 §4.5.3.2.
type Timeouts struct {
	// Greeting is the wait for the 220; default 5 minutes.
	Greeting time.Duration
	// Hello is the wait for the reply to EHLO, HELO, STARTTLS and each step
	// of AUTH; default 5 minutes.
	Hello time.Duration
	// Mail is the wait for the reply to MAIL and RSET; default 5 minutes.
	Mail time.Duration
	// Rcpt is the wait for the reply to each RCPT; default 5 minutes.
	Rcpt time.Duration
	// Data is the wait for the reply to DATA; default 2 minutes.
	Data time.Duration
	// Block is the limit of each write of content; default 3 minutes.
	Block time.Duration
	// Dot is the wait for the reply to the final dot, by LMTP for that of each
	// recipient; default 10 minutes.
	Dot time.Duration
	// Handshake is the limit of the whole TLS handshake; default 60 seconds.
	Handshake time.Duration
	// Quit is the limit of QUIT with its reply; default 5 seconds.
	Quit time.Duration
}

// of returns the limit of one stage.
func (t *Timeouts) of(s Stage) time.Duration {
	switch s {
	case StageGreeting:
		return cmp.Or(t.Greeting, 5*time.Minute)
	case StageHandshake:
		return cmp.Or(t.Handshake, time.Minute)
	case StageMail, StageReset:
		return cmp.Or(t.Mail, 5*time.Minute)
	case StageRcpt:
		return cmp.Or(t.Rcpt, 5*time.Minute)
	case StageData:
		return cmp.Or(t.Data, 2*time.Minute)
	case StageContent:
		return cmp.Or(t.Block, 3*time.Minute)
	case StageDot:
		return cmp.Or(t.Dot, 10*time.Minute)
	case StageQuit:
		return cmp.Or(t.Quit, 5*time.Second)
	}
	return cmp.Or(t.Hello, 5*time.Minute)
}

func (o *Options) check() error {
	if o.Hostname == "" {
		return errors.New("no host name for EHLO")
	}
	if !plain(o.Hostname) {
		return errors.New("host name for EHLO has a space or control character")
	}
	if (o.TLSPolicy == TLSRequired || o.TLSPolicy == TLSImplicit) && o.TLS == nil {
		return errors.New("TLS is required and there is no configuration for it")
	}
	return nil
}

// plain reports whether s has neither space nor control character, so that
// it cannot end a command or begin another parameter.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
