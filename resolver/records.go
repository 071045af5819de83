package resolver

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// TLSA is one certificate association (RFC 6698 §2.1).
type TLSA struct {
	// Usage says how the certificate is to be found: 2 is an authority
	// (DANE-TA), 3 the host's own (DANE-EE).
	Usage uint8
	// Selector is the part of it: 0 the whole certificate, 1 its public key.
	Selector uint8
	// Matching is how Data stands for that part: 0 as it is, 1 its SHA-256,
	// 2 its SHA-512.
	Matching uint8
	// Data is nil where the record's text is not hexadecimal.
	Data []byte
}

// TLSARecords are the certificate associations of a service.
type TLSARecords struct {
	// List is empty where there are none.
	List []TLSA
	// Authenticated is as in [Hosts].
	Authenticated bool
}

// TLSA returns the certificate associations of a TCP port of a host (RFC 6698
// §3). That there are none is no error. What fails to validate is a temporary
// error, as a validating server answers SERVFAIL (RFC 4035 §5.5); nothing
// follows from it about whether there are records.
func (r *Resolver) TLSA(ctx context.Context, host string, port uint16) (TLSARecords, error) {
	name, err := hostName(host)
	if err != nil {
		return TLSARecords{}, newError(BadName, host, "TLSA", err)
	}
	a, err := r.optional(ctx, question{"_" + strconv.Itoa(int(port)) + "._tcp." + name, dns.TypeTLSA})
	if err != nil {
		return TLSARecords{}, err
	}
	return TLSARecords{List: a.tlsa, Authenticated: a.authenticated}, nil
}

// TXTRecords are the texts of a name.
type TXTRecords struct {
	// List has one item for each record, its strings joined; it is empty where
	// there are none.
	List []string
	// Authenticated is as in [Hosts].
	Authenticated bool
}

// TXT returns the TXT records of a name, in which labels may begin with an
// underscore. That there are none is no error.
func (r *Resolver) TXT(ctx context.Context, name string) (TXTRecords, error) {
	canonical, err := hostName(name)
	if err != nil {
		return TXTRecords{}, newError(BadName, name, "TXT", err)
	}
	a, err := r.optional(ctx, question{canonical, dns.TypeTXT})
	if err != nil {
		return TXTRecords{}, err
	}
	return TXTRecords{List: a.texts, Authenticated: a.authenticated}, nil
}

// optional looks up what need not be there.
func (r *Resolver) optional(ctx context.Context, q question) (*answer, error) {
	a := r.lookup(ctx, q)
	if a.err != nil && a.err.Kind != NoSuchDomain {
		return nil, a.err
	}
	return a, nil
}

// Security says how far the addresses of a host are vouched for.
type Security struct {
	// Name is where the aliases of the host lead; without any, the host.
	Name string
	// Authenticated says that a validating server vouched for the addresses,
	// and for every alias on the way to them.
	Authenticated bool
	// AliasAuthenticated says that it vouched for the first alias at least.
	AliasAuthenticated bool
}

// Security returns how far the addresses of a host are vouched for. Those of
// literals, of localhost and of the hosts file are not. The error is that of
// [Resolver.Addresses]; usually it has just been asked, so that all is known.
func (r *Resolver) Security(ctx context.Context, host string) (Security, error) {
	name, err := hostName(host)
	if err != nil || isLocalhost(name) || len(r.hosts.get()[name]) > 0 {
		return Security{Name: strings.ToLower(strings.TrimSuffix(host, "."))}, nil
	}
	if _, err := r.Addresses(ctx, host); err != nil {
		return Security{}, err
	}
	s := Security{Name: name, Authenticated: true}
	a, aaaa := r.flights.begin(question{name, dns.TypeA}), r.flights.begin(question{name, dns.TypeAAAA})
	for _, family := range []*answer{r.flights.wait(ctx, a), r.flights.wait(ctx, aaaa)} {
		// A family that failed gives no address that could be connected to.
		if family.err != nil && !family.err.Permanent() {
			continue
		}
		s.Authenticated = s.Authenticated && family.authenticated
		if family.err == nil && family.name != name {
			s.Name = family.name
		}
	}
	if s.Authenticated || s.Name == name {
		return s, nil
	}
	// RFC 7672 §2.1.3: the reply speaks of the whole chain. Of the host's own
	// zone it says nothing, so that is asked for.
	alias, err := r.optional(ctx, question{name, dns.TypeCNAME})
	if err != nil {
		return Security{}, err
	}
	s.AliasAuthenticated = alias.authenticated
	return s, nil
}

// selectTLSA makes the list of associations out of TLSA records.
func selectTLSA(records []dns.RR) (list []TLSA) {
	for _, rr := range records {
		if t, ok := rr.(*dns.TLSA); ok {
			data, err := hex.DecodeString(t.Certificate)
			if err != nil {
				data = nil
			}
			list = append(list, TLSA{Usage: t.Usage, Selector: t.Selector, Matching: t.MatchingType, Data: data})
		}
	}
	return list
}

// selectTXT joins the strings of each TXT record.
func selectTXT(records []dns.RR) (list []string) {
	for _, rr := range records {
		if t, ok := rr.(*dns.TXT); ok {
			list = append(list, unescape(strings.Join(t.Txt, "")))
		}
	}
	return list
}

// unescape undoes what the parser does to octets that are not printable: \DDD,
// and a backslash before a quote or a backslash (RFC 1035 §5.1).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		if i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		i++
		out = append(out, s[i])
	}
	return string(out)
}
