package dnstest

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Server is a DNS server on loopback. Its methods may be called at any time and
// from any goroutine; a change is seen by the next query.
type Server struct {
	// Addr is the "ip:port" on which the server answers, over UDP and TCP.
	Addr string

	t    testing.TB
	done chan struct{} // closed when the test ends, so that delays end too

	mu        sync.Mutex
	records   map[string][]dns.RR // by canonical owner name
	scripts   map[key]*script
	queries   map[key]int
	recursive bool
}

// key names what a query asks. A qtype of zero, dns.TypeNone, stands for all types.
type key struct {
	name  string // canonical: lower case, with the final dot
	qtype uint16
}

// New starts a server on 127.0.0.1 that serves the given records, each a line
// as in a zone file ("example.org. 300 IN MX 10 mx.example.org."). It ends with
// the test. A record that does not parse fails the test at once.
func New(t testing.TB, records ...string) *Server {
	t.Helper()
	s := &Server{
		t:         t,
		done:      make(chan struct{}),
		records:   make(map[string][]dns.RR),
		scripts:   make(map[key]*script),
		queries:   make(map[key]int),
		recursive: true,
	}
	s.Add(records...)

	packets, listener, err := listen()
	if err != nil {
		t.Fatalf("dnstest: listen on loopback: %v", err)
	}
	s.Addr = packets.LocalAddr().String()
	stopUDP := s.serve(&dns.Server{PacketConn: packets, UDPSize: dns.MaxMsgSize})
	stopTCP := s.serve(&dns.Server{Listener: listener})
	t.Cleanup(func() {
		close(s.done)
		stopUDP()
		stopTCP()
	})
	return s
}

// listen opens a UDP and a TCP socket on one port. The kernel chooses the port
// for UDP, so the same one may be taken for TCP; then it tries another.
func listen() (net.PacketConn, net.Listener, error) {
	var errs []error
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, listener, nil
		}
		errs = append(errs, err, packets.Close())
	}
	return nil, nil, errors.Join(errs...)
}

// serve runs d until the function that it returns is called, which waits for the end.
func (s *Server) serve(d *dns.Server) (stop func()) {
	started := make(chan struct{})
	ended := make(chan error, 1)
	d.Handler = dns.HandlerFunc(s.handle)
	d.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- d.ActivateAndServe() }()
	select {
	case <-started:
	case err := <-ended:
		s.t.Fatalf("dnstest: serve: %v", err)
	}
	return func() {
		// Connections that a client left open are not waited for.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := d.ShutdownContext(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.t.Errorf("dnstest: shut down: %v", err)
		}
		<-ended
	}
}

// Add adds records, each a line as in a zone file. A record that does not parse
// fails the test at once.
func (s *Server) Add(records ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range records {
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			s.t.Fatalf("dnstest: record %q: %v", line, err)
		}
		owner := dns.CanonicalName(rr.Header().Name)
		s.records[owner] = append(s.records[owner], rr)
	}
}

// Remove removes every record that is owned by name. Removing what is not there
// does nothing.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, dns.CanonicalName(name))
}

// SetRecursion says whether the server follows aliases for its clients and sets
// RA (true, the default), or answers with AA and the first alias only (false).
func (s *Server) SetRecursion(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recursive = on
}

// Queries returns how many queries for name and type have arrived so far, over
// UDP and TCP together. The type dns.TypeNone counts all types.
func (s *Server) Queries(name string, qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[key{dns.CanonicalName(name), qtype}]
}

// content returns what the records say about a question: the reply code, the
// answer with the aliases that lead to it, and the SOA record that bounds how
// long a negative answer lasts. The caller holds the lock.
func (s *Server) content(name string, qtype uint16) (rcode int, answer, authority []dns.RR) {
	name = dns.CanonicalName(name)
	for range 20 { // an alias loop ends here, with the chain so far as the answer
		var alias *dns.CNAME
		found := false
		for _, rr := range s.records[name] {
			if rr.Header().Rrtype == qtype {
				answer = append(answer, dns.Copy(rr))
				found = true
			} else if c, ok := rr.(*dns.CNAME); ok {
				alias = c
			}
		}
		if found {
			return dns.RcodeSuccess, answer, nil
		}
		if alias == nil {
			break
		}
		answer = append(answer, dns.Copy(alias))
		if !s.recursive {
			return dns.RcodeSuccess, answer, nil
		}
		name = dns.CanonicalName(alias.Target)
	}
	if s.exists(name) {
		return dns.RcodeSuccess, answer, s.soa(name)
	}
	return dns.RcodeNameError, answer, s.soa(name)
}

// exists reports whether name, or a name below it, owns a record.
func (s *Server) exists(name string) bool {
	for owner := range s.records {
		if dns.IsSubDomain(name, owner) {
			return true
		}
	}
	return false
}

// soa returns the SOA record of the nearest zone around name. Where no zone was
// given one, the root's says that negative answers last a minute.
func (s *Server) soa(name string) []dns.RR {
	for zone := name; ; {
		for _, rr := range s.records[zone] {
			if rr.Header().Rrtype == dns.TypeSOA {
				return []dns.RR{dns.Copy(rr)}
			}
		}
		_, parent, ok := strings.Cut(strings.TrimSuffix(zone, "."), ".")
		if !ok {
			break
		}
		zone = parent + "."
	}
	rr, err := dns.NewRR(". 60 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 60")
	if err != nil {
		s.t.Errorf("dnstest: SOA record: %v", err)
		return nil
	}
	return []dns.RR{rr}
}
