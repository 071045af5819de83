package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// relay checks for whom mail is relayed. What would make us an open relay is an
// error and not a warning: strangers find one within hours.
func (v *validation) relay() {
	r := v.config.Relay
	for i, text := range r.Networks {
		path := index("relay.networks", i)
		network, ok := v.network(path, text)
		if !ok || isPrivate(network) {
			continue
		}
		switch width(network) {
		case open:
			v.fail(path, "%q would let strangers relay through us to anywhere", text)
		case wide:
			v.warn(path, "%q is a large public network, and all of it may relay through us to anywhere", text)
		}
	}
	for i, text := range r.ETRN {
		v.network(index("relay.etrn", i), text)
	}
	for i, text := range r.Domains {
		v.relayDomain(index("relay.domains", i), text)
	}
	for i, name := range r.Certificates {
		v.certificateName(index("relay.certificates", i), name)
	}
	if r.AliasesFile != "" {
		_, err := v.files.Stat(r.AliasesFile)
		v.check("relay.aliases_file", err)
	} else {
		for key, on := range map[string]bool{"relay.expn": r.Expn, "relay.disclose_forwarding": r.DiscloseForwarding} {
			if on {
				v.warn(key, "shows nothing without relay.aliases_file")
			}
		}
	}
	v.oneOf("relay.sign", r.Sign, SignTrusted, SignSubmission, SignNone)
	if r.RecipientsFile != "" {
		_, err := v.files.Stat(r.RecipientsFile)
		v.check("relay.recipients_file", err)
	}
	if (r.RecipientsFile != "" || r.VerifyRecipients) && len(r.Domains) == 0 {
		v.warn("relay.domains", "there are no domains whose recipients relay.recipients_file or relay.verify_recipients could be about")
	}
	v.oneOf("relay.verify_failure", r.VerifyFailure, VerifyAccept, VerifyDefer)
	atLeast(v, "relay.verify_timeout", r.VerifyTimeout, second)
	if r.UsersFile != "" {
		if _, err := v.files.Stat(r.UsersFile); v.check("relay.users_file", err) {
			v.secrecy("relay.users_file", r.UsersFile)
		}
	}
}

// lists checks lists of clients, senders and recipients.
func (v *validation) lists(path string, l Lists) {
	for i, network := range l.Clients {
		v.network(index(path+".clients", i), network)
	}
	for name, list := range map[string][]string{"senders": l.Senders, "recipients": l.Recipients} {
		for i, text := range list {
			switch at := index(path+"."+name, i); {
			case text == "<>" && name == "senders", text == "*":
			case strings.HasPrefix(text, "."):
				v.domain(at, text, text[1:])
			default:
				v.pattern(at, text)
			}
		}
	}
}

// certificateName checks a name in client certificates.
func (v *validation) certificateName(path, name string) {
	switch {
	case strings.HasPrefix(name, "."):
		v.domain(path, name, name[1:])
	default:
		v.pattern(path, name)
	}
	if !slices.ContainsFunc(v.config.Listeners, func(l Listener) bool { return l.ClientCA != "" }) {
		v.warn(path, "no listener has client_ca, so nobody has a certificate")
	}
}

// logins checks what logins may do.
func (v *validation) logins() {
	taken := map[string]string{}
	for i, l := range v.config.Logins {
		path := index("login", i)
		switch other, twice := taken[l.Name]; {
		case l.Name == "":
			v.fail(path+".name", `must be set: a login, or "*" for all others`)
		case twice:
			v.fail(path+".name", "%q has %s already", l.Name, other)
		}
		taken[l.Name] = path
		if l.CheckFrom && slices.Contains(l.Senders, "*") {
			v.warn(path+".check_from", "checks nothing, as senders has %q", "*")
		}
		for j, sender := range l.Senders {
			v.senders(index(path+".senders", j), sender)
		}
	}
	canLogIn := v.config.Relay.UsersFile != "" || slices.ContainsFunc(v.config.Listeners, func(l Listener) bool { return l.ClientCA != "" })
	if len(v.config.Logins) > 0 && !canLogIn {
		v.warn("login[0]", "nobody can log in without relay.users_file")
	}
}

// senders checks a pattern of senders' addresses.
func (v *validation) senders(path, text string) {
	switch {
	case text == "*" || text == "{login}":
	case strings.ContainsAny(text, "{}"):
		v.suggest(path, "{login}", "%q is no pattern of senders", text)
	case strings.HasPrefix(text, "."):
		v.domain(path, text, text[1:])
	default:
		v.pattern(path, text)
	}
}

func (v *validation) relayDomain(path, text string) {
	domain, below := strings.CutPrefix(text, ".")
	if text == "*" {
		v.fail(path, "%q would let strangers relay through us to anywhere", text)
		return
	}
	if !v.domain(path, text, domain) || !below {
		return
	}
	suffix, registered := publicsuffix.PublicSuffix(strings.ToLower(domain))
	if registered && suffix == strings.ToLower(domain) {
		v.fail(path, "%q would let strangers relay through us to every domain below %s", text, domain)
	}
}

// domain checks a domain that stands in a longer text.
func (v *validation) domain(path, text, domain string) bool {
	err := checkDomain(domain)
	if err == nil {
		return true
	}
	suggestion := ""
	if better, ok := betterDomain(domain); ok {
		suggestion = strings.Replace(text, domain, better, 1)
	}
	if text != domain {
		err = fmt.Errorf("%q: %w", text, err)
	}
	v.suggest(path, suggestion, "%v", err)
	return false
}

// network checks a network, and warns of a prefix that may be a mistake for
// one address.
func (v *validation) network(path, text string) (netip.Prefix, bool) {
	network, err := ParseNetwork(text)
	if !v.check(path, err) {
		return network, false
	}
	if written, err := netip.ParsePrefix(text); err == nil && written != written.Masked() {
		v.warn(path, "%q stands for all of %v", text, network)
	}
	return network, true
}

// ParseNetwork reads a network in prefix notation, such as "10.0.0.0/8" or
// "fd00::/8", or a single address. Bits after the prefix are cleared, and an IPv4
// network that is written in IPv6 becomes IPv4.
func ParseNetwork(s string) (netip.Prefix, error) {
	bad := fmt.Errorf(`%q is not a network such as "10.0.0.0/8" or an address`, s)
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, bad
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, bad
	}
	if p.Addr().Is4In6() {
		// A shorter prefix would be part IPv4 and part not.
		if p.Bits() < 96 {
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// isPrivate tells a network whose addresses cannot come from the internet.
func isPrivate(network netip.Prefix) bool {
	for _, text := range []string{
		"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
		"::1/128", "fc00::/7", "fe80::/10",
	} {
		private := netip.MustParsePrefix(text)
		if private.Contains(network.Addr()) && private.Bits() <= network.Bits() {
			return true
		}
	}
	return false
}

// breadth is how much of the internet a network is.
type breadth int

const (
	narrow breadth = iota // may well be one organisation's
	wide                  // larger than nearly all organisations have
	open                  // larger than any
)

func width(network netip.Prefix) breadth {
	tooWide, suspicious := 8, 16
	if network.Addr().Is6() {
		tooWide, suspicious = 16, 32
	}
	switch {
	case network.Bits() < tooWide:
		return open
	case network.Bits() < suspicious:
		return wide
	default:
		return narrow
	}
}
