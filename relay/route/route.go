// Package route says where a recipient's mail goes next. It is pure: what a
// next hop's hosts and addresses are is for others to find out.
package route

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"waypost/relay/smtp"
)

// LegKind is how a leg finds its hosts.
type LegKind uint8

// The kinds of legs.
const (
	// MX looks up the mail hosts of the recipient's domain.
	MX LegKind = iota
	// Host is one named host, a smarthost.
	Host
)

// Leg is one way to a next hop.
type Leg struct {
	Kind LegKind
	// Host is a name or an address, without brackets; Port is its TCP port.
	// Both are for Kind Host only.
	Host string
	Port uint16
}

// String returns the leg as it is configured: "mx:" or "smtp://host:port".
func (l Leg) String() string {
	if l.Kind == MX {
		return "mx:"
	}
	return "smtp://" + net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
}

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
)

// Route is one rule. The zero value matches nobody.
type Route struct {
	// To selects recipients: "example.org", ".example.org" for it and
	// everything below, "user@example.org", or "*".
	To string
	// From selects senders the same way; "<>" is the null reverse-path. Empty
	// selects all.
	From string
	// Via are the legs, in the order in which they are tried.
	Via []Leg
	// TLS is the security of all legs.
	TLS TLS
	// Username and Password are for the smarthosts; no user means no AUTH.
	Username, Password string

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
		if r.plainMX() {
			continue
		}
		name := joinLegs(r.Via)
		if _, taken := first[name]; taken || r.Via[0].Kind == MX && len(r.Via) == 1 {
			r.suffix = fmt.Sprintf(" (route %d)", i+1)
		}
		first[name] = i
	}
	return t
}

// plainMX reports whether r is what happens without a route, too.
func (r *Route) plainMX() bool {
	return len(r.Via) == 1 && r.Via[0].Kind == MX && r.TLS == Opportunistic && r.Username == ""
}

var direct = Route{Via: []Leg{{Kind: MX}}}

// Lookup returns the route of a recipient; without a match, delivery by MX.
func (t *Table) Lookup(sender, recipient smtp.Path) *Route {
	domain := recipient.DomainKey()
	for i := range t.routes {
		r := &t.routes[i]
		if match(r.To, recipient, domain) && (r.From == "" || r.matchSender(sender)) {
			return r
		}
	}
	return &direct
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
	if len(r.Via) == 1 && r.Via[0].Kind == MX {
		return recipient.DomainKey() + r.suffix
	}
	name := joinLegs(r.Via)
	for _, leg := range r.Via {
		if leg.Kind == MX {
			name += recipient.DomainKey()
		}
	}
	return name + r.suffix
}

func joinLegs(legs []Leg) string {
	names := make([]string, len(legs))
	for i, leg := range legs {
		names[i] = leg.String()
	}
	return strings.Join(names, ",")
}
