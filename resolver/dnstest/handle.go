package dnstest

import (
	"net"
	"time"

	"github.com/miekg/dns"
)

// handle answers one query.
func (s *Server) handle(w dns.ResponseWriter, query *dns.Msg) {
	if len(query.Question) != 1 {
		s.write(w, new(dns.Msg).SetRcode(query, dns.RcodeFormatError))
		return
	}
	b := s.meet(query.Question[0])
	if b.Delay > 0 {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.done:
			return
		}
	}
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	if !udp && b.RefuseTCP {
		if err := w.Close(); err != nil {
			s.t.Logf("dnstest: close connection: %v", err)
		}
		return
	}
	if udp {
		s.forge(w, query, b)
	}
	if b.Silent {
		return
	}
	reply := s.reply(query, b)
	switch {
	case udp && b.Truncate:
		s.writeCut(w, reply)
	case udp:
		reply.Truncate(udpSize(query))
		s.write(w, reply)
	default:
		s.write(w, reply)
	}
}

// reply composes the true reply to query.
func (s *Server) reply(query *dns.Msg, b Behaviour) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	reply.Compress = true
	opt := query.IsEdns0()
	switch {
	case b.NoEDNS && opt != nil:
		reply.Rcode = dns.RcodeFormatError
		return reply
	case b.Rcode != dns.RcodeSuccess:
		reply.Rcode = b.Rcode
		reply.RecursionAvailable = true
		return reply
	case b.Lame:
		return reply
	case b.Referral:
		reply.RecursionAvailable = true
		reply.Ns = []dns.RR{&dns.NS{
			Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60},
			Ns:  "ns.invalid.",
		}}
		return reply
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	q := query.Question[0]
	reply.Rcode, reply.Answer, reply.Ns = s.content(q.Name, q.Qtype)
	reply.RecursionAvailable = s.recursive
	reply.Authoritative = !s.recursive
	if opt != nil {
		reply.SetEdns0(1232, opt.Do())
		reply.AuthenticatedData = b.Authenticated && opt.Do()
	}
	return reply
}

// forge sends the forged replies that b asks for. If a client believed one, it
// would take the name for one that does not exist.
func (s *Server) forge(w dns.ResponseWriter, query *dns.Msg, b Behaviour) {
	lie := func() *dns.Msg {
		m := new(dns.Msg).SetRcode(query, dns.RcodeNameError)
		m.RecursionAvailable = true
		return m
	}
	if b.WrongID {
		m := lie()
		m.Id++
		s.write(w, m)
	}
	if b.WrongQuestion {
		m := lie()
		m.Question[0].Name = "forged." + m.Question[0].Name
		s.write(w, m)
	}
	if b.WrongSource {
		s.writeFromElsewhere(w.RemoteAddr(), lie())
	}
	if b.Garbage {
		// A header that promises one question, then a compression pointer to itself.
		wire := []byte{byte(query.Id >> 8), byte(query.Id), 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 15, 0, 1}
		s.writeWire(w, wire)
	}
}

// writeFromElsewhere sends m to a client from a socket that it did not ask.
func (s *Server) writeFromElsewhere(to net.Addr, m *dns.Msg) {
	wire, err := m.Pack()
	if err != nil {
		s.t.Errorf("dnstest: pack reply: %v", err)
		return
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Errorf("dnstest: open a socket to forge from: %v", err)
		return
	}
	defer conn.Close()
	if _, err := conn.WriteTo(wire, to); err != nil {
		s.t.Errorf("dnstest: forge reply: %v", err)
	}
}

// writeCut sends m with TC set and without its last octets.
func (s *Server) writeCut(w dns.ResponseWriter, m *dns.Msg) {
	m.Truncated = true
	m.Extra = nil // so that the cut is within a record of the answer
	wire, err := m.Pack()
	if err != nil {
		s.t.Errorf("dnstest: pack reply: %v", err)
		return
	}
	if len(m.Answer) > 0 || len(m.Ns) > 0 {
		wire = wire[:len(wire)-3]
	}
	s.writeWire(w, wire)
}

func (s *Server) write(w dns.ResponseWriter, m *dns.Msg) {
	wire, err := m.Pack()
	if err != nil {
		s.t.Errorf("dnstest: pack reply: %v", err)
		return
	}
	s.writeWire(w, wire)
}

// writeWire sends octets to the client, which may have gone: that is no failure.
func (s *Server) writeWire(w dns.ResponseWriter, wire []byte) {
	if _, err := w.Write(wire); err != nil {
		s.t.Logf("dnstest: write reply: %v", err)
	}
}

// udpSize returns the octets that the client takes over UDP.
func udpSize(query *dns.Msg) int {
	if opt := query.IsEdns0(); opt != nil {
		return int(max(opt.UDPSize(), dns.MinMsgSize))
	}
	return dns.MinMsgSize
}
