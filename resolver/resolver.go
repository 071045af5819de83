package resolver

import (
	"context"
	"errors"
	"net/netip"

	"github.com/miekg/dns"
)

// Resolver looks up hosts and addresses. It is safe for concurrent use, holds no
// connection while no look-up is under way, and needs no closing.
type Resolver struct {
	o       Options // with defaults
	self    string  // our own name, canonical
	servers *servers
	hosts   *watched[map[string][]netip.Addr] // the hosts file
	flights *flights
}

// New returns a resolver. It reads no file and sends no query before the first
// look-up; a server in o.Servers that is no address fails each try.
func New(o Options) *Resolver {
	o = o.withDefaults()
	r := &Resolver{
		o:       o,
		self:    canonicalSelf(o.Hostname),
		servers: newServers(o.Servers, o.ResolvConf),
		hosts:   watch(o.HostsFile, parseHosts),
	}
	r.flights = newFlights(newCache(o.CacheSize), r.resolve, o.Panicked)
	return r
}

// resolve answers q by asking the servers, over as many aliases as are allowed.
// It is the work of one flight.
func (r *Resolver) resolve(ctx context.Context, q question) *answer {
	a := &answer{name: q.name, authenticated: true, ttl: maxTTL}
	for aliases := 0; ; {
		f, err := r.ask(ctx, question{a.name, q.qtype})
		if err != nil {
			return failure(q, Temporary, err)
		}
		a.name = f.name
		a.ttl = min(a.ttl, f.ttl)
		a.authenticated = a.authenticated && f.authenticated
		aliases += f.aliases
		if aliases > maxAliases {
			return failure(q, CNAMELoop, nil)
		}
		if f.final() {
			r.settle(a, q, f)
			return a
		}
	}
}

// settle fills in what the last reply says.
func (r *Resolver) settle(a *answer, q question, f finding) {
	switch {
	case f.missing:
		var cause error
		if a.name != q.name {
			cause = errors.New("it is an alias of " + a.name)
		}
		a.err = newError(NoSuchDomain, q.name, q.typeName(), cause)
	case len(f.records) == 0:
	case q.qtype == dns.TypeMX:
		a.hosts, a.err = r.selectHosts(q.name, f.records)
	case q.qtype == dns.TypeTLSA:
		a.tlsa = selectTLSA(f.records)
	case q.qtype == dns.TypeTXT:
		a.texts = selectTXT(f.records)
	default:
		a.addresses = r.selectAddresses(f.records)
	}
}

// failure is the answer of a look-up that found out nothing. It is remembered
// for a moment, so that a queue full of mail for one domain asks once.
func failure(q question, kind Kind, cause error) *answer {
	return &answer{err: newError(kind, q.name, q.typeName(), cause), ttl: failureTTL}
}

// lookup waits for the answer to q.
func (r *Resolver) lookup(ctx context.Context, q question) *answer {
	return r.flights.wait(ctx, r.flights.begin(q))
}

// ownAddresses returns those of our addresses at which a mail host would be us.
func (r *Resolver) ownAddresses() []netip.Addr {
	if r.o.Own == nil {
		return nil
	}
	var own []netip.Addr
	for _, ap := range r.o.Own() {
		if ap.Port() == 0 || ap.Port() == r.o.Port {
			own = append(own, ap.Addr().Unmap())
		}
	}
	return own
}
