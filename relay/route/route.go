// Package route says where a recipient's mail goes next. It is pure: what a
// next hop's hosts and addresses are is for others to find out.
package route

import (
	"fmt"
	"slices"
	"strings"

	"waypost/relay/smtp"
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
	// Via are the legs, in the order in which they are tried; see [Route.Order].
	Via []Leg
	// Terms are those of each leg that has none of its own.
	Terms
	// FailOver are the codes of replies that lead on to the next leg, with x for
	// any digit: "4xx", "45x" or "554".
	FailOver []string

	// Index is the place of the route in its table, from 1; 0 is that of delivery
	// by MX without a route. The table sets it.
	Index int

	name   string // of the legs, with the suffix
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
		r.name = name + r.suffix
	}
	return t
}

// plainMX reports whether r is what happens without a route, too.
func (r *Route) plainMX() bool {
	return len(r.Via) == 1 && r.Via[0].plain() && r.TLS == Opportunistic && r.Account == "" && r.Username == "" &&
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
// Recipients with the same destination can share a connection. Where the first
// leg is drawn by lot it says which one that is, so that a leg that is slow or
// full keeps back its own share alone.
func (r *Route) Destination(recipient smtp.Path, lot uint64) string {
	if r.rank(0) == 1 {
		return r.Name(recipient)
	}
	return r.Beginning(r.Order(lot)[0], recipient)
}

// Beginning is the destination of messages that begin with a leg; "" where none
// does.
func (r *Route) Beginning(leg int, recipient smtp.Path) string {
	switch first := r.rank(0); {
	case leg >= first:
		return ""
	case first == 1:
		return r.Name(recipient)
	}
	return fmt.Sprintf("%s (leg %d)", r.Name(recipient), leg+1)
}

// Name is the destination whatever the lot.
func (r *Route) Name(recipient smtp.Path) string {
	switch {
	case !slices.ContainsFunc(r.Via, Leg.ownDomain):
		return r.name
	case len(r.Via) == 1:
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

// Key names a leg, for what is known of it and for the connections that are open:
// it is the same for all recipients for whom it leads to the same hosts.
func (r *Route) Key(leg int, recipient smtp.Path) string {
	name := r.name
	if r.Via[leg].ownDomain() {
		name = r.Name(recipient)
	}
	if len(r.Via) > 1 {
		name += fmt.Sprintf(" leg %d", leg+1)
	}
	return name
}

func joinLegs(legs []Leg) string {
	names := make([]string, len(legs))
	for i, leg := range legs {
		names[i] = leg.String()
	}
	return strings.Join(names, ",")
}
