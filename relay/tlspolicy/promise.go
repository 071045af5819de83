package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"waypost/metrics"
	"waypost/relay/mtasts"
	"waypost/relay/route"
)

// keepPromise holds a host to the MTA-STS policy of its domain. It comes after
// DANE, whose failures it must not excuse (RFC 8461 §2).
func (p *Policy) keepPromise(ctx context.Context, out *Protection, h Host) error {
	if p.o.Promises == nil || h.Domain == "" {
		return nil
	}
	policy := p.o.Promises.Policy(ctx, h.Domain)
	if policy == nil {
		out.STS = "no policy"
		return nil
	}
	listed := policy.Matches(h.Name)
	out.STS = fmt.Sprintf("mode %s, id %s, until %s", policy.Mode, policy.ID, policy.Expires.UTC().Format("2006-01-02 15:04Z"))
	if !listed {
		out.STS += ", and this host is none of its own"
	}
	if policy.Mode == mtasts.Testing {
		out.done = p.test(h.Name, listed)
		return nil
	}
	if !listed {
		// RFC 8461 §5: such mail waits, as a new policy may say otherwise.
		p.count(metrics.PolicySTS, metrics.PolicyFailed)
		return &Error{h.Name, errors.New("the MTA-STS policy of " + h.Domain + " does not list it")}
	}
	out.Level, out.Label, out.Why = route.Verified, "mta-sts", "the MTA-STS policy of "+h.Domain
	out.done = p.counter(metrics.PolicySTS)
	return nil
}

// Promised reports whether a domain enforces an MTA-STS policy, which says who its
// mail hosts are.
func (p *Policy) Promised(ctx context.Context, domain string) bool {
	if p.o.Promises == nil {
		return false
	}
	policy := p.o.Promises.Policy(ctx, domain)
	return policy != nil && policy.Mode == mtasts.Enforce
}

// listed returns an error for a host that the domain's policy does not list.
func (p *Policy) listed(ctx context.Context, h Host) error {
	if p.Promised(ctx, h.Domain) && p.o.Promises.Policy(ctx, h.Domain).Matches(h.Name) {
		return nil
	}
	return &Error{h.Name, errors.New("no MTA-STS policy of " + h.Domain + " lists it")}
}

// test counts what a policy would have done that its domain is only testing.
func (p *Policy) test(host string, listed bool) func(*tls.ConnectionState, error) {
	return func(state *tls.ConnectionState, err error) {
		if listed && err == nil && state != nil && p.verify(host, state) == nil {
			p.count(metrics.PolicySTS, metrics.PolicyOK)
			return
		}
		p.count(metrics.PolicySTS, metrics.PolicyTested)
	}
}

// verify does what a handshake at [route.Verified] would have done.
func (p *Policy) verify(host string, state *tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: host, Roots: p.o.Roots, Intermediates: between, CurrentTime: p.o.Now(),
	})
	return err
}
