// Package mtasts knows which domains promise that their mail hosts have TLS and
// a certificate for their names (MTA-STS, RFC 8461).
//
// Policy answers in these steps: a TXT record says whether there is a policy and
// which version; the policy that was fetched under that version holds until its
// end; a new version, or a policy of yesterday, is fetched over HTTPS. Whatever
// fails on the way leaves a policy that still holds in force, so that suppressing
// an answer takes nothing away; a domain of which nothing is known yet has none.
//
// Policies are kept on disk, one file each, written under another name first: a
// crash leaves the old file or the new one. A file that cannot be read counts as
// missing and is fetched again. Only domains that gave a valid policy have one.
package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"waypost/metrics"
	"waypost/resolver"
)

const (
	// refreshAfter is when a policy is fetched anew although its version is the
	// same (RFC 8461 §3.3).
	refreshAfter = 24 * time.Hour
	// retryAfter is how long a fetch that failed is not repeated.
	retryAfter = 5 * time.Minute
	// maxPolicies bounds what is kept.
	maxPolicies = 10_000
)

// Resolver looks up the version of a domain's policy.
type Resolver interface {
	TXT(ctx context.Context, name string) (resolver.TXTRecords, error)
}

// Options configures a Store. Resolver and Addresses are required.
type Options struct {
	// Dir is where policies are kept; it is made with the first one. "" keeps
	// them in memory only.
	Dir      string
	Resolver Resolver
	// Addresses returns those at which the host of a policy may be asked. It
	// must leave out what strangers must not lead us to.
	Addresses func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects to an address; nil dials TCP.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Roots are the authorities of policy hosts; nil is the system's.
	Roots   *x509.CertPool
	Log     *slog.Logger     // nil discards
	Metrics *metrics.Metrics // nil counts into nothing
}

// Store knows the policies of domains. It is safe for concurrent use.
type Store struct {
	o Options

	mu       sync.Mutex
	policies map[string]*Policy
	failures map[string]failure
	fetching map[string]chan struct{} // closed at the end of a fetch
}

// failure is a fetch that failed.
type failure struct {
	id string
	at time.Time
}

// Open returns a store with the policies that are on disk. Where they cannot be
// read it begins without.
func Open(o Options) *Store {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", to.String())
		}
	}
	s := &Store{o: o, policies: map[string]*Policy{}, failures: map[string]failure{}, fetching: map[string]chan struct{}{}}
	if err := s.load(time.Now()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.Log.Warn("MTA-STS policies not read", "error", err.Error())
	}
	return s
}

// Policy returns the policy of a domain, which must not be changed, or nil where
// it has none that holds.
func (s *Store) Policy(ctx context.Context, domain string) *Policy {
	domain = canonical(domain)
	if domain == "" {
		return nil
	}
	known := s.known(domain)
	id, ok := s.version(ctx, domain)
	if ok && !known.fresh(id) {
		s.refresh(ctx, domain, id)
		known = s.known(domain)
	}
	// RFC 8461 §3.3: a policy that holds does so without the TXT record, too.
	if known == nil || known.Mode == None {
		return nil
	}
	return known
}

// canonical is a domain in the one form in which it is a key; "" for what is no
// domain that can have a policy, such as an address literal.
func canonical(domain string) string {
	if len(domain) > 1000 {
		return ""
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil {
		return ""
	}
	if ascii = strings.ToLower(ascii); !domainName(ascii) {
		return ""
	}
	return ascii
}

// fresh reports whether a policy need not be fetched for a version.
func (p *Policy) fresh(id string) bool {
	return p != nil && p.ID == id && time.Since(p.Fetched) < refreshAfter
}

// known returns the policy of a domain that holds now, or nil.
func (s *Store) known(domain string) *Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.policies[domain]
	if p == nil || time.Now().Before(p.Expires) {
		return p
	}
	s.forget(domain)
	return nil
}

// version returns the version of a domain's policy in the DNS.
func (s *Store) version(ctx context.Context, domain string) (id string, ok bool) {
	found, err := s.o.Resolver.TXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return "", false
	}
	return recordID(found.List)
}

// refresh fetches a policy, once for all who wait for it. What fails is not
// repeated for some minutes.
func (s *Store) refresh(ctx context.Context, domain, id string) {
	s.mu.Lock()
	if f, ok := s.failures[domain]; ok && f.id == id && time.Since(f.at) < retryAfter {
		s.mu.Unlock()
		return
	}
	if s.policies[domain].fresh(id) { // fetched since the caller looked
		s.mu.Unlock()
		return
	}
	done, running := s.fetching[domain]
	if !running {
		done = make(chan struct{})
		s.fetching[domain] = done
	}
	s.mu.Unlock()
	if running {
		select {
		case <-done:
		case <-ctx.Done():
		}
		return
	}
	p, err := s.fetch(ctx, domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fetching, domain)
	close(done)
	switch {
	case err == nil:
		p.Domain, p.ID = domain, id
		delete(s.failures, domain)
		s.o.Metrics.STSFetches.WithLabelValues(metrics.FetchOK).Inc()
		s.keep(&p)
	case ctx.Err() == nil:
		s.o.Metrics.STSFetches.WithLabelValues(metrics.FetchFailed).Inc()
		s.o.Log.Warn("MTA-STS policy not fetched", "domain", domain, "error", err.Error())
		if len(s.failures) >= maxPolicies {
			clear(s.failures)
		}
		s.failures[domain] = failure{id, time.Now()}
	}
}
