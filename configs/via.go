package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Values of Via.Scheme.
const (
	ViaMX       = "mx"        // where MX records say
	ViaSMTP     = "smtp"      // a named host
	ViaSMTPS    = "smtps"     // a named host, TLS from the first octet (RFC 8314 §3)
	ViaLMTP     = "lmtp"      // a mailbox server (RFC 2033)
	ViaLMTPUnix = "lmtp+unix" // a mailbox server on a Unix socket
	ViaDiscard  = "discard"   // nowhere
	ViaReject   = "reject"    // back to the sender
)

// Via is one next hop of a route.
type Via struct {
	// Scheme is one of the constants above.
	Scheme string
	// Host is a name or an IP address without brackets, for ViaSMTP, ViaSMTPS
	// and ViaLMTP. For ViaMX it is the domain whose MX records count; "" is
	// the recipient's.
	Host string
	// Port is from 1 to 65535 where Host is a host, else 0.
	Port int
	// Path is the absolute path of the socket, for ViaLMTPUnix.
	Path string
	// Text is what the sender is told, for ViaReject. It may begin with an
	// enhanced code of class 5.
	Text string
}

// defaultPorts are those of a next hop that names none: RFC 5321 §4.5.4.2, RFC
// 8314 §3.3, and for LMTP what mailbox servers use, as RFC 2033 §5 keeps it off
// port 25.
var defaultPorts = map[string]string{ViaSMTP: "25", ViaSMTPS: "465", ViaLMTP: "24"}

// ParseVia reads a next hop: "mx:", "mx:domain", "smtp://host:port",
// "smtps://host:port", "lmtp://host:port", "lmtp+unix:///path", "discard:" or
// "reject:text". An IPv6 address stands in brackets; a name or an IPv4 address
// may. The port may be left out.
func ParseVia(s string) (Via, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Via{}, fmt.Errorf(`%q is not a next hop such as "smtp://10.0.0.5:25" or "mx:"`, s)
	}
	scheme = strings.ToLower(scheme)
	// First of all, so that no message repeats the password.
	if strings.HasPrefix(rest, "//") && strings.Contains(rest, "@") && scheme != ViaReject {
		return Via{}, errors.New("the next hop must not hold a login; use username and password_file")
	}
	v := Via{Scheme: scheme}
	var err error
	switch scheme {
	case ViaMX:
		if v.Host = rest; rest != "" {
			err = checkDomain(rest)
		}
	case ViaSMTP, ViaSMTPS, ViaLMTP:
		v.Host, v.Port, err = parseAuthority(scheme, rest)
	case ViaLMTPUnix:
		v.Path, err = parseSocket(rest)
	case ViaDiscard:
		if rest != "" {
			err = errors.New(`something stands after "discard:", where nothing can stand`)
		}
	case ViaReject:
		v.Text, err = parseReason(rest)
	default:
		return Via{}, fmt.Errorf("%q begins with none of the schemes mx, smtp, smtps, lmtp, lmtp+unix, discard and reject", s)
	}
	if err != nil {
		return Via{}, fmt.Errorf("%q: %w", s, err)
	}
	return v, nil
}

func parseAuthority(scheme, rest string) (host string, port int, err error) {
	authority, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return "", 0, fmt.Errorf(`no "//" stands after %q`, scheme+":")
	}
	if strings.ContainsAny(authority, "/?#") {
		return "", 0, errors.New("something stands after its host and port, where nothing can stand")
	}
	host, port, err = splitAuthority(authority, defaultPorts[scheme])
	// RFC 2033 §5: LMTP must not be spoken on port 25.
	if err == nil && scheme == ViaLMTP && port == 25 {
		err = errors.New("port 25 is not for LMTP")
	}
	return host, port, err
}

// splitAuthority reads host, host:port, [host] or [host]:port.
func splitAuthority(authority, defaultPort string) (host string, port int, err error) {
	host, text := authority, defaultPort
	if bracketed, ok := strings.CutPrefix(authority, "["); ok {
		var after string
		if host, after, ok = strings.Cut(bracketed, "]"); !ok {
			return "", 0, errors.New("a bracket is not closed")
		}
		if after != "" {
			if text, ok = strings.CutPrefix(after, ":"); !ok {
				return "", 0, errors.New("only a port can stand after its brackets")
			}
		}
		// Address literals of mail addresses have this before an address.
		if len(host) > 5 && strings.EqualFold(host[:5], "IPv6:") {
			host = host[5:]
		}
	} else if before, after, ok := strings.Cut(authority, ":"); ok {
		if strings.Contains(after, ":") {
			return "", 0, errors.New("an IPv6 address stands in brackets")
		}
		host, text = before, after
	}
	if err := checkHost(host); err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is not a port from 1 to 65535", text)
	}
	return host, int(n), nil
}

func parseSocket(rest string) (string, error) {
	name, ok := strings.CutPrefix(rest, "//")
	if !ok || !path.IsAbs(name) {
		return "", errors.New(`an absolute path must stand after "lmtp+unix://", as in "lmtp+unix:///run/dovecot/lmtp"`)
	}
	// The kernel's limit (unix(7)), which would show itself only at delivery.
	if len(name) > 107 {
		return "", errors.New("the path of a socket has at most 107 octets")
	}
	return name, nil
}

func parseReason(text string) (string, error) {
	if len(text) > 400 {
		return "", errors.New("the text has more than 400 octets")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the text may have printable ASCII only, on one line")
	}
	return strings.TrimSpace(text), nil
}

// String is what [ParseVia] reads, with the port.
func (v Via) String() string {
	switch v.Scheme {
	case ViaMX:
		return "mx:" + v.Host
	case ViaLMTPUnix:
		return "lmtp+unix://" + v.Path
	case ViaDiscard:
		return "discard:"
	case ViaReject:
		return "reject:" + v.Text
	}
	return v.Scheme + "://" + net.JoinHostPort(v.Host, strconv.Itoa(v.Port))
}

// IsHost tells a next hop that is one host, or one socket.
func (v Via) IsHost() bool {
	return v.Scheme == ViaSMTP || v.Scheme == ViaSMTPS || v.Scheme == ViaLMTP || v.Scheme == ViaLMTPUnix
}

// IsLoopback tells a next hop on this host.
func (v Via) IsLoopback() bool {
	addr, err := netip.ParseAddr(v.Host)
	return v.Scheme == ViaLMTPUnix ||
		v.IsHost() && (err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(v.Host, "localhost"))
}

// ParseServer reads the address of a DNS server, with a port where it is not 53:
// "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353".
func ParseServer(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	server, err := netip.ParseAddrPort(s)
	if err != nil || server.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf(`%q is not the address of a DNS server, such as "192.0.2.53" or "[::1]:5353"`, s)
	}
	return server, nil
}
