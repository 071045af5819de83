package smtpserver

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// xclientKeyword lists the attributes that are understood, as Postfix names
// them.
const xclientKeyword = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME"

// xclient is what a trusted peer says of the client behind it.
type xclient struct {
	name, login, hello string
	client, local      netip.AddrPort
	smtp               bool // PROTO=SMTP
	introduced         bool // somebody has said anything at all
}

func (s *session) mayXClient() bool { return contains(s.server.XClientFrom, s.peer) }

// xclientCommand takes a peer's word for who the client is. The session begins anew,
// with the greeting.
func (s *session) xclientCommand(arg string) error {
	if s.tx.open {
		return s.complain(503, code{5, 5, 1}, "Not in a transaction", metrics.RefusedSequence)
	}
	x := xclient{client: addrPort(s.nc.RemoteAddr()), local: addrPort(s.nc.LocalAddr()), name: s.client.name, login: s.client.login, introduced: true}
	words := strings.Fields(arg)
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		text, err := smtp.ParseXtextUTF8(value)
		if err != nil || text == "" || !x.set(strings.ToUpper(name), text) {
			return s.complain(501, code{5, 5, 4}, "Bad attribute", metrics.RefusedSyntax)
		}
	}
	if len(words) == 0 {
		return s.complain(501, code{5, 5, 4}, "Expected attributes", metrics.RefusedSyntax)
	}
	s.logout()
	s.hello, s.extended, s.client = "", false, x
	s.nc.remote, s.nc.local = net.TCPAddrFromAddrPort(x.client), net.TCPAddrFromAddrPort(x.local)
	s.addr = x.client.Addr()
	if x.hello != "" && !s.begin(x.hello, !x.smtp) {
		return nil
	}
	s.greet()
	return nil
}

// set takes one attribute and reports whether it is valid.
func (x *xclient) set(attribute, value string) bool {
	unknown := strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]")
	if unknown {
		value = ""
	}
	ok := true
	switch attribute {
	case "NAME":
		x.name, ok = value, unknown || validHello(value)
	case "REVERSE_NAME": // not verified, so of no use
	case "HELO":
		x.hello, ok = value, unknown || validHello(value)
	case "LOGIN":
		x.login = value
	case "PROTO":
		x.smtp = strings.EqualFold(value, "SMTP")
		ok = x.smtp || unknown || strings.EqualFold(value, "ESMTP")
	case "ADDR":
		x.client, ok = withAddr(x.client, value)
	case "DESTADDR":
		x.local, ok = withAddr(x.local, value)
	case "PORT":
		x.client, ok = withPort(x.client, value)
	case "DESTPORT":
		x.local, ok = withPort(x.local, value)
	default:
		ok = false
	}
	return ok
}

func withAddr(p netip.AddrPort, value string) (netip.AddrPort, bool) {
	if value == "" {
		return netip.AddrPortFrom(netip.Addr{}, p.Port()), true
	}
	if len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
		value = value[5:]
	}
	addr, err := netip.ParseAddr(value)
	return netip.AddrPortFrom(addr.Unmap(), p.Port()), err == nil && addr.Zone() == ""
}

func withPort(p netip.AddrPort, value string) (netip.AddrPort, bool) {
	if value == "" {
		return netip.AddrPortFrom(p.Addr(), 0), true
	}
	port, err := strconv.ParseUint(value, 10, 16)
	return netip.AddrPortFrom(p.Addr(), uint16(port)), err == nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
