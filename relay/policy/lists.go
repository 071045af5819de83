package policy

import (
	"net/netip"

	"waypost/relay/smtp"
)

// Lists name clients, senders and recipients.
type Lists struct {
	Clients []netip.Prefix
	// Senders and Recipients are patterns, see [Match].
	Senders, Recipients []string
}

// client returns the index of the network that has an address, or -1.
func (l *Lists) client(addr netip.Addr) int { return network(l.Clients, addr) }

// network returns the index of the first network that has an address, or -1.
func network(all []netip.Prefix, addr netip.Addr) int {
	addr = addr.Unmap().WithZone("")
	for i, p := range all {
		if p.Contains(addr) {
			return i
		}
	}
	return -1
}

// address returns the index of the first pattern that an address matches, or
// -1.
func address(patterns []string, p smtp.Path) int {
	for i, pattern := range patterns {
		if Match(pattern, p) {
			return i
		}
	}
	return -1
}

var (
	clientDenied    = smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Client not welcome"}}
	senderUnwelcome = smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Sender not welcome"}}
	recipientDenied = smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Recipient refused"}}
)

// denied decides by the lists; ok is false where they have nothing to say. What
// is on a list of Allow is not looked for on that of Deny.
func (r *Rules) deniedSender(client Client, sender smtp.Path) (d Decision, ok bool) {
	if i := r.Deny.client(client.Addr); i >= 0 && r.Allow.client(client.Addr) < 0 {
		return r.no(clientDenied, index("deny.clients", i), "deny.clients "+r.Deny.Clients[i].String()), true
	}
	if i := address(r.Deny.Senders, sender); i >= 0 && address(r.Allow.Senders, sender) < 0 {
		return r.no(senderUnwelcome, index("deny.senders", i), "deny.senders "+r.Deny.Senders[i]), true
	}
	return Decision{}, false
}

func (r *Rules) deniedRecipient(recipient smtp.Path) (d Decision, ok bool) {
	if i := address(r.Deny.Recipients, recipient); i >= 0 && address(r.Allow.Recipients, recipient) < 0 {
		return r.no(recipientDenied, index("deny.recipients", i), "deny.recipients "+r.Deny.Recipients[i]), true
	}
	return Decision{}, false
}
