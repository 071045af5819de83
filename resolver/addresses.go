package resolver

import (
	"context"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Addresses returns the addresses of a host in the order in which to try them:
// the families in turn, IPv6 first, each in the server's order. The host is a
// name, an address literal in brackets or an address in text; the latter two are
// their own answer. Addresses of any kind come back, private and loopback ones
// too. The error is an [*Error].
//
// An IPv4 address that came mapped into IPv6 is returned as IPv4.
func (r *Resolver) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	if ok, addr, err := literal(host); ok {
		if err != nil {
			return nil, newError(BadName, host, "", err)
		}
		return []netip.Addr{addr}, nil
	}
	return r.start(host).wait(ctx)
}

// addressLookup is a look-up of a host's addresses that has begun. It has to be
// waited for, once.
type addressLookup struct {
	r       *Resolver
	host    string
	known   []netip.Addr // answered without the DNS, as is err
	err     error
	a, aaaa pending
}

// start begins to look up a host given by name. Both families are asked for at
// once. It does not block.
func (r *Resolver) start(host string) addressLookup {
	name, err := hostName(host)
	if err != nil {
		return addressLookup{err: newError(BadName, host, "", err)}
	}
	if isLocalhost(name) {
		return addressLookup{known: loopback()}
	}
	if known := r.hosts.get()[name]; len(known) > 0 {
		var v4, v6 []netip.Addr
		for _, addr := range known {
			if addr.Is4() {
				v4 = append(v4, addr)
			} else {
				v6 = append(v6, addr)
			}
		}
		return addressLookup{known: interleave(v6, v4, r.o.MaxAddresses)}
	}
	return addressLookup{
		r:    r,
		host: name,
		a:    r.flights.begin(question{name, dns.TypeA}),
		aaaa: r.flights.begin(question{name, dns.TypeAAAA}),
	}
}

// wait returns the addresses of both families, or the error that stands for both.
func (l addressLookup) wait(ctx context.Context) ([]netip.Addr, error) {
	if l.r == nil {
		return l.known, l.err
	}
	a, aaaa := l.r.flights.wait(ctx, l.a), l.r.flights.wait(ctx, l.aaaa)
	if addrs := interleave(aaaa.addresses, a.addresses, l.r.o.MaxAddresses); len(addrs) > 0 {
		return addrs, nil
	}
	missing := 0
	for _, family := range []*answer{a, aaaa} {
		switch {
		case family.err == nil:
		case !family.err.Permanent():
			return nil, family.err // the other one may have had the address
		default:
			missing++
		}
	}
	// Some servers deny that a name exists when it lacks one family (RFC 4074
	// §4.2), so it takes both to believe it.
	if missing == 2 {
		return nil, a.err
	}
	return nil, newError(NoAddress, l.host, "", nil)
}

// selectAddresses makes the list of addresses out of A or AAAA records.
func (r *Resolver) selectAddresses(records []dns.RR) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range records {
		var octets []byte
		switch rr := rr.(type) {
		case *dns.A:
			octets = rr.A
		case *dns.AAAA:
			octets = rr.AAAA
		}
		addr, ok := netip.AddrFromSlice(octets)
		if !ok || slices.Contains(addrs, addr.Unmap()) {
			continue
		}
		addrs = append(addrs, addr.Unmap())
		if len(addrs) == r.o.MaxAddresses {
			break
		}
	}
	return addrs
}

// interleave takes addresses from both lists in turn, at most limit of them.
func interleave(first, second []netip.Addr, limit int) []netip.Addr {
	total := min(len(first)+len(second), limit)
	if total == 0 {
		return nil
	}
	list := make([]netip.Addr, 0, total)
	for i := 0; len(list) < total; i++ {
		if i < len(first) {
			list = append(list, first[i])
		}
		if i < len(second) && len(list) < total {
			list = append(list, second[i])
		}
	}
	return list
}
