package resolver

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzReply hands arbitrary octets to everything that reads a reply. The ID is
// put right, as nothing would be read otherwise.
func FuzzReply(f *testing.F) {
	query := newQuery(question{"d.example", dns.TypeMX}, false)
	for _, records := range [][]string{
		{mxRecord},
		{"d.example. 300 IN MX 0 ."},
		{"d.example. 300 IN CNAME e.example.", "e.example. 300 IN MX 10 mx.example."},
		{"d.example. 300 IN CNAME d.example."},
		{"example. 300 IN SOA ns.example. h.example. 1 2 3 4 5"},
		{},
	} {
		wire := pack(f, replyTo(f, query, records...))
		f.Add(wire, uint8(0))
		f.Add(wire[:len(wire)-3], uint8(0))
		f.Add(append(wire[:2:2], append([]byte{0x83, 0x80}, wire[4:]...)...), uint8(0)) // TC
	}
	types := []uint16{dns.TypeMX, dns.TypeA, dns.TypeAAAA, dns.TypeTLSA, dns.TypeTXT, dns.TypeCNAME}
	for i, data := range []string{"MX 10 mx.example.", "A 192.0.2.1", "AAAA 2001:db8::1", "TLSA 3 1 1 00ff", `TXT "v=STSv1; " "a\"b\\\000"`, "CNAME e.example."} {
		f.Add(pack(f, replyTo(f, newQuery(question{"d.example", types[i]}, false), "d.example. 300 IN "+data)), uint8(i))
	}
	r := newResolver(f, nil, Options{Servers: []string{"192.0.2.1"}, Hostname: "mx.example"})
	f.Fuzz(func(t *testing.T, wire []byte, kind uint8) {
		q := question{"d.example", types[int(kind)%len(types)]}
		query := newQuery(q, false)
		if len(wire) >= 2 {
			binary.BigEndian.PutUint16(wire, query.Id)
		}
		reply, err := parseReply(query, wire)
		if err != nil || reply.Truncated {
			return
		}
		found, err := examine(reply, q)
		if err != nil {
			return
		}
		if found.ttl < 0 || found.ttl > maxTTL || found.aliases > maxAliases+1 || len(found.records) > maxRecords {
			t.Fatalf("out of bounds: %+v", found)
		}
		if !found.final() {
			newQuery(question{found.name, q.qtype}, false)
			return
		}
		a := &answer{name: found.name}
		r.settle(a, q, found)
		if len(a.hosts) > r.o.MaxHosts || len(a.addresses) > r.o.MaxAddresses {
			t.Fatalf("too many are kept: %+v", a)
		}
		for _, h := range a.hosts {
			if name, err := hostName(h.Name); err != nil || name != h.Name {
				t.Fatalf("%q is no host's name: %v", h.Name, err)
			}
		}
		// Only a reply that names the domain, or denies it, is permanent.
		if a.err != nil && a.err.Permanent() && reply.Rcode == dns.RcodeSuccess && len(reply.Answer) == 0 {
			t.Fatalf("permanent without a reason: %v", a.err)
		}
	})
}

// FuzzName: a name that is accepted is in its one form, and fits in a query.
func FuzzName(f *testing.F) {
	for _, s := range []string{"example.org", "BÜCHER.example.", "a_b.c", "[192.0.2.1]", "[IPv6:::1]", "xn--a", "a\x00b", "ok。example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start := time.Now()
		for _, parse := range []func(string) (string, error){recipientDomain, hostName} {
			name, err := parse(s)
			if err != nil {
				continue
			}
			if again, err := parse(name); err != nil || again != name {
				t.Errorf("%q becomes %q, and that %q, %v", s, name, again, err)
			}
			if _, err := newQuery(question{name, dns.TypeMX}, false).Pack(); err != nil {
				t.Errorf("%q becomes %q, which fits in no query: %v", s, name, err)
			}
		}
		if ok, addr, err := literal(s); ok && err == nil && (!addr.IsValid() || addr.Is4In6() || addr.Zone() != "") {
			t.Errorf("the literal %q becomes %v", s, addr)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%d octets took %v", len(s), took)
		}
	})
}
