// Package tlspolicy decides how a session with a mail host is to be secured: by
// what the route asks for, by the host's TLSA records (DANE, RFC 7672), and by
// what the domain promises (MTA-STS, RFC 8461).
//
// The strictest that applies wins, and DANE before MTA-STS (RFC 8461 §2). What
// cannot be found out about a host means that the host is not used now: whoever
// can suppress an answer must not be able to take security away. Such mail
// waits, and never bounces.
package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"waypost/metrics"
	"waypost/relay/dane"
	"waypost/relay/mtasts"
	"waypost/relay/route"
	"waypost/resolver"
)

// Resolver says what the DNS has about a host.
type Resolver interface {
	Security(ctx context.Context, host string) (resolver.Security, error)
	TLSA(ctx context.Context, host string, port uint16) (resolver.TLSARecords, error)
}

// Promises says what domains promise of their mail hosts.
type Promises interface {
	// Policy returns nil where there is no policy that holds.
	Policy(ctx context.Context, domain string) *mtasts.Policy
}

// Options configures a Policy. The zero value knows neither DANE nor MTA-STS.
type Options struct {
	// Resolver finds TLSA records; nil means no DANE.
	Resolver Resolver
	// Promises are the domains' MTA-STS policies; nil means no MTA-STS.
	Promises Promises
	// Roots are the authorities by which hosts are verified in the test of a
	// policy that is not enforced yet; nil is the system's.
	Roots *x509.CertPool
	// Metrics counts what came of it; nil counts into nothing.
	Metrics *metrics.Metrics
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Policy decides. It is safe for concurrent use.
type Policy struct{ o Options }

// New returns a Policy.
func New(o Options) *Policy {
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Policy{o}
}

// Host is a host about to be used.
type Host struct {
	// Level is what the route asks for.
	Level route.TLS
	// Domain is the next-hop domain whose MX records named the host, and
	// Expanded where its aliases led; both are empty for a host that the
	// configuration names.
	Domain, Expanded string
	// Authenticated says that those records are secure.
	Authenticated bool
	// Name and Port are the host's.
	Name string
	Port uint16
	// Promised says that the domain's MTA-STS policy must list the host, as nothing
	// else says that it is the domain's (RFC 8689 §4.2.1). For [route.Verified].
	Promised bool
}

// Protection is how a session with a host is to be secured.
type Protection struct {
	// Level is what the session must have; see [route.TLS].
	Level route.TLS
	// ServerName is the name for SNI, and for certificates by public authorities.
	ServerName string
	// Verify judges the certificates of a session at [route.DANE].
	Verify func(tls.ConnectionState) error
	// Label tells what a session of this protection satisfied: "verified",
	// "dane", "mta-sts", or "" where nothing was proved.
	Label string
	// Why says in a few words where the level comes from.
	Why string
	// DANE is what was found out about TLSA records.
	DANE string
	// STS is what was found out about a policy of MTA-STS; "" where nobody asked.
	STS string

	done func(state *tls.ConnectionState, err error)
}

// Plain reports whether nobody asks for more than TLS where it is offered, so that
// a session of another domain's mail will do.
func (p *Protection) Plain() bool {
	return p.Level == route.Opportunistic && p.Verify == nil && p.Label == "" && p.done == nil
}

// Done is to be told how the session began: its TLS, nil in clear, or why it
// failed for reasons of TLS. It counts.
func (p *Protection) Done(state *tls.ConnectionState, err error) {
	if p.done != nil {
		p.done(state, err)
	}
}

// Error means that a host cannot be used for now for want of security. It is
// never permanent.
type Error struct {
	// Host is its name.
	Host string
	// Err is what is wrong.
	Err error
}

// Error tells the host and what is wrong with it.
func (e *Error) Error() string { return "security of " + e.Host + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Host decides about one host, whose addresses have been looked up. An error is
// an *Error, and means that the host must not be used now.
func (p *Policy) Host(ctx context.Context, h Host) (Protection, error) {
	out := Protection{Level: h.Level, ServerName: h.Name, Why: "as the route says"}
	switch h.Level {
	case route.None:
		return out, nil
	case route.Verified:
		out.Label = "verified"
		if h.Promised {
			return out, p.listed(ctx, h)
		}
		return out, nil
	}
	found, err := p.findTLSA(ctx, h)
	out.DANE = found.text
	switch {
	case err != nil:
		// RFC 7672 §2.1.2: without an answer the host is not used, as whoever
		// suppresses it would choose the security.
		p.count(metrics.PolicyDANE, metrics.PolicyUnknown)
		return out, &Error{h.Name, err}
	case len(found.usable) > 0:
		p.requireDANE(&out, h, found)
		return out, nil
	case found.secure && h.Level != route.DANE:
		// RFC 7672 §2.2: the records say that the host has TLS, and no more that
		// we understand.
		p.count(metrics.PolicyDANE, metrics.PolicyUnusable)
		out.Level, out.Why = route.Required, "TLSA records, none of them usable"
	case h.Level == route.DANE:
		p.count(metrics.PolicyDANE, metrics.PolicyUnusable)
		return out, &Error{h.Name, fmt.Errorf("the route asks for DANE: %s", found.text)}
	}
	err = p.keepPromise(ctx, &out, h)
	return out, err
}

// requireDANE has the certificate verified by TLSA records.
func (p *Policy) requireDANE(out *Protection, h Host, found findings) {
	out.Level, out.Label, out.Why = route.DANE, "dane", "TLSA records"
	out.ServerName = found.base // RFC 7672 §8.1
	out.Verify = dane.VerifyConnection(found.usable, h.names(found.base), p.o.Now)
	out.done = p.counter(metrics.PolicyDANE)
}

// counter counts sessions that fulfil a policy, and those that fail by it.
func (p *Policy) counter(policy string) func(*tls.ConnectionState, error) {
	return func(state *tls.ConnectionState, err error) {
		if state != nil && err == nil {
			p.count(policy, metrics.PolicyOK)
		} else {
			p.count(policy, metrics.PolicyFailed)
		}
	}
}

// names are those that a certificate by an authority of a TLSA record may be for
// (RFC 7672 §3.2.2): the one under which the records stand, and the domain's,
// before and after its aliases.
func (h *Host) names(base string) []string {
	names := []string{base}
	for _, name := range []string{h.Domain, h.Expanded} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// findings are what the DNS says about TLSA.
type findings struct {
	base   string          // under which name there are secure records
	secure bool            // there are secure records
	usable []resolver.TLSA // those of them that can be used
	text   string
}

// findTLSA looks for secure TLSA records (RFC 7672 §2.2). Where the way to the
// host is not secure, nobody is asked: records would prove nothing.
func (p *Policy) findTLSA(ctx context.Context, h Host) (findings, error) {
	if _, err := netip.ParseAddr(h.Name); err == nil || p.o.Resolver == nil || h.Name == "" || h.Name[0] == '[' {
		return findings{text: "not for an address"}, nil
	}
	if h.Domain != "" && !h.Authenticated {
		return findings{text: "the MX records are not secure"}, nil
	}
	s, err := p.o.Resolver.Security(ctx, h.Name)
	if err != nil {
		return findings{text: "the addresses cannot be looked up"}, err
	}
	// RFC 7672 §2.2.2: the end of the aliases first, then the name as it was given.
	var bases []string
	switch {
	case s.Authenticated && s.Name != h.Name:
		bases = []string{s.Name, h.Name}
	case s.Authenticated || s.AliasAuthenticated:
		bases = []string{h.Name}
	default:
		return findings{text: "the addresses are not secure"}, nil
	}
	for _, base := range bases {
		records, err := p.o.Resolver.TLSA(ctx, base, h.Port)
		if err != nil {
			return findings{text: "the TLSA records cannot be looked up"}, err
		}
		if len(records.List) > 0 && records.Authenticated {
			usable := dane.Usable(records.List)
			return findings{base: base, secure: true, usable: usable, text: fmt.Sprintf("%d TLSA records for %s, %d usable", len(records.List), base, len(usable))}, nil
		}
	}
	return findings{text: "no secure TLSA records"}, nil
}

func (p *Policy) count(policy, result string) {
	p.o.Metrics.TLSPolicies.WithLabelValues(policy, result).Inc()
}

// IsSecurity reports whether an error is about the security of a host, as
// opposed to the host itself.
func IsSecurity(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok || errors.Is(err, dane.ErrMismatch)
}
