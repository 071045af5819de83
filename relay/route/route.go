// Package route says where a recipient's mail goes next. It is pure: what a
// next hop's hosts and addresses are is for others to find out.
package route

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"

	"waypost/relay/smtp"
)

// TLS says how a connection is to be secured.
type TLS uint8

// The levels of TLS.
const (
	// Opportunistic uses TLS where it is offered, without verifying.
	Opportunistic TLS = iota
	// None never uses TLS.
	None
	// Required does not go on without TLS, and does not verify.
	Required
	// Verified does not go on without a certificate for the host's name.
	Verified
	// DANE does not go on without a certificate that matches secure TLSA
	// records (RFC 7672).
	DANE
)

// Route is one rule. The zero value matches nobody.
type Route struct {
	// To selects recipients: "example.org", ".example.org" for it and
	// everything below, "user@example.org", or "*".
	To string
	// From selects senders the same way; "<>" is the null reverse-path. Empty
	// selects all.
	From string
	// Login and Class select messages by the identity that their client proved
	// and by their message class; empty selects all.
	Login, Class string
	// Via are the legs, in the order in which they are tried.
	Via []Leg
	// TLS is the security of all legs.
	TLS TLS
	// Pins are SHA-256 digests of public keys (SubjectPublicKeyInfo), of which a
	// host's certificate must have one; empty asks for none.
	Pins [][32]byte
	// Roots are the authorities for [Verified]; nil is the system's.
	Roots *x509.CertPool
	// Account names what to log in with at the smarthosts, which is kept
	// elsewhere; empty means no AUTH.
	Account string
	// Username and Password are an account of two words.
	Username, Password string
	// Sources are the addresses from which connections are made, one for each
	// family at most. Without any the system chooses; with some, hosts of the
	// other family are not tried.
	Sources []netip.Addr
	// Hello is our name in EHLO; empty is the one that all routes share.
	Hello string
	// FailOver are the codes of replies that lead on to the next leg, with x for
	// any digit: "4xx", "45x" or "554".
	FailOver []string

	// Index is the place of the route in its table, from 1; 0 is that of delivery
	// by MX without a route. The table sets it.
	Index int

	suffix string // tells apart routes that lead the same way on other terms
}

// Table is a list of routes; the first match wins. Its zero value sends
// everything by MX.
type Table struct {
	routes []Route
}

// NewTable returns a table of routes.
func NewTable(routes []Route) *Table {
	t := &Table{routes: append([]Route(nil), routes...)}
	first := map[string]int{}
	for i := range t.routes {
		r := &t.routes[i]
		r.Index = i + 1
		if r.plainMX() {
			continue
		}
		name := joinLegs(r.Via)
		if _, taken := first[name]; taken || r.Via[0].ownDomain() && len(r.Via) == 1 {
			r.suffix = fmt.Sprintf(" (route %d)", i+1)
		}
		first[name] = i
	}
	return t
}

// plainMX reports whether r is what happens without a route, too.
func (r *Route) plainMX() bool {
	return len(r.Via) == 1 && r.Via[0] == Leg{Kind: MX} && r.TLS == Opportunistic && r.Account == "" && r.Username == "" &&
		len(r.Sources) == 0 && r.Hello == ""
}

var direct = Route{Via: []Leg{{Kind: MX}}}

// Mail is what a route is chosen by.
type Mail struct {
	// Sender is the reverse-path.
	Sender smtp.Path
	// Recipient is one forward-path.
	Recipient smtp.Path
	// Login is the identity that the client proved; Class the message class.
	// Both are empty where there is none.
	Login, Class string
}

// Lookup returns the route of a recipient; without a match, delivery by MX.
func (t *Table) Lookup(m Mail) *Route {
	domain := m.Recipient.DomainKey()
	for i := range t.routes {
		if r := &t.routes[i]; match(r.To, m.Recipient, domain) && r.matchRest(m) {
			return r
		}
	}
	return &direct
}

// matchRest compares what a route may leave open.
func (r *Route) matchRest(m Mail) bool {
	return (r.From == "" || r.matchSender(m.Sender)) && (r.Login == "" || r.Login == m.Login) && (r.Class == "" || r.Class == m.Class)
}

func (r *Route) matchSender(sender smtp.Path) bool {
	if sender.IsNull() {
		return r.From == "<>"
	}
	return match(r.From, sender, sender.DomainKey())
}

func match(pattern string, p smtp.Path, domain string) bool {
	switch {
	case pattern == "*":
		return true
	case strings.HasPrefix(pattern, "."):
		return smtp.HasSuffixFold("."+domain, pattern)
	case strings.Contains(pattern, "@"):
		at := strings.LastIndexByte(pattern, '@')
		// The local part belongs to its domain (RFC 5321 §2.4), but hosts
		// that tell its case apart are unheard of.
		return strings.EqualFold(p.Local, pattern[:at]) && strings.EqualFold(domain, pattern[at+1:])
	}
	return strings.EqualFold(domain, pattern)
}

// Destination names what a recipient of this route waits for in the queue:
// its domain where hosts are found by MX, the next hop where it is named.
// Recipients with the same destination can share a connection.
func (r *Route) Destination(recipient smtp.Path) string {
	if len(r.Via) == 1 && r.Via[0].ownDomain() {
		return recipient.DomainKey() + r.suffix
	}
	names := make([]string, len(r.Via))
	for i, leg := range r.Via {
		names[i] = leg.String()
		if leg.ownDomain() {
			names[i] += recipient.DomainKey()
		}
	}
	return strings.Join(names, ",") + r.suffix
}

func joinLegs(legs []Leg) string {
	names := make([]string, len(legs))
	for i, leg := range legs {
		names[i] = leg.String()
	}
	return strings.Join(names, ",")
}
