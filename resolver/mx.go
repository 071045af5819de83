package resolver

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// selectHosts makes the list of hosts out of a domain's MX records, of which
// there is at least one: sorted by preference, without those that cannot be a
// host, cut where our own name stands, and at most MaxHosts long. Which of
// several hosts of equal preference a full list keeps is left to chance.
// The error's kind is NullMX, Loop or NoAddress.
func (r *Resolver) selectHosts(domain string, records []dns.RR) ([]Host, *Error) {
	var hosts []Host
	null := true
	for _, rr := range records {
		mx, ok := rr.(*dns.MX)
		// RFC 7505 §3: a null MX stands alone. Among others it is a mistake of
		// theirs, and the others are used.
		if !ok || mx.Mx == "." {
			continue
		}
		null = false
		// A host that is no name, such as an address in text, has no address.
		if name, err := hostName(mx.Mx); err == nil {
			hosts = append(hosts, Host{Name: name, Preference: mx.Preference})
		}
	}
	if null {
		return nil, newError(NullMX, domain, "MX", nil)
	}
	if len(hosts) == 0 {
		return nil, newError(NoAddress, domain, "MX", errors.New("no MX record names a host"))
	}
	r.o.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Preference, b.Preference) })
	for i, h := range hosts {
		if h.Name == r.self {
			hosts = better(hosts, hosts[i].Preference)
			break
		}
	}
	if len(hosts) == 0 {
		return nil, newError(Loop, domain, "MX", nil)
	}
	hosts = unique(hosts)
	return slices.Clip(hosts[:min(len(hosts), r.o.MaxHosts)]), nil
}

// better returns the hosts of a sorted list that come before a preference.
//
// RFC 5321 §5.1: a relay that finds itself in the list drops its own preference
// and all higher numbers, so that mail only ever moves towards its destination.
func better(hosts []Host, preference uint16) []Host {
	i, _ := slices.BinarySearchFunc(hosts, preference, func(h Host, p uint16) int {
		return cmp.Compare(h.Preference, p)
	})
	return hosts[:i]
}

// unique removes the second and later mentions of a host.
func unique(hosts []Host) []Host {
	seen := make(map[string]bool, len(hosts))
	return slices.DeleteFunc(hosts, func(h Host) bool {
		again := seen[h.Name]
		seen[h.Name] = true
		return again
	})
}

// shuffled returns a copy of a sorted list in which the hosts of each preference
// are in random order (RFC 5321 §5.1).
func (r *Resolver) shuffled(hosts []Host) []Host {
	list := slices.Clone(hosts)
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && list[end].Preference == list[start].Preference {
			end++
		}
		if equal := list[start:end]; len(equal) > 1 {
			r.o.Shuffle(len(equal), func(i, j int) { equal[i], equal[j] = equal[j], equal[i] })
		}
		start = end
	}
	return list
}

// canonicalSelf returns our own name in the form in which hosts are listed.
func canonicalSelf(hostname string) string {
	name, err := hostName(hostname)
	if err != nil {
		return strings.ToLower(hostname)
	}
	return name
}
