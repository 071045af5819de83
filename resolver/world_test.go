package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"waypost/resolver/dnstest"
)

// self is our own name in this world, and ownAddr our own address.
const (
	self    = "relay.example"
	ownAddr = "192.0.2.200"
)

// domain is one row of the world: what the DNS says, and what must come of it.
type domain struct {
	name      string // what is looked up
	records   []string
	behaviour map[string]dnstest.Behaviour // by "name" or "name TYPE"
	authority bool                         // the server follows no aliases
	timeout   time.Duration                // for rows where no reply comes
	own       bool                         // we know our own address

	hosts    []string // those of equal preference in alphabetical order
	as       string   // Hosts.Domain, where it is not name
	implicit bool
	kind     Kind // when there are no hosts
	queries  int  // when not zero: how many queries for name, of all types
}

// short is the time-out of rows in which no reply comes.
const short = 100 * time.Millisecond

func rcode(code int) map[string]dnstest.Behaviour {
	return map[string]dnstest.Behaviour{"d.example": {Rcode: code}}
}

func only(b dnstest.Behaviour) map[string]dnstest.Behaviour {
	return map[string]dnstest.Behaviour{"d.example": b}
}

func chain(length int) []string {
	var records []string
	from := "d.example."
	for i := range length {
		to := fmt.Sprintf("c%d.example.", i)
		records = append(records, from+" 300 IN CNAME "+to)
		from = to
	}
	return append(records, from+" 300 IN MX 10 mx.example.")
}

func many(format string, n int) []string {
	var records []string
	for i := range n {
		records = append(records, fmt.Sprintf(format, i))
	}
	return records
}

func world() map[string]domain {
	oneMX := []string{"d.example. 300 IN MX 10 mx.example."}
	poisoned := []string{"mx.example"}
	return map[string]domain{
		// RFC 5321 §5.1: the list and its order.
		"5321-5.1-g 1123-5.2.1-a one host": {name: "d.example", records: oneMX, hosts: []string{"mx.example"}, queries: 1},
		"5321-5.1-g by preference":         {name: "d.example", records: []string{"d.example. 300 IN MX 20 b.example.", "d.example. 300 IN MX 10 a.example.", "d.example. 300 IN MX 30 c.example."}, hosts: []string{"a.example", "b.example", "c.example"}},
		"5321-5.1-g equal preference":      {name: "d.example", records: []string{"d.example. 300 IN MX 10 b.example.", "d.example. 300 IN MX 10 a.example.", "d.example. 300 IN MX 5 z.example."}, hosts: []string{"z.example", "a.example", "b.example"}},
		"a host named twice":               {name: "d.example", records: []string{"d.example. 300 IN MX 20 a.example.", "d.example. 300 IN MX 10 a.example."}, hosts: []string{"a.example"}},
		"N-01 500 hosts":                   {name: "d.example", records: many("d.example. 300 IN MX 10 m%03d.example.", 500), hosts: nil},
		"host in capitals":                 {name: "D.Example.", records: []string{"d.example. 300 IN MX 10 MX.Example."}, hosts: []string{"mx.example"}, as: "d.example"},
		"5321-5.1-f host is an address":    {name: "d.example", records: []string{"d.example. 300 IN MX 10 192.0.2.1.", "d.example. 300 IN A 192.0.2.2"}, kind: NoAddress},
		"underscore in host":               {name: "d.example", records: []string{"d.example. 300 IN MX 10 mail_1.example."}, hosts: []string{"mail_1.example"}},
		"6531-e international":             {name: "bücher.example", records: []string{"xn--bcher-kva.example. 300 IN MX 10 mx.example."}, hosts: []string{"mx.example"}, as: "xn--bcher-kva.example"},
		"N-09 large, over TCP":             {name: "d.example", records: many("d.example. 300 IN MX %[1]d m%03[1]d.a-rather-long-name.example.", 90), hosts: many("m%03d.a-rather-long-name.example", 10), queries: 2},

		// The domain as its own host.
		"5321-5.1-d N-07 implicit":              {name: "d.example", records: []string{"d.example. 300 IN A 192.0.2.1"}, hosts: []string{"d.example"}, implicit: true},
		"5321-5.1-d 5321-5.2-a implicit, IPv6":  {name: "d.example", records: []string{"d.example. 300 IN AAAA 2001:db8::1"}, hosts: []string{"d.example"}, implicit: true},
		"N-07 no MX, no address":                {name: "d.example", records: []string{"d.example. 300 IN TXT x"}, kind: NoAddress},
		"only names below":                      {name: "d.example", records: []string{"www.d.example. 300 IN A 192.0.2.1"}, kind: NoAddress},
		"no MX, addresses fail":                 {name: "d.example", records: []string{"d.example. 300 IN TXT x"}, behaviour: map[string]dnstest.Behaviour{"d.example A": {Rcode: dns.RcodeServerFailure}}, kind: Temporary},
		"5321-5.1-c MX fails, address is there": {name: "d.example", records: []string{"d.example. 300 IN A 192.0.2.1"}, behaviour: map[string]dnstest.Behaviour{"d.example MX": {Rcode: dns.RcodeServerFailure}}, kind: Temporary},
		"MX silent, address is there":           {name: "d.example", records: []string{"d.example. 300 IN A 192.0.2.1"}, behaviour: map[string]dnstest.Behaviour{"d.example MX": {Silent: true}}, timeout: short, kind: Temporary},
		"5321-5.1-e N-08 host without address":  {name: "d.example", records: append([]string{"d.example. 300 IN A 192.0.2.1"}, oneMX...), hosts: []string{"mx.example"}},

		// RFC 7505.
		"7505-a N-06 null MX":              {name: "d.example", records: []string{"d.example. 300 IN MX 0 .", "d.example. 300 IN A 192.0.2.1"}, kind: NullMX, queries: 1},
		"7505-a N-06 null MX, number 10":   {name: "d.example", records: []string{"d.example. 300 IN MX 10 ."}, kind: NullMX},
		"7505-c N-06 null MX among others": {name: "d.example", records: append([]string{"d.example. 300 IN MX 0 ."}, oneMX...), hosts: []string{"mx.example"}},

		// Nobody's domain is ours to complete.
		"5321-5.1-a one label": {name: "d", records: []string{"d.example. 300 IN MX 10 mx.example."}, kind: NoSuchDomain, queries: 1},

		// Ourselves in the list.
		"5321-5.1-h D-11 we are the only host":  {name: "d.example", records: []string{"d.example. 300 IN MX 10 Relay.example."}, kind: Loop},
		"5321-5.1-h D-11 we are the best host":  {name: "d.example", records: []string{"d.example. 300 IN MX 10 relay.example.", "d.example. 300 IN MX 20 mx.example."}, kind: Loop},
		"5321-5.1-h we are a backup":            {name: "d.example", records: []string{"d.example. 300 IN MX 10 a.example.", "d.example. 300 IN MX 20 relay.example.", "d.example. 300 IN MX 20 b.example.", "d.example. 300 IN MX 30 c.example."}, hosts: []string{"a.example"}},
		"5321-5.1-h we are one of many backups": {name: "d.example", records: append(many("d.example. 300 IN MX 20 m%03d.example.", 60), "d.example. 300 IN MX 20 relay.example.", "d.example. 300 IN MX 10 a.example."), hosts: []string{"a.example"}},
		"5321-5.1-h D-11 backup by address":     {name: "d.example", own: true, records: []string{"d.example. 300 IN MX 10 a.example.", "d.example. 300 IN MX 20 us.example.", "d.example. 300 IN MX 20 b.example.", "us.example. 300 IN A " + ownAddr}, hosts: []string{"a.example"}},
		"5321-5.1-h D-11 best by address":       {name: "d.example", own: true, records: []string{"d.example. 300 IN MX 10 us.example.", "d.example. 300 IN MX 20 b.example.", "us.example. 300 IN A " + ownAddr}, kind: Loop},
		"5321-5.1-h D-11 implicit by name":      {name: self, records: []string{self + ". 300 IN A " + ownAddr}, kind: Loop},
		"5321-5.1-h D-11 implicit by address":   {name: "d.example", own: true, records: []string{"d.example. 300 IN A " + ownAddr}, kind: Loop},
		"literal by address":                    {name: "[" + ownAddr + "]", own: true, kind: Loop},
		"a host's addresses fail":               {name: "d.example", own: true, records: oneMX, behaviour: map[string]dnstest.Behaviour{"mx.example": {Rcode: dns.RcodeServerFailure}}, hosts: []string{"mx.example"}},

		// Aliases.
		"5321-5.1-b alias":                          {name: "d.example", records: chain(1), hosts: []string{"mx.example"}, as: "c0.example", queries: 1},
		"5321-5.1-b N-05 alias, not followed there": {name: "d.example", records: chain(3), authority: true, hosts: []string{"mx.example"}, as: "c2.example", queries: 1},
		"N-05 eight aliases":                        {name: "d.example", records: chain(8), hosts: []string{"mx.example"}, as: "c7.example"},
		"eight, not followed there":                 {name: "d.example", records: chain(8), authority: true, hosts: []string{"mx.example"}, as: "c7.example"},
		"N-05 nine aliases":                         {name: "d.example", records: chain(9), kind: CNAMELoop},
		"nine, not followed there":                  {name: "d.example", records: chain(9), authority: true, kind: CNAMELoop},
		"N-05 alias loop":                           {name: "d.example", records: []string{"d.example. 300 IN CNAME e.example.", "e.example. 300 IN CNAME d.example."}, kind: CNAMELoop},
		"alias loop, authoritative":                 {name: "d.example", records: []string{"d.example. 300 IN CNAME e.example.", "e.example. 300 IN CNAME d.example."}, authority: true, kind: CNAMELoop},
		"alias of itself":                           {name: "d.example", records: []string{"d.example. 300 IN CNAME d.example."}, kind: CNAMELoop},
		"5321-5.1-c alias of nothing":               {name: "d.example", records: []string{"d.example. 300 IN CNAME gone.example."}, kind: NoSuchDomain},
		"alias, implicit":                           {name: "d.example", records: []string{"d.example. 300 IN CNAME e.example.", "e.example. 300 IN A 192.0.2.1"}, hosts: []string{"e.example"}, as: "e.example", implicit: true},
		"alias of null MX":                          {name: "d.example", records: []string{"d.example. 300 IN CNAME e.example.", "e.example. 300 IN MX 0 ."}, kind: NullMX},

		// Replies that say nothing, or nothing yet.
		"5321-5.1-c N-07 NXDOMAIN": {name: "d.example", kind: NoSuchDomain, queries: 1},
		"5321-5.1-c N-07 SERVFAIL": {name: "d.example", records: oneMX, behaviour: rcode(dns.RcodeServerFailure), kind: Temporary, queries: 2},
		"N-07 REFUSED":             {name: "d.example", records: oneMX, behaviour: rcode(dns.RcodeRefused), kind: Temporary},
		"FORMERR":                  {name: "d.example", records: oneMX, behaviour: rcode(dns.RcodeFormatError), kind: Temporary},
		"NOTIMP":                   {name: "d.example", records: oneMX, behaviour: rcode(dns.RcodeNotImplemented), kind: Temporary},
		"SERVFAIL once":            {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Rcode: dns.RcodeServerFailure, Times: 1}), hosts: []string{"mx.example"}, queries: 2},
		"N-07 silence":             {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Silent: true}), timeout: short, kind: Temporary, queries: 2},
		"silence once":             {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Silent: true, Times: 1}), timeout: time.Second, hosts: []string{"mx.example"}, queries: 2},
		"lame":                     {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Lame: true}), kind: Temporary},
		"referral":                 {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Referral: true}), kind: Temporary},
		"slow":                     {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Delay: 50 * time.Millisecond}), hosts: []string{"mx.example"}},
		"no EDNS":                  {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{NoEDNS: true}), hosts: []string{"mx.example"}, queries: 2},
		"N-09 cut":                 {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Truncate: true}), hosts: []string{"mx.example"}, queries: 2},
		"N-09 cut, no TCP":         {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Truncate: true, RefuseTCP: true}), kind: Temporary},
		"N-09 forged ID":           {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{WrongID: true}), hosts: poisoned, queries: 1},
		"N-09 forged question":     {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{WrongQuestion: true}), hosts: poisoned, queries: 1},
		"N-09 forged source":       {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{WrongSource: true}), hosts: poisoned, queries: 1},
		"N-09 garbage":             {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{Garbage: true}), hosts: poisoned, queries: 1},
		"forgeries, then silence":  {name: "d.example", records: oneMX, behaviour: only(dnstest.Behaviour{WrongID: true, WrongQuestion: true, WrongSource: true, Garbage: true, Silent: true}), timeout: short, kind: Temporary},

		// What needs no DNS.
		"IPv4 literal":          {name: "[192.0.2.1]", hosts: []string{"[192.0.2.1]"}, implicit: true},
		"IPv6 literal":          {name: "[IPv6:2001:db8::1]", hosts: []string{"[IPv6:2001:db8::1]"}, implicit: true},
		"bad literal":           {name: "[192.0.2]", kind: BadName},
		"open literal":          {name: "[192.0.2.1", kind: BadName},
		"IPv6 without its tag":  {name: "[2001:db8::1]", kind: BadName},
		"IPv4 with IPv6's tag":  {name: "[IPv6:192.0.2.1]", kind: BadName},
		"literal with a zone":   {name: "[IPv6:fe80::1%eth0]", kind: BadName},
		"localhost":             {name: "LocalHost.", hosts: []string{"localhost"}, as: "localhost", implicit: true},
		"N-12 underscore":       {name: "a_b.example", records: []string{"a_b.example. 300 IN MX 10 mx.example."}, kind: BadName, queries: -1},
		"N-12 hyphen first":     {name: "-x.example", records: []string{"-x.example. 300 IN MX 10 mx.example."}, kind: BadName, queries: -1},
		"N-12 label of 64":      {name: strings.Repeat("a", 64) + ".example", kind: BadName},
		"N-12 name of 256":      {name: strings.Repeat("a.", 124) + "example", kind: BadName},
		"N-12 empty label":      {name: "a..example", kind: BadName},
		"two final dots":        {name: "d.example..", kind: BadName},
		"nothing":               {name: "", kind: BadName},
		"N-12 NUL":              {name: "d\x00.example", kind: BadName},
		"space":                 {name: "d .example", kind: BadName},
		"not UTF-8":             {name: "d\xff.example", kind: BadName},
		"address without signs": {name: "192.0.2.1", kind: BadName},
		"number":                {name: "2130706433", kind: BadName},
		"bad A-label":           {name: "xn--a.example", kind: BadName},
	}
}

// TestWorld asks a real server on loopback about each domain.
func TestWorld(t *testing.T) {
	for title, d := range world() {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := dnstest.New(t, d.records...)
			s.SetRecursion(!d.authority)
			for key, b := range d.behaviour {
				name, qtype, ok := strings.Cut(key, " ")
				if ok {
					s.Set(name, b, dns.StringToType[qtype])
				} else {
					s.Set(name, b)
				}
			}
			o := Options{Hostname: self, Timeout: d.timeout}
			if d.own {
				o.Own = func() []netip.AddrPort {
					return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(ownAddr), 25)}
				}
			}
			got, err := newResolver(t, s, o).Hosts(t.Context(), d.name)
			if d.queries != 0 {
				want := max(d.queries, 0)
				if n := s.Queries(strings.TrimSuffix(d.name, "."), dns.TypeNone); n != want {
					t.Errorf("%d queries for %s, want %d", n, d.name, want)
				}
			}
			check(t, d, title, got, err)
		})
	}
}

func check(t *testing.T, d domain, title string, got Hosts, err error) {
	t.Helper()
	if title == "N-01 500 hosts" {
		if err != nil || len(got.List) != 10 {
			t.Errorf("hosts are %v, %v, want ten", got.List, err)
		}
		return
	}
	if d.hosts == nil {
		if e := wantKindOf(t, d, err); e != nil && len(got.List) > 0 {
			t.Errorf("hosts come with an error: %v", got)
		}
		return
	}
	if err != nil {
		t.Fatalf("Hosts(%q): %v", d.name, err)
	}
	if list := names(got.List); !slices.Equal(list, d.hosts) {
		t.Errorf("hosts are %q, want %q", list, d.hosts)
	}
	if !slices.IsSortedFunc(got.List, func(a, b Host) int { return int(a.Preference) - int(b.Preference) }) {
		t.Errorf("hosts are not in order of preference: %v", got.List)
	}
	as := d.as
	if as == "" {
		as = d.name
	}
	if got.Domain != as {
		t.Errorf("domain is %q, want %q", got.Domain, as)
	}
	for _, h := range got.List {
		if h.Implicit != d.implicit {
			t.Errorf("host %q: implicit is %v, want %v", h.Name, h.Implicit, d.implicit)
		}
	}
}

// wantKindOf is wantKind, but for the empty domain, of which an error says nothing.
func wantKindOf(t *testing.T, d domain, err error) *Error {
	t.Helper()
	if d.name != "" {
		return wantKind(t, err, d.kind)
	}
	if e, ok := err.(*Error); !ok || e.Kind != d.kind {
		t.Errorf("error is %v, want kind %q", err, d.kind)
	}
	return nil
}

// TestEnhancedCodes fixes what a sender is told.
func TestEnhancedCodes(t *testing.T) {
	want := map[Kind][3]int{
		Temporary:    {4, 4, 3},
		CNAMELoop:    {4, 4, 3},
		NoSuchDomain: {5, 1, 2},
		NullMX:       {5, 1, 10},
		Loop:         {5, 4, 6},
		NoAddress:    {5, 4, 4},
		BadName:      {5, 1, 2},
	}
	for kind, code := range want {
		e := newError(kind, "d.example", "", nil)
		if e.Enhanced != code || e.Permanent() != (code[0] == 5) {
			t.Errorf("%v: code %v, permanent %v, want %v", kind, e.Enhanced, e.Permanent(), code)
		}
	}
}
