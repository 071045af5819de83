package resolver

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"waypost/resolver/dnstest"
)

const mxRecord = "d.example. 300 IN MX 10 mx.example."

// TestNextServer: what one server does not know, the next one may.
func TestNextServer(t *testing.T) {
	for title, b := range map[string]dnstest.Behaviour{
		"SERVFAIL": {Rcode: dns.RcodeServerFailure},
		"REFUSED":  {Rcode: dns.RcodeRefused},
		"FORMERR":  {Rcode: dns.RcodeFormatError},
		"lame":     {Lame: true},
		"referral": {Referral: true},
		"silent":   {Silent: true},
		"cut":      {Truncate: true, RefuseTCP: true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			first, second := dnstest.New(t, mxRecord), dnstest.New(t, mxRecord)
			first.Set("d.example", b)
			o := Options{Servers: []string{first.Addr, second.Addr}}
			if b.Silent {
				o.Timeout = time.Second
			}
			got, err := newResolver(t, nil, o).Hosts(t.Context(), "d.example")
			if err != nil || !slices.Equal(names(got.List), []string{"mx.example"}) {
				t.Errorf("hosts are %v, %v", got.List, err)
			}
			if first.Queries("d.example", dns.TypeMX) == 0 || second.Queries("d.example", dns.TypeMX) != 1 {
				t.Errorf("queries: %d at the first, %d at the second server",
					first.Queries("d.example", dns.TypeMX), second.Queries("d.example", dns.TypeMX))
			}
		})
	}
}

// TestNXDOMAINIsBelieved: a statement about the name ends the search.
func TestNXDOMAINIsBelieved(t *testing.T) {
	first, second := dnstest.New(t), dnstest.New(t, mxRecord)
	r := newResolver(t, nil, Options{Servers: []string{first.Addr, second.Addr}})
	_, err := r.Hosts(t.Context(), "d.example")
	wantKind(t, err, NoSuchDomain)
	if n := second.Queries("d.example", dns.TypeNone); n != 0 {
		t.Errorf("%d queries at the second server, want none", n)
	}
}

// TestServerNotListening: nothing at the port is noticed at once, and temporary.
func TestServerNotListening(t *testing.T) {
	r := newResolver(t, nil, Options{Servers: []string{"127.0.0.1:1"}, Timeout: time.Minute})
	_, err := r.Hosts(t.Context(), "d.example")
	wantKind(t, err, Temporary)
}

// TestServerByName: a server that is no address is never resolved by others.
func TestServerByName(t *testing.T) {
	r := newResolver(t, nil, Options{Servers: []string{"localhost:53"}})
	_, err := r.Hosts(t.Context(), "d.example")
	wantKind(t, err, Temporary)
}

// script answers as a server would, without sockets, and notes who was asked.
type script struct {
	mu    sync.Mutex
	asked []string // "server TYPE name"
	reply func(server string, query *dns.Msg) (*dns.Msg, error)
}

func (s *script) exchange(ctx context.Context, _, server string, query *dns.Msg) (*dns.Msg, error) {
	s.mu.Lock()
	q := query.Question[0]
	s.asked = append(s.asked, server+" "+dns.TypeToString[q.Qtype]+" "+q.Name)
	s.mu.Unlock()
	reply, err := s.reply(server, query)
	if reply == nil && err == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return reply, err
}

// count returns how many queries there were since the last call.
func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.asked)
	s.asked = nil
	return n
}

// says returns a function that replies with the given records, and an SOA record
// when there are none.
func says(t testing.TB, records ...string) func(string, *dns.Msg) (*dns.Msg, error) {
	return func(_ string, query *dns.Msg) (*dns.Msg, error) {
		reply := new(dns.Msg).SetReply(query)
		reply.RecursionAvailable = true
		for _, line := range records {
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Error(err)
				return nil, err
			}
			if rr.Header().Rrtype == dns.TypeSOA {
				reply.Ns = append(reply.Ns, rr)
			} else {
				reply.Answer = append(reply.Answer, rr)
			}
		}
		return reply, nil
	}
}

// TestSilentServerComesLast: a dead first server costs its time-out once in half
// a minute, not in every look-up.
func TestSilentServerComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive := says(t, "d.example. 0 IN MX 10 mx.example.")
		s := &script{reply: func(server string, query *dns.Msg) (*dns.Msg, error) {
			if server == "192.0.2.1:53" {
				return nil, nil
			}
			return alive(server, query)
		}}
		r := newResolver(t, nil, Options{
			Servers:  []string{"192.0.2.1", "192.0.2.2"},
			Timeout:  5 * time.Second,
			Exchange: s.exchange,
		})
		took := func() time.Duration {
			t.Helper()
			start := time.Now()
			if _, err := r.Hosts(t.Context(), "d.example"); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		for i, want := range []time.Duration{5 * time.Second, 0, 0} {
			if got := took(); got != want {
				t.Errorf("look-up %d took %v, want %v", i, got, want)
			}
		}
		time.Sleep(silence)
		if got := took(); got != 5*time.Second {
			t.Errorf("after %v the first server was not asked again: %v", silence, got)
		}
	})
}

// TestRounds: every server is asked as often as there are rounds, each for the
// time of one try, and then the failure is temporary.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{reply: func(string, *dns.Msg) (*dns.Msg, error) { return nil, nil }}
		r := newResolver(t, nil, Options{
			Servers:  []string{"192.0.2.1", "[2001:db8::1]:5353"},
			Timeout:  3 * time.Second,
			Attempts: 4,
			Exchange: s.exchange,
		})
		start := time.Now()
		_, err := r.Hosts(t.Context(), "d.example")
		wantKind(t, err, Temporary)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v hides its cause", err)
		}
		if took, n := time.Since(start), s.count(); took != 24*time.Second || n != 8 {
			t.Errorf("%d tries in %v, want 8 in 24s", n, took)
		}
	})
}

// TestResolvConf: the servers come from the file, and from the new one once it
// has changed.
func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &script{reply: says(t, "d.example. 0 IN MX 10 mx.example.")}
		r := newResolver(t, nil, Options{ResolvConf: path, Exchange: s.exchange})
		asked := func() string {
			t.Helper()
			if _, err := r.Hosts(t.Context(), "d.example"); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.asked[len(s.asked)-1]
		}
		for _, step := range []struct{ content, want string }{
			{"", "127.0.0.1:53 MX d.example."},
			{"# comment\nsearch example\nnameserver 192.0.2.53\n", "192.0.2.53:53 MX d.example."},
			{"nameserver nonsense\nnameserver 2001:db8::53\n", "[2001:db8::53]:53 MX d.example."},
			{"nameserver nonsense\n", "127.0.0.1:53 MX d.example."},
		} {
			if step.content != "" { // at first there is no file
				write(step.content)
			}
			time.Sleep(2 * watchEvery)
			if got := asked(); got != step.want {
				t.Errorf("with %q: asked %q, want %q", step.content, got, step.want)
			}
		}
	})
}

// TestObserve: each try is reported once, in the agreed words.
func TestObserve(t *testing.T) {
	s := dnstest.New(t, mxRecord, "d.example. 300 IN A 192.0.2.1")
	s.Set("fail.example", dnstest.Behaviour{Rcode: dns.RcodeServerFailure})
	s.Set("refused.example", dnstest.Behaviour{Rcode: dns.RcodeRefused})
	s.Set("silent.example", dnstest.Behaviour{Silent: true})
	for _, row := range []struct {
		name string
		want []string
	}{
		{"d.example", []string{"A ok", "AAAA nodata"}},
		{"gone.example", []string{"A nxdomain", "AAAA nxdomain"}},
		{"fail.example", []string{"A servfail", "AAAA servfail"}},
		{"refused.example", []string{"A error", "AAAA error"}},
		{"silent.example", []string{"A timeout", "AAAA timeout"}},
	} {
		var mu sync.Mutex
		var seen []string
		o := Options{Attempts: 1, Observe: func(qtype, result string, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, qtype+" "+result)
			if d <= 0 {
				t.Errorf("%s took %v", qtype, d)
			}
		}}
		if row.name == "silent.example" {
			o.Timeout = short
		}
		_, err := newResolver(t, s, o).Addresses(t.Context(), row.name)
		if (err == nil) != (row.name == "d.example") {
			t.Errorf("%s: error is %v", row.name, err)
		}
		mu.Lock()
		slices.Sort(seen)
		if !slices.Equal(seen, row.want) {
			t.Errorf("%s: observed %q, want %q", row.name, seen, row.want)
		}
		mu.Unlock()
	}
}

// TestAuthenticated: AD counts from loopback and named servers only, and for the
// whole chain.
//
// N-11 7672-2.1-a: who may vouch for an answer.
func TestAuthenticated(t *testing.T) {
	s := dnstest.New(t, mxRecord, "a.example. 300 IN CNAME d.example.")
	s.Set("d.example", dnstest.Behaviour{Authenticated: true})
	r := newResolver(t, s, Options{})
	got, err := r.Hosts(t.Context(), "d.example")
	if err != nil || !got.Authenticated {
		t.Errorf("authenticated is %v, %v, want true", got.Authenticated, err)
	}
	s.SetRecursion(false)
	if got, err = r.Hosts(t.Context(), "a.example"); err != nil || got.Authenticated {
		t.Errorf("over an insecure alias: authenticated is %v, %v, want false", got.Authenticated, err)
	}

	secure := says(t, mxRecord)
	for server, want := range map[string]bool{
		"127.0.0.1": true, "[::1]:53": true, "192.0.2.1": false, "192.0.2.53": true, "127.0.0.11": false, "[::ffff:127.0.0.11]:53": false,
	} {
		s := &script{reply: func(server string, query *dns.Msg) (*dns.Msg, error) {
			reply, err := secure(server, query)
			reply.AuthenticatedData = true
			if opt := query.IsEdns0(); opt == nil || opt.Do() != want {
				t.Errorf("query to %s: DO is wrong: %v", server, opt)
			}
			return reply, err
		}}
		r := newResolver(t, nil, Options{Servers: []string{server}, Exchange: s.exchange, TrustAD: []netip.Addr{netip.MustParseAddr("192.0.2.53")}})
		if got, err := r.Hosts(t.Context(), "d.example"); err != nil || got.Authenticated != want {
			t.Errorf("%s: authenticated is %v, %v, want %v", server, got.Authenticated, err, want)
		}
	}
}
