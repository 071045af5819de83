// Package policy decides who may relay where. Its decisions are pure: they
// depend on nothing but the rules and the question, and do no I/O.
package policy

import (
	"net/netip"
	"strings"

	"waypost/relay/smtp"
)

// Rules say which mail a relay takes.
type Rules struct {
	// Hostname is our own name, whose postmaster is always taken (RFC 5321
	// §4.5.1).
	Hostname string
	// Networks are the clients that may relay anywhere.
	Networks []netip.Prefix
	// Domains are the recipients' domains that are taken from anyone;
	// ".example.org" stands for example.org and everything below.
	Domains []string
}

// Decision is the answer to one question.
type Decision struct {
	// Allowed says that the recipient is taken.
	Allowed bool
	// Reason names the rule that made the decision.
	Reason string
}

// Relay decides whether client may send to recipient. Neither what the client
// calls itself nor the sender that it names has any weight: both are free to
// choose.
func (r *Rules) Relay(client netip.Addr, recipient smtp.Path) Decision {
	if recipient.IsPostmaster() && (recipient.Domain == "" || recipient.DomainKey() == strings.ToLower(r.Hostname)) {
		return Decision{true, "postmaster of this host"}
	}
	if network, ok := r.Trusted(client); ok {
		return Decision{true, "relay.networks " + network.String()}
	}
	// Only the domain counts. What a local part may look like (a%b, a!b,
	// "a@b") is the business of the host that owns the mailbox (RFC 5321
	// §2.3.11).
	if domain, ok := r.relayed(recipient.DomainKey()); ok {
		return Decision{true, "relay.domains " + domain}
	}
	return Decision{false, "neither relay.networks nor relay.domains"}
}

// Trusted returns the network that lets client relay anywhere.
func (r *Rules) Trusted(client netip.Addr) (netip.Prefix, bool) {
	client = client.Unmap()
	for _, network := range r.Networks {
		if network.Contains(client) {
			return network, true
		}
	}
	return netip.Prefix{}, false
}

func (r *Rules) relayed(domain string) (string, bool) {
	for _, d := range r.Domains {
		// "." + domain, so that .example.org matches example.org itself too.
		if strings.EqualFold(domain, d) || strings.HasPrefix(d, ".") && smtp.HasSuffixFold("."+domain, d) {
			return d, true
		}
	}
	return "", false
}
