package resolver

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"waypost/resolver/dnstest"
)

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// replyTo composes a reply to query with the given records in its answer.
func replyTo(t testing.TB, query *dns.Msg, records ...string) *dns.Msg {
	t.Helper()
	reply, err := says(t, records...)("", query)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// TestParseReply: what is a reply to our question, and what is not.
//
// N-09: forged, cut and broken replies.
func TestParseReply(t *testing.T) {
	query := newQuery(question{"d.example", dns.TypeMX}, false)
	two := []string{mxRecord, "d.example. 300 IN MX 20 b.example."}
	for title, row := range map[string]struct {
		change func(m *dns.Msg)
		wire   func(wire []byte) []byte
		ok     bool
	}{
		"right":                {ok: true},
		"other case":           {change: func(m *dns.Msg) { m.Question[0].Name = "D.eXample." }, ok: true},
		"other ID":             {change: func(m *dns.Msg) { m.Id++ }},
		"a query":              {change: func(m *dns.Msg) { m.Response = false }},
		"other opcode":         {change: func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }},
		"other name":           {change: func(m *dns.Msg) { m.Question[0].Name = "e.example." }},
		"other type":           {change: func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }},
		"other class":          {change: func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }},
		"two questions":        {change: func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }},
		"no question":          {change: func(m *dns.Msg) { m.Question = nil }},
		"no question, refused": {change: func(m *dns.Msg) { m.Question, m.Answer, m.Rcode = nil, nil, dns.RcodeRefused }, ok: true},
		"no question, missing": {change: func(m *dns.Msg) { m.Question, m.Answer, m.Rcode = nil, nil, dns.RcodeNameError }},
		"header only":          {wire: func(wire []byte) []byte { return wire[:12] }},
		"less than a header":   {wire: func(wire []byte) []byte { return wire[:11] }},
		"nothing":              {wire: func([]byte) []byte { return nil }},
		// The parser of the library takes these two for whole.
		"without its second record": {wire: func(wire []byte) []byte { return wire[:len(wire)-len(lastRecord(t, query, two))] }},
		"without any record":        {wire: func(wire []byte) []byte { return wire[:len(pack(t, replyTo(t, query)))] }},
		"within a record":           {wire: func(wire []byte) []byte { return wire[:len(wire)-3] }},
		"cut, and says so":          {change: func(m *dns.Msg) { m.Truncated = true }, wire: func(wire []byte) []byte { return wire[:len(wire)-3] }, ok: true},
		"cut, other question": {
			change: func(m *dns.Msg) { m.Truncated, m.Question[0].Name = true, "e.example." },
			wire:   func(wire []byte) []byte { return wire[:len(wire)-3] },
		},
		"pointer to itself": {wire: func(wire []byte) []byte { return append(wire[:12:12], 0xc0, 12, 0, 15, 0, 1) }},
	} {
		t.Run(title, func(t *testing.T) {
			m := replyTo(t, query, two...)
			if row.change != nil {
				row.change(m)
			}
			wire := pack(t, m)
			if row.wire != nil {
				wire = row.wire(wire)
			}
			got, err := parseReply(query, wire)
			if (err == nil) != row.ok || (got != nil) != row.ok {
				t.Errorf("reply is %v, %v, want accepted: %v", got, err, row.ok)
			}
		})
	}
}

// lastRecord returns the octets by which the last of the records lengthens a reply.
func lastRecord(t testing.TB, query *dns.Msg, records []string) []byte {
	whole := pack(t, replyTo(t, query, records...))
	return whole[len(pack(t, replyTo(t, query, records[:len(records)-1]...))):]
}

// TestExamineRefuses: replies that parse, and yet say nothing.
func TestExamineRefuses(t *testing.T) {
	q := question{"d.example", dns.TypeMX}
	query := newQuery(q, false)
	for title, change := range map[string]func(m *dns.Msg){
		"about another name":  func(m *dns.Msg) { m.Answer[0].Header().Name = "e.example." },
		"about another type":  func(m *dns.Msg) { m.Answer = replyTo(t, query, "d.example. 1 IN A 192.0.2.1").Answer },
		"about another class": func(m *dns.Msg) { m.Answer[0].Header().Class = dns.ClassCHAOS },
		"MX without data":     func(m *dns.Msg) { m.Answer[0].(*dns.MX).Mx = "" },
		"alias without data":  func(m *dns.Msg) { m.Answer = []dns.RR{&dns.CNAME{Hdr: *m.Answer[0].Header()}} },
		"unknown code":        func(m *dns.Msg) { m.Rcode = 3841 },
	} {
		t.Run(title, func(t *testing.T) {
			m := replyTo(t, query, mxRecord)
			change(m)
			f, err := examine(m, q)
			if err == nil || err.Error() == "" {
				t.Errorf("it says %+v, %v, want an error", f, err)
			}
		})
	}
}

// TestExamineIsBounded: of an answer without end only so much is looked at.
//
// N-01: a hundred records at most.
func TestExamineIsBounded(t *testing.T) {
	q := question{"d.example", dns.TypeMX}
	m := replyTo(t, newQuery(q, false), many("d.example. 300 IN MX %[1]d m%[1]d.example.", 3*maxRecords)...)
	if f, err := examine(m, q); err != nil || len(f.records) != maxRecords {
		t.Errorf("%d records are kept, %v, want %d", len(f.records), err, maxRecords)
	}
}

// TestUnguessable: IDs are spread evenly, and each query has a port of its own.
//
// N-10: forged answers have to guess both.
func TestUnguessable(t *testing.T) {
	counts := make([]int, 64)
	for range 10_000 {
		counts[newQuery(question{"d.example", dns.TypeMX}, false).Id>>10]++
	}
	// 63 degrees of freedom: exceeded less than once in 10^9 runs.
	if x := chiSquare(counts); x > 150 {
		t.Errorf("IDs are not uniform: chi-square is %.1f", x)
	}

	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ports := make(map[int]bool)
	const queries = 100
	for range queries {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := exchange(ctx, "udp", conn.LocalAddr().String(), newQuery(question{"d.example", dns.TypeMX}, false))
			ended <- err
		}()
		buffer := make([]byte, 512)
		_, from, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		ports[from.(*net.UDPAddr).Port] = true
		cancel()
		if err := <-ended; err == nil {
			t.Fatal("a cancelled exchange gave a reply")
		}
	}
	if len(ports) < queries*9/10 {
		t.Errorf("%d queries came from %d ports", queries, len(ports))
	}
}

// TestStreamReplies: what a server may do wrong over TCP.
func TestStreamReplies(t *testing.T) {
	query := newQuery(question{"d.example", dns.TypeMX}, false)
	whole := pack(t, replyTo(t, query, mxRecord))
	cut := replyTo(t, query, mxRecord)
	cut.Truncated = true
	other := replyTo(t, query, mxRecord)
	other.Id++
	framed := func(wire []byte) []byte { return append([]byte{byte(len(wire) >> 8), byte(len(wire))}, wire...) }
	for title, row := range map[string]struct {
		sent []byte
		ok   bool
	}{
		"whole":             {sent: framed(whole), ok: true},
		"nothing":           {},
		"half a length":     {sent: framed(whole)[:1]},
		"half a message":    {sent: framed(whole)[:20]},
		"length zero":       {sent: []byte{0, 0}},
		"says it was cut":   {sent: framed(pack(t, cut))},
		"other ID":          {sent: framed(pack(t, other))},
		"64 KiB of nothing": {sent: framed(make([]byte, 65535))},
	} {
		t.Run(title, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer theirs.Close()
				if _, err := theirs.Read(make([]byte, 512)); err != nil {
					t.Error(err)
					return
				}
				if _, err := theirs.Write(row.sent); err != nil {
					t.Error(err)
				}
			}()
			got, err := askStream(ours, query, pack(t, query))
			<-ended
			if (err == nil) != row.ok || (got != nil) != row.ok {
				t.Errorf("reply is %v, %v, want accepted: %v", got, err, row.ok)
			}
		})
	}
}

// TestCancelEndsExchange: a caller who gives up does not wait for the time-out.
func TestCancelEndsExchange(t *testing.T) {
	s := dnstest.New(t)
	s.Set("d.example", dnstest.Behaviour{Silent: true})
	r := newResolver(t, s, Options{Timeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	_, err := r.Hosts(ctx, "d.example")
	wantKind(t, err, Temporary)
}
