package dnstest

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends one query with the library's own client.
func ask(t *testing.T, s *Server, network, name string, qtype uint16) (*dns.Msg, error) {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: 5 * time.Second}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	reply, _, err := client.ExchangeContext(t.Context(), query, s.Addr)
	return reply, err
}

func texts(records []dns.RR) []string {
	var list []string
	for _, rr := range records {
		list = append(list, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return list
}

func TestContent(t *testing.T) {
	s := New(t,
		"d.example. 300 IN MX 10 mx.example.",
		"a.example. 60 IN CNAME d.example.",
		"out.example. 60 IN CNAME elsewhere.test.",
		"loop.example. 60 IN CNAME loop.example.",
		"below.empty.example. 60 IN A 192.0.2.1",
		"example. 900 IN SOA ns.example. h.example. 1 2 3 4 120",
	)
	const mx, alias = "d.example. 300 IN MX 10 mx.example.", "a.example. 60 IN CNAME d.example."
	for _, row := range []struct {
		name      string
		qtype     uint16
		recursive bool
		rcode     int
		answer    []string
	}{
		{"D.example", dns.TypeMX, true, dns.RcodeSuccess, []string{mx}},
		{"d.example", dns.TypeA, true, dns.RcodeSuccess, nil},
		{"a.example", dns.TypeMX, true, dns.RcodeSuccess, []string{alias, mx}},
		{"a.example", dns.TypeMX, false, dns.RcodeSuccess, []string{alias}},
		{"a.example", dns.TypeCNAME, true, dns.RcodeSuccess, []string{alias}},
		{"out.example", dns.TypeMX, true, dns.RcodeNameError, []string{"out.example. 60 IN CNAME elsewhere.test."}},
		{"out.example", dns.TypeMX, false, dns.RcodeSuccess, []string{"out.example. 60 IN CNAME elsewhere.test."}},
		{"empty.example", dns.TypeA, true, dns.RcodeSuccess, nil},
		{"gone.example", dns.TypeA, true, dns.RcodeNameError, nil},
	} {
		s.SetRecursion(row.recursive)
		for _, network := range []string{"udp", "tcp"} {
			reply, err := ask(t, s, network, row.name, row.qtype)
			if err != nil {
				t.Fatalf("%s over %s: %v", row.name, network, err)
			}
			if reply.Rcode != row.rcode || !slices.Equal(texts(reply.Answer), row.answer) {
				t.Errorf("%s over %s: %v", row.name, network, reply)
			}
			if reply.RecursionAvailable != row.recursive || reply.Authoritative == row.recursive {
				t.Errorf("%s over %s: RA %v, AA %v", row.name, network, reply.RecursionAvailable, reply.Authoritative)
			}
			if negative := len(row.answer) == 0; negative && !has(reply.Ns, dns.TypeSOA) {
				t.Errorf("%s over %s: no SOA record", row.name, network)
			}
		}
	}
	if reply, err := ask(t, s, "udp", "loop.example", dns.TypeMX); err != nil || len(reply.Answer) == 0 {
		t.Errorf("an alias loop: %v, %v", reply, err)
	}
	if n := s.Queries("d.EXAMPLE.", dns.TypeMX); n != 2 {
		t.Errorf("%d queries for MX, want 2", n)
	}
	if n := s.Queries("d.example", dns.TypeNone); n != 4 {
		t.Errorf("%d queries of all types, want 4", n)
	}
	s.Remove("d.example")
	if reply, err := ask(t, s, "udp", "d.example", dns.TypeMX); err != nil || reply.Rcode != dns.RcodeNameError {
		t.Errorf("after it was removed: %v, %v", reply, err)
	}
}

func has(records []dns.RR, rrtype uint16) bool {
	return slices.ContainsFunc(records, func(rr dns.RR) bool { return rr.Header().Rrtype == rrtype })
}

func TestBehaviours(t *testing.T) {
	s := New(t, "d.example. 300 IN MX 10 mx.example.", "d.example. 300 IN A 192.0.2.1")
	exchange := func(network string) (*dns.Msg, error) { return ask(t, s, network, "d.example", dns.TypeMX) }

	s.Set("d.example", Behaviour{Rcode: dns.RcodeServerFailure, Times: 1})
	for _, want := range []int{dns.RcodeServerFailure, dns.RcodeSuccess} {
		if reply, err := exchange("udp"); err != nil || reply.Rcode != want {
			t.Errorf("a code for once: %v, %v, want %s", reply, err, dns.RcodeToString[want])
		}
	}

	s.Set("d.example", Behaviour{Rcode: dns.RcodeRefused}, dns.TypeMX)
	if reply, err := ask(t, s, "udp", "d.example", dns.TypeA); err != nil || len(reply.Answer) != 1 {
		t.Errorf("a code for another type: %v, %v", reply, err)
	}

	s.Set("d.example", Behaviour{Truncate: true}, dns.TypeMX)
	if reply, err := exchange("udp"); err == nil || reply == nil || !reply.Truncated {
		t.Errorf("cut over UDP: %v, %v, want TC and an error", reply, err)
	}
	if reply, err := exchange("tcp"); err != nil || reply.Truncated || len(reply.Answer) != 1 {
		t.Errorf("cut over UDP, asked over TCP: %v, %v", reply, err)
	}

	s.Set("d.example", Behaviour{RefuseTCP: true}, dns.TypeMX)
	if reply, err := exchange("tcp"); err == nil {
		t.Errorf("refused over TCP: %v", reply)
	}

	s.Set("d.example", Behaviour{Delay: 20 * time.Millisecond}, dns.TypeMX)
	start := time.Now()
	if _, err := exchange("udp"); err != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("delayed: %v after %v", err, time.Since(start))
	}
}

// TestForgeries: what is sent before the true reply, and from where.
func TestForgeries(t *testing.T) {
	s := New(t, "d.example. 300 IN MX 10 mx.example.")
	s.Set("d.example", Behaviour{WrongID: true, WrongQuestion: true, WrongSource: true, Garbage: true})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server, err := net.ResolveUDPAddr("udp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	query := new(dns.Msg).SetQuestion("d.example.", dns.TypeMX)
	wire, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(wire, server); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for range 5 {
		buffer := make([]byte, 512)
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		reply := new(dns.Msg)
		switch err := reply.Unpack(buffer[:n]); {
		case err != nil:
			seen["garbage"]++
		case from.String() != s.Addr:
			seen["source"]++
		case reply.Id != query.Id:
			seen["id"]++
		case reply.Question[0] != query.Question[0]:
			seen["question"]++
		case reply.Rcode == dns.RcodeSuccess && len(reply.Answer) == 1:
			seen["true"]++
		}
	}
	for _, kind := range []string{"garbage", "source", "id", "question", "true"} {
		if seen[kind] != 1 {
			t.Errorf("replies seen: %v", seen)
			break
		}
	}
}
