package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// TestCacheTime: how long each kind of answer is remembered, in virtual time.
func TestCacheTime(t *testing.T) {
	soa := func(ttl, minimum string) string {
		return "example. " + ttl + " IN SOA ns.example. h.example. 1 2 3 4 " + minimum
	}
	coded := func(rcode int, records ...string) func(string, *dns.Msg) (*dns.Msg, error) {
		return func(server string, query *dns.Msg) (*dns.Msg, error) {
			reply, err := says(t, records...)(server, query)
			reply.Rcode = rcode
			return reply, err
		}
	}
	for title, row := range map[string]struct {
		reply func(string, *dns.Msg) (*dns.Msg, error)
		lasts time.Duration
		tries int // queries that one look-up takes; default 1
	}{
		"TTL":                     {reply: says(t, "d.example. 300 IN MX 10 mx.example."), lasts: 300 * time.Second},
		"least TTL":               {reply: says(t, "d.example. 300 IN MX 10 a.example.", "d.example. 60 IN MX 10 b.example."), lasts: time.Minute},
		"TTL of the alias":        {reply: says(t, "d.example. 20 IN CNAME e.example.", "e.example. 300 IN MX 10 mx.example."), lasts: 20 * time.Second},
		"N-16 TTL 0":              {reply: says(t, "d.example. 0 IN MX 10 mx.example.")},
		"N-16 TTL of a week":      {reply: says(t, "d.example. 604800 IN MX 10 mx.example."), lasts: 24 * time.Hour},
		"TTL of 2^31-1":           {reply: says(t, "d.example. 2147483647 IN MX 10 mx.example."), lasts: 24 * time.Hour},
		"N-16 TTL of 2^31":        {reply: says(t, "d.example. 2147483648 IN MX 10 mx.example.")},
		"N-16 negative TTL":       {reply: says(t, "d.example. 4294967295 IN MX 10 mx.example.")},
		"null MX":                 {reply: says(t, "d.example. 300 IN MX 0 ."), lasts: 300 * time.Second},
		"NXDOMAIN":                {reply: coded(dns.RcodeNameError, soa("900", "120")), lasts: 2 * time.Minute},
		"NXDOMAIN, TTL of SOA":    {reply: coded(dns.RcodeNameError, soa("90", "120")), lasts: 90 * time.Second},
		"NXDOMAIN for a day":      {reply: coded(dns.RcodeNameError, soa("86400", "86400")), lasts: time.Hour},
		"NXDOMAIN without SOA":    {reply: coded(dns.RcodeNameError)},
		"NXDOMAIN after an alias": {reply: coded(dns.RcodeNameError, "d.example. 20 IN CNAME e.example.", soa("900", "120")), lasts: 20 * time.Second},
		"SERVFAIL":                {reply: coded(dns.RcodeServerFailure), lasts: failureTTL, tries: 2},
		"alias loop":              {reply: says(t, "d.example. 300 IN CNAME d.example."), lasts: failureTTL},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{reply: row.reply}
				r := newResolver(t, nil, Options{Servers: []string{"192.0.2.1"}, Exchange: s.exchange})
				tries := max(row.tries, 1)
				lookup := func() int {
					_, err := r.Hosts(t.Context(), "d.example")
					var e *Error
					if err != nil && !errors.As(err, &e) {
						t.Fatal(err)
					}
					return s.count()
				}
				if n := lookup(); n != tries {
					t.Fatalf("first look-up: %d queries, want %d", n, tries)
				}
				if row.lasts > 0 {
					time.Sleep(row.lasts - time.Nanosecond)
					if n := lookup(); n != 0 {
						t.Errorf("forgotten before %v were over", row.lasts)
					}
					time.Sleep(time.Nanosecond)
				}
				if n := lookup(); n != tries {
					t.Errorf("remembered after %v: %d queries, want %d", row.lasts, n, tries)
				}
			})
		})
	}
}

// TestCacheTimeOfChain: an answer that took several questions lasts as long as the
// shortest of their replies.
func TestCacheTimeOfChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alias := says(t, "d.example. 20 IN CNAME e.example.")
		hosts := says(t, "e.example. 300 IN MX 10 mx.example.")
		s := &script{reply: func(server string, query *dns.Msg) (*dns.Msg, error) {
			if query.Question[0].Name == "d.example." {
				return alias(server, query)
			}
			return hosts(server, query)
		}}
		r := newResolver(t, nil, Options{Servers: []string{"192.0.2.1"}, Exchange: s.exchange})
		for i, want := range []int{2, 0, 2} {
			if i == 2 {
				time.Sleep(20 * time.Second)
			}
			if _, err := r.Hosts(t.Context(), "d.example"); err != nil {
				t.Fatal(err)
			}
			if n := s.count(); n != want {
				t.Errorf("look-up %d: %d queries, want %d", i, n, want)
			}
		}
	})
}

// TestNegativeAddresses: NODATA for both families is remembered as the SOA says.
func TestNegativeAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{reply: says(t, "example. 900 IN SOA ns.example. h.example. 1 2 3 4 120")}
		r := newResolver(t, nil, Options{Servers: []string{"192.0.2.1"}, Exchange: s.exchange})
		for i, want := range []int{2, 0, 2} {
			if i == 2 {
				time.Sleep(2 * time.Minute)
			}
			_, err := r.Addresses(t.Context(), "d.example")
			wantKind(t, err, NoAddress)
			if n := s.count(); n != want {
				t.Errorf("look-up %d: %d queries, want %d", i, n, want)
			}
		}
	})
}

// TestCacheIsBounded: the answer that was not used for the longest time goes.
//
// N-16: however many names are asked for.
func TestCacheIsBounded(t *testing.T) {
	c := newCache(3)
	key := func(i int) question { return question{fmt.Sprintf("d%d.example", i), dns.TypeMX} }
	for i := range 3 {
		c.put(key(i), &answer{ttl: time.Hour})
	}
	if c.get(key(0)) == nil { // used, so it stays
		t.Fatal("an answer is missing in a cache that is not full")
	}
	c.put(key(3), &answer{ttl: time.Hour})
	c.put(key(3), &answer{ttl: time.Hour})
	for i, want := range []bool{true, false, true, true} {
		if got := c.get(key(i)) != nil; got != want {
			t.Errorf("answer %d is remembered: %v, want %v", i, got, want)
		}
	}
	for i := range 1000 {
		c.put(key(i), &answer{ttl: time.Hour})
		if len(c.entries) > 3 || c.used.Len() != len(c.entries) {
			t.Fatalf("%d entries, %d in the list of use, want at most 3", len(c.entries), c.used.Len())
		}
	}
}

// TestLargeAnswers: what takes much room is asked for again each time.
//
// N-16: a bounded number of answers, none of them large.
func TestLargeAnswers(t *testing.T) {
	text := ` "` + strings.Repeat("x", 250) + `"`
	for title, row := range map[string]struct {
		record string
		look   func(*Resolver) (int, error)
		again  int // queries of the second look-up
	}{
		"text":       {"d.example. 300 IN TXT" + strings.Repeat(text, 15), texts, 0},
		"long text":  {"d.example. 300 IN TXT" + strings.Repeat(text, 17), texts, 1},
		"TLSA":       {"_25._tcp.d.example. 300 IN TLSA 2 0 0 " + strings.Repeat("aa", 4000), associations, 0},
		"large TLSA": {"_25._tcp.d.example. 300 IN TLSA 2 0 0 " + strings.Repeat("aa", 4100), associations, 1},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{reply: says(t, row.record)}
				r := newResolver(t, nil, Options{Servers: []string{"192.0.2.1"}, Exchange: s.exchange})
				for i, want := range []int{1, row.again} {
					if found, err := row.look(r); err != nil || found != 1 {
						t.Fatalf("%d records, %v", found, err)
					}
					if n := s.count(); n != want {
						t.Errorf("look-up %d: %d queries, want %d", i+1, n, want)
					}
				}
			})
		})
	}
}

func texts(r *Resolver) (int, error) {
	found, err := r.TXT(context.Background(), "d.example")
	return len(found.List), err
}

func associations(r *Resolver) (int, error) {
	found, err := r.TLSA(context.Background(), "d.example", 25)
	return len(found.List), err
}

// TestSharedFlight: equal look-ups at one time share one query, and one that
// gives up does not fail the others.
func TestSharedFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		answer := says(t, "d.example. 300 IN MX 10 mx.example.")
		s := &script{reply: answer}
		o := Options{Servers: []string{"192.0.2.1"}, Timeout: time.Hour}
		o.Exchange = func(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
			select {
			case <-release:
				return s.exchange(ctx, network, server, query)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		r := newResolver(t, nil, o)

		impatient, cancel := context.WithCancelCause(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := r.Hosts(impatient, "d.example")
			gaveUp <- err
		}()
		synctest.Wait() // the one that will give up has begun the query
		results := make(chan error, 100)
		for range cap(results) {
			go func() {
				got, err := r.Hosts(t.Context(), "D.example.")
				if err == nil && len(got.List) != 1 {
					err = fmt.Errorf("hosts are %v", got.List)
				}
				results <- err
			}()
		}
		synctest.Wait()
		tired := errors.New("tired of waiting")
		cancel(tired)
		err := <-gaveUp
		synctest.Wait() // whatever its leaving did to the query is done
		wantKind(t, err, Temporary)
		if !errors.Is(err, tired) {
			t.Errorf("error %v hides its cause", err)
		}
		close(release)
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if n := s.count(); n != 1 {
			t.Errorf("%d queries, want one", n)
		}
	})
}

// TestAbandonedFlight: a look-up that everybody left ends, is not remembered,
// and does not fail the next one.
func TestAbandonedFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		first := true
		answer := says(t, "d.example. 300 IN MX 10 mx.example.")
		o := Options{Servers: []string{"192.0.2.1"}, Timeout: time.Hour}
		o.Exchange = func(ctx context.Context, _, server string, query *dns.Msg) (*dns.Msg, error) {
			if first {
				first = false
				<-ctx.Done()
				close(ended)
				return nil, ctx.Err()
			}
			return answer(server, query)
		}
		r := newResolver(t, nil, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Hosts(ctx, "d.example")
		wantKind(t, err, Temporary)
		<-ended
		if _, err := r.Hosts(t.Context(), "d.example"); err != nil {
			t.Errorf("the next look-up: %v", err)
		}
	})
}
