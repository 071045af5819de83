// Package policy decides who may send what from whom to where. Its decisions are
// pure: they depend on nothing but the rules and the question, and do no I/O.
//
// Each decision says which rule made it and where that rule is configured, so
// that whoever asks why can be told.
package policy

import (
	"net/netip"
	"slices"
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
	// Certificates are the names in clients' certificates that may relay
	// anywhere: a mail address, a host, or ".domain" for all hosts below.
	Certificates []string
	// Domains are the recipients' domains that are taken from anyone;
	// ".example.org" stands for example.org and everything below.
	Domains []string
	// LoginsMayRelay says that who has logged in may relay anywhere.
	LoginsMayRelay bool
	// Logins say what logins may do; "*" is for those that are not in it.
	Logins []Login
	// Deny lists whom and what we refuse, and Allow what is not looked for on
	// the same list of Deny. To be on it opens no relay. Clients on Allow have
	// no limits.
	Deny, Allow Lists
	// Limiter bounds how much is sent; nil bounds nothing.
	Limiter *Limiter
	// Gateways are addresses behind which strangers hide: a network that has
	// one lets nobody relay from there.
	Gateways []netip.Addr
	// Place says where a rule is configured, by its key: "relay.networks[1]"
	// gives "waypost.toml:12". Nil knows of none.
	Place func(key string) string
}

// Login says what one login may do.
type Login struct {
	// Name is the login, or "*".
	Name string
	// Senders are the senders that it may use, see [Match]; "{login}" stands
	// for its own name.
	Senders []string
	// CheckFrom says that what a message says of its author must be of Senders,
	// too.
	CheckFrom bool
}

// Client is who asks.
type Client struct {
	// Addr is where it connects from; the zero value is nowhere.
	Addr netip.Addr
	// Login is who has logged in; "" is nobody.
	Login string
	// Certificates are the names in its certificate, once that was verified.
	Certificates []string
}

// Decision is the answer to one question.
type Decision struct {
	// Allowed says that the answer is yes.
	Allowed bool
	// Reason names the rule that made the decision.
	Reason string
	// Place is where that rule is configured; "" where it is not, such as for
	// a default.
	Place string
	// Reply is what a client is told that may not.
	Reply smtp.Reply
	// Gateway says that the client would have been allowed, had it not come
	// from one of the gateways.
	Gateway bool
}

// Replies to those who may not.
var (
	relayDenied  = smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Relaying denied"}}
	senderDenied = smtp.Reply{Code: 553, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Sender address not yours"}}
	authorDenied = smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Author address (From, Sender) not yours"}}
)

// yes and no make decisions, for the rule that key names.
func (r *Rules) yes(key, reason string) Decision {
	return Decision{Allowed: true, Reason: reason, Place: r.place(key)}
}

func (r *Rules) no(reply smtp.Reply, key, reason string) Decision {
	return Decision{Reason: reason, Place: r.place(key), Reply: reply}
}

func (r *Rules) place(key string) string {
	if r.Place == nil || key == "" {
		return ""
	}
	return r.Place(key)
}

// Sender decides whether client may send as sender. What it says before it has
// logged in has no weight here.
func (r *Rules) Sender(client Client, sender smtp.Path) Decision {
	if d, ok := r.deniedSender(client, sender); ok {
		return d
	}
	if client.Login == "" {
		return r.yes("", "no login")
	}
	i := r.login(client.Login)
	if i < 0 {
		return r.yes("", "no [[login]] for "+client.Login)
	}
	key := index("login", i) + ".senders"
	// RFC 6409 §3.2: reports have no reverse-path, and are no forgery.
	if sender.IsNull() {
		return r.yes(key, "null reverse-path")
	}
	if j := r.Logins[i].sender(client.Login, sender); j >= 0 {
		return r.yes(index(key, j), "login.senders "+r.Logins[i].Senders[j])
	}
	return r.no(senderDenied, key, "login.senders of "+r.Logins[i].Name)
}

// sender returns the index of the pattern that lets a login use an address, or -1.
func (l *Login) sender(login string, address smtp.Path) int {
	return slices.IndexFunc(l.Senders, func(pattern string) bool {
		// A login is an address and not a pattern, whatever it looks like.
		return pattern == "{login}" && strings.EqualFold(address.String(), login) || Match(pattern, address)
	})
}

// ChecksAuthor reports whether the authors of a client's messages matter.
func (r *Rules) ChecksAuthor(client Client) bool {
	i := r.login(client.Login)
	return client.Login != "" && i >= 0 && r.Logins[i].CheckFrom
}

// Author decides whether client may send a message with these addresses in From
// and Sender. Nobody there is nobody's (RFC 6409 §6.1).
func (r *Rules) Author(client Client, addresses []smtp.Path) Decision {
	if !r.ChecksAuthor(client) {
		return r.yes("", "no login.check_from")
	}
	i := r.login(client.Login)
	key := index("login", i) + ".check_from"
	for _, a := range addresses {
		if r.Logins[i].sender(client.Login, a) < 0 {
			return r.no(authorDenied, key, "login.check_from of "+r.Logins[i].Name+": "+a.String()+" is not among login.senders")
		}
	}
	if len(addresses) == 0 {
		return r.no(authorDenied, key, "login.check_from of "+r.Logins[i].Name+": there is no single author that can be read")
	}
	return r.yes(key, "login.check_from")
}

// login returns the index of the rules for a login, or -1.
func (r *Rules) login(name string) int {
	others := -1
	for i := range r.Logins {
		switch r.Logins[i].Name {
		case name:
			return i
		case "*":
			others = i
		}
	}
	return others
}

// Relay decides whether client may send to recipient. Neither what the client
// calls itself nor the sender that it names has any weight: both are free to
// choose.
func (r *Rules) Relay(client Client, recipient smtp.Path) Decision {
	if recipient.IsPostmaster() && (recipient.Domain == "" || recipient.DomainKey() == strings.ToLower(r.Hostname)) {
		return r.yes("hostname", "postmaster of this host")
	}
	if d, ok := r.deniedRecipient(recipient); ok {
		return d
	}
	if client.Login != "" && r.LoginsMayRelay {
		return r.yes("relay.logins_may_relay", "relay.logins_may_relay")
	}
	i := network(r.Networks, client.Addr)
	hidden := i >= 0 && !r.trusts(client.Addr)
	if i >= 0 && !hidden {
		return r.yes(index("relay.networks", i), "relay.networks "+r.Networks[i].String())
	}
	if i := r.certified(client.Certificates); i >= 0 {
		return r.yes(index("relay.certificates", i), "relay.certificates "+r.Certificates[i])
	}
	// Only the domain counts. What a local part may look like (a%b, a!b,
	// "a@b") is the business of the host that owns the mailbox (RFC 5321
	// §2.3.11).
	if i := r.relayed(recipient.DomainKey()); i >= 0 {
		return r.yes(index("relay.domains", i), "relay.domains "+r.Domains[i])
	}
	if hidden {
		d := r.no(relayDenied, index("relay.networks", i),
			"relay.networks "+r.Networks[i].String()+" is not for "+client.Addr.String()+", the container's gateway, behind which anybody can be")
		d.Gateway = true
		return d
	}
	return r.no(relayDenied, "relay", "neither relay.networks nor relay.domains, and no login")
}

// Trusted reports whether client is one of ours: it has logged in, has a
// certificate that may relay, or is in one of the networks that may.
func (r *Rules) Trusted(client Client) bool {
	return client.Login != "" || r.trusts(client.Addr) || r.certified(client.Certificates) >= 0
}

func (r *Rules) trusts(addr netip.Addr) bool {
	return network(r.Networks, addr) >= 0 && !slices.Contains(r.Gateways, addr.Unmap().WithZone(""))
}

// certified returns the index of the certificate's name that lets a client relay
// anywhere, or -1. ".example.org" is all hosts below example.org, and not that.
func (r *Rules) certified(names []string) int {
	for i, want := range r.Certificates {
		for _, name := range names {
			if strings.EqualFold(name, want) || strings.HasPrefix(want, ".") && len(name) > len(want) && smtp.HasSuffixFold(name, want) && !strings.Contains(name, "@") {
				return i
			}
		}
	}
	return -1
}

// Relayed reports whether a recipient is in one of the domains that are taken
// from anyone. Our own postmaster is not.
func (r *Rules) Relayed(recipient smtp.Path) bool { return r.relayed(recipient.DomainKey()) >= 0 }

func (r *Rules) relayed(domain string) int {
	for i, d := range r.Domains {
		if matchDomain(d, domain) {
			return i
		}
	}
	return -1
}
