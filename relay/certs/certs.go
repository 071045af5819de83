// Package certs keeps the certificates that listeners present, and those of the
// authorities whose clients they know. They are read again when their files
// change, and what cannot be read keeps out: the certificates before it stay.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"waypost/relay/watch"
)

// maxFile bounds a certificate with its chain, a key, or a list of authorities.
const maxFile = 4 << 20

// Pair names the files of a certificate, with its chain, and of its key.
type Pair struct {
	Certificate, Key string
}

// Options say what to tell whom.
type Options struct {
	// Reread is told when a pair has been read again, or why that failed. Nil
	// tells nobody.
	Reread func(p Pair, err error)
	// Expiry is told the earliest end of all certificates at the beginning and
	// after each change. Nil tells nobody.
	Expiry func(time.Time)
}

// Store is a list of certificates. The first is for clients that name no host,
// or one that none of them is for.
type Store struct {
	pairs  []*watch.Value[*tls.Certificate]
	expiry func(time.Time)
	told   atomic.Int64
}

// Load reads all pairs. At least one is needed.
func Load(pairs []Pair, o Options) (*Store, error) {
	if len(pairs) == 0 {
		return nil, errors.New("load certificates: there is none")
	}
	s := &Store{expiry: o.Expiry}
	for _, p := range pairs {
		value, err := watch.New(func() (*tls.Certificate, error) { return load(p) }, func(err error) {
			if o.Reread != nil {
				o.Reread(p, err)
			}
		}, p.Certificate, p.Key)
		if err != nil {
			return nil, err
		}
		s.pairs = append(s.pairs, value)
	}
	s.tell()
	return s, nil
}

func load(p Pair) (*tls.Certificate, error) {
	certificate, err := watch.ReadFile(p.Certificate, maxFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	key, err := watch.ReadFile(p.Key, maxFile)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", p.Certificate, p.Key, err)
	}
	return &pair, nil
}

// GetCertificate chooses for a client: of the certificates that are for the
// host it names, the first that it can use; else the first of all that it can
// use; else the first.
func (s *Store) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.tell()
	first := s.pairs[0].Get()
	// A client without a host's name, or with one that is none of ours, is
	// judged by what it can compute alone.
	anyName := *hello
	anyName.ServerName = ""
	var usable *tls.Certificate
	for _, p := range s.pairs {
		c := p.Get()
		if hello.ServerName != "" && c.Leaf.VerifyHostname(hello.ServerName) == nil && hello.SupportsCertificate(c) == nil {
			return c, nil
		}
		if usable == nil && anyName.SupportsCertificate(c) == nil {
			usable = c
		}
	}
	if usable == nil {
		usable = first
	}
	return usable, nil
}

// Expiry returns the earliest end of all certificates.
func (s *Store) Expiry() time.Time {
	var earliest time.Time
	for _, p := range s.pairs {
		if end := p.Get().Leaf.NotAfter; earliest.IsZero() || end.Before(earliest) {
			earliest = end
		}
	}
	return earliest
}

// tell tells the expiry when it is news.
func (s *Store) tell() {
	if s.expiry == nil {
		return
	}
	if end := s.Expiry(); s.told.Swap(end.Unix()) != end.Unix() {
		s.expiry(end)
	}
}

// Reload reads all files whether they have changed or not.
func (s *Store) Reload() error {
	var errs []error
	for _, p := range s.pairs {
		errs = append(errs, p.Reload())
	}
	s.tell()
	return errors.Join(errs...)
}

// Authorities returns the certificates of a PEM file whose clients are known.
func Authorities(name string, report func(error)) (*watch.Value[*x509.CertPool], error) {
	return watch.New(func() (*x509.CertPool, error) {
		text, err := watch.ReadFile(name, maxFile)
		if err != nil {
			return nil, fmt.Errorf("load the clients' authorities: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("load the clients' authorities: %s has no certificate in PEM form", name)
		}
		return pool, nil
	}, report, name)
}

// Profile says how old the TLS of a client may be.
type Profile uint8

// The profiles. The zero value is Modern.
const (
	// Modern is TLS 1.2 and up with the cipher suites that Go holds safe (RFC
	// 8996, RFC 9325).
	Modern Profile = iota
	// Legacy takes TLS 1.0 and key exchange without forward secrecy too, for
	// devices that nobody updates.
	Legacy
)

// Config makes the configuration of a listener. clients may be nil: then no
// client is asked for a certificate. One that has a certificate of another
// authority cannot connect.
func (s *Store) Config(profile Profile, clients *watch.Value[*x509.CertPool]) *tls.Config {
	c := &tls.Config{GetCertificate: s.GetCertificate, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}
	if profile == Legacy {
		c.MinVersion = tls.VersionTLS10
		c.CipherSuites = legacySuites()
	}
	if clients == nil {
		return c
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	base := c.Clone()
	var current atomic.Pointer[tls.Config]
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := clients.Get()
		if got := current.Load(); got != nil && got.ClientCAs == pool {
			return got, nil
		}
		fresh := base.Clone()
		fresh.ClientCAs = pool
		current.Store(fresh)
		return fresh, nil
	}
	return c
}

// legacySuites are Go's own, and AES with the key exchange and the mode of TLS
// 1.0. RC4 and 3DES are broken and not among them.
func legacySuites() []uint16 {
	var list []uint16
	for _, s := range tls.CipherSuites() {
		list = append(list, s.ID)
	}
	return append(list,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}
