// Package account keeps the secrets with which we log in at next hops.
//
// A secret is read from its file whenever it is used, so that a changed one
// counts from the next connection on. An OAuth 2.0 access token is fetched from
// the provider (RFC 6749), kept in memory until shortly before it expires or a
// host refuses it, and never written anywhere. A refresh token that the provider
// replaces is written to a file of ours, as the old one may be void from then on.
//
// It decides nothing: which host gets to see what is for its caller. No secret is
// in any error.
package account

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Options configures an account.
type Options struct {
	// Username is the name to log in with.
	Username string
	// Mechanism is the SASL mechanism; empty is the best one that is offered.
	Mechanism string
	// PasswordFile holds the password; empty where there is none.
	PasswordFile string
	// OAuth says how access tokens are had; nil means that there is a password.
	OAuth *OAuth
	// CertificateFile and KeyFile are the client certificate; empty is none.
	CertificateFile, KeyFile string
	// Read reads a file that holds a secret. Required.
	Read func(name string) (string, error)
	// Client fetches tokens; nil is one that follows no redirects.
	Client *http.Client
}

// Login is what is shown to a host.
type Login struct {
	Username, Password string
	// Token is an access token, in place of a password.
	Token string
	// Mechanism is that of the options.
	Mechanism string
}

// Account is one identity. It is safe for concurrent use.
type Account struct {
	o Options

	mu      sync.Mutex
	token   string
	expires time.Time
	failed  error // why no token was had last, until retry
	retry   time.Time
}

// New returns an account.
func New(o Options) *Account {
	if o.Client == nil {
		o.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Account{o: o}
}

// Login returns what to show to a host now. It may have to fetch a token, for
// which others wait too.
func (a *Account) Login(ctx context.Context) (Login, error) {
	l := Login{Username: a.o.Username, Mechanism: a.o.Mechanism}
	var err error
	switch {
	case a.o.OAuth != nil:
		l.Token, err = a.accessToken(ctx)
	case a.o.PasswordFile != "":
		l.Password, err = a.o.Read(a.o.PasswordFile)
	}
	if err != nil {
		return Login{}, fmt.Errorf("credentials of %s: %w", a.o.Username, err)
	}
	return l, nil
}

// Refused says that a host did not take a login. It reports whether another one
// may be better: a token that has not been fetched just now is forgotten.
func (a *Account) Refused(l Login) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.Token == "" || l.Token != a.token {
		return false
	}
	a.token = ""
	return true
}

// Certificate returns the client certificate, or nil where there is none.
func (a *Account) Certificate() (*tls.Certificate, error) {
	if a.o.CertificateFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(a.o.CertificateFile, a.o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load client certificate: %w", err)
	}
	return &pair, nil
}
