package dnstest

import (
	"time"

	"github.com/miekg/dns"
)

// Behaviour says how the server deals with queries for a name. The zero value
// answers as the records say; fields may be combined.
type Behaviour struct {
	// Rcode, when not zero, is the reply's code (dns.RcodeServerFailure,
	// dns.RcodeRefused, dns.RcodeNameError, dns.RcodeFormatError …), and the
	// reply is empty.
	Rcode int

	// Silent sends no true reply; forged ones are sent all the same.
	Silent bool

	// Delay is how long the server waits before it replies. Default: not at all.
	Delay time.Duration

	// Truncate sets TC on replies over UDP and cuts them in the middle of their
	// last record, so that they do not parse. Over TCP the reply is whole.
	Truncate bool

	// RefuseTCP closes a TCP connection that asks, without a reply.
	RefuseTCP bool

	// Lame replies without an error, without an answer, and without claiming
	// either authority or recursion.
	Lame bool

	// Referral replies with RA, no answer and the name servers of another zone.
	Referral bool

	// NoEDNS replies FORMERR to a query that carries an OPT record, as servers
	// do that do not know EDNS.
	NoEDNS bool

	// Authenticated sets AD on replies to queries that have DO set.
	Authenticated bool

	// WrongID sends first a forged reply with another ID. Like the next three it
	// says that the name does not exist.
	WrongID bool

	// WrongQuestion sends first a forged reply to another question.
	WrongQuestion bool

	// WrongSource sends first a forged reply from another port.
	WrongSource bool

	// Garbage sends first a datagram that has the right ID and is no DNS message.
	Garbage bool

	// Times is how many queries meet this behaviour; later ones meet the zone.
	// Zero means all of them.
	Times int
}

// script is a behaviour in use.
type script struct {
	Behaviour
	met int // queries that it has dealt with
}

// Set scripts the behaviour for queries for name: of the given types, or of all
// types when none is given. It takes the place of an earlier one; one for a type
// goes before one for all types.
func (s *Server) Set(name string, b Behaviour, types ...uint16) {
	if len(types) == 0 {
		types = []uint16{dns.TypeNone}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, qtype := range types {
		s.scripts[key{dns.CanonicalName(name), qtype}] = &script{Behaviour: b}
	}
}

// meet counts a query and returns the behaviour that it meets.
func (s *Server) meet(q dns.Question) Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := dns.CanonicalName(q.Name)
	s.queries[key{name, q.Qtype}]++
	s.queries[key{name, dns.TypeNone}]++
	for _, qtype := range []uint16{q.Qtype, dns.TypeNone} {
		sc, ok := s.scripts[key{name, qtype}]
		if !ok || sc.Times > 0 && sc.met >= sc.Times {
			continue
		}
		sc.met++
		return sc.Behaviour
	}
	return Behaviour{}
}
