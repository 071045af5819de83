package resolver

import (
	"context"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Host is a host that takes mail for a domain.
type Host struct {
	// Name is the host's name, in lower case, as A-labels, without the final dot,
	// or an address literal. It is for [Resolver.Addresses].
	Name string
	// Preference is the number of its MX record; lower is better. Zero for a host
	// that no MX record names.
	Preference uint16
	// Implicit says that no MX record names it: the domain is its own host, or is
	// an address literal.
	Implicit bool
}

// Hosts are the hosts that take mail for a domain.
type Hosts struct {
	// Domain is the domain in lower case, as A-labels, without the final dot, and
	// with aliases followed; of an address literal the literal.
	Domain string
	// List has at least one host, in the order in which they are to be tried.
	List []Host
	// Authenticated says that a validating server on loopback, or one of
	// Options.TrustAD, vouched for the MX records, or their absence, and for every alias (RFC 4035 §3.2.3). It says
	// nothing about addresses. False for what was answered without the DNS.
	Authenticated bool
}

// Hosts returns the hosts that take mail for domain: a name as A-labels or
// U-labels, with or without the final dot, or an address literal in brackets.
// Hosts of equal preference come in a new random order each time. The error is
// an [*Error].
//
// The addresses of a host are to be looked up by [Resolver.Addresses] when its
// turn comes. When none of them has one, [NoneUsable] says what became of the
// domain.
func (r *Resolver) Hosts(ctx context.Context, domain string) (Hosts, error) {
	if ok, addr, err := literal(domain); ok {
		return r.literalHost(domain, addr, err)
	}
	name, err := recipientDomain(domain)
	if err != nil {
		return Hosts{}, newError(BadName, domain, "", err)
	}
	if isLocalhost(name) {
		return r.implicit(ctx, name, &answer{name: name})
	}
	a := r.lookup(ctx, question{name, dns.TypeMX})
	if a.err != nil {
		return Hosts{}, a.err
	}
	// RFC 5321 §5.1: the domain is its own host only when it exists and has no MX
	// record at all, never because its hosts fail.
	if len(a.hosts) == 0 {
		return r.implicit(ctx, name, a)
	}
	list, err := r.cutOwn(ctx, name, a.hosts)
	if err != nil {
		return Hosts{}, err
	}
	return Hosts{Domain: a.name, List: r.shuffled(list), Authenticated: a.authenticated}, nil
}

func (r *Resolver) literalHost(domain string, addr netip.Addr, err error) (Hosts, error) {
	if err != nil {
		return Hosts{}, newError(BadName, domain, "", err)
	}
	if slices.Contains(r.ownAddresses(), addr) {
		return Hosts{}, newError(Loop, domain, "", nil)
	}
	return Hosts{Domain: domain, List: []Host{{Name: domain, Implicit: true}}}, nil
}

// implicit makes the domain its own host, if it has an address that is not ours.
// The address is looked up at once: without one there is no host to name.
func (r *Resolver) implicit(ctx context.Context, domain string, a *answer) (Hosts, error) {
	if a.name == r.self {
		return Hosts{}, newError(Loop, domain, "", nil)
	}
	addrs, err := r.start(a.name).wait(ctx)
	if err != nil {
		return Hosts{}, err
	}
	if overlap(addrs, r.ownAddresses()) {
		return Hosts{}, newError(Loop, domain, "", nil)
	}
	return Hosts{
		Domain:        a.name,
		List:          []Host{{Name: a.name, Implicit: true}},
		Authenticated: a.authenticated,
	}, nil
}

// cutOwn drops from a sorted list the hosts that are no better than one that has
// an address of ours. All addresses are asked for at one time. A host whose
// addresses do not come within a try's time stays: it is not known to be us.
func (r *Resolver) cutOwn(ctx context.Context, domain string, hosts []Host) ([]Host, error) {
	own := r.ownAddresses()
	if len(own) == 0 {
		return hosts, nil
	}
	bounded, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	lookups := make([]addressLookup, len(hosts))
	for i, h := range hosts {
		lookups[i] = r.start(h.Name)
	}
	list := hosts
	for i, l := range lookups { // every one has to be waited for
		if addrs, err := l.wait(bounded); err == nil && overlap(addrs, own) {
			list = list[:min(len(list), len(better(hosts, hosts[i].Preference)))]
		}
	}
	if ctx.Err() != nil {
		return nil, newError(Temporary, domain, "MX", context.Cause(ctx))
	}
	if len(list) == 0 {
		return nil, newError(Loop, domain, "MX", nil)
	}
	return list, nil
}

func overlap(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(addr netip.Addr) bool { return slices.Contains(b, addr) })
}
