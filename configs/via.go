package configs

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Values of Via.Scheme.
const (
	ViaMX   = "mx"   // where the recipient's MX records say
	ViaSMTP = "smtp" // a named host
)

// Via is one next hop of a route.
type Via struct {
	// Scheme is [ViaMX] or [ViaSMTP].
	Scheme string
	// Host is a name or an IP address without brackets; "" for ViaMX.
	Host string
	// Port is from 1 to 65535; 0 for ViaMX.
	Port int
}

// ParseVia reads "mx:" or "smtp://host:port", where an IPv6 address stands in
// brackets and the port is 25 where there is none.
func ParseVia(s string) (Via, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Via{}, fmt.Errorf(`%q is not a next hop such as "smtp://10.0.0.5:25" or "mx:"`, s)
	}
	// First of all, so that no message repeats the password.
	if strings.HasPrefix(rest, "//") && strings.Contains(rest, "@") {
		return Via{}, fmt.Errorf("the next hop must not hold a login; use username and password_file")
	}
	switch strings.ToLower(scheme) {
	case ViaMX:
		if rest != "" {
			return Via{}, fmt.Errorf(`%q has something after "mx:", where nothing can stand`, s)
		}
		return Via{Scheme: ViaMX}, nil
	case ViaSMTP:
		return parseSMTP(s, rest)
	case "smtps", "lmtp", "lmtp+unix", "discard", "reject":
		return Via{}, fmt.Errorf("%q: %s: is not supported by this version", s, scheme)
	default:
		return Via{}, fmt.Errorf(`%q begins with neither "smtp://" nor "mx:"`, s)
	}
}

func parseSMTP(s, rest string) (Via, error) {
	authority, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return Via{}, fmt.Errorf(`%q has no "//" after "smtp:"`, s)
	}
	if strings.ContainsAny(authority, "/?#") {
		return Via{}, fmt.Errorf("%q has something after its host and port, where nothing can stand", s)
	}
	host, port, err := splitAuthority(authority)
	if err != nil {
		return Via{}, fmt.Errorf("%q: %w", s, err)
	}
	return Via{Scheme: ViaSMTP, Host: host, Port: port}, nil
}

// splitAuthority reads host, host:port, [address] or [address]:port.
func splitAuthority(authority string) (host string, port int, err error) {
	host, text := authority, "25"
	if bracketed, ok := strings.CutPrefix(authority, "["); ok {
		var after string
		host, after, ok = strings.Cut(bracketed, "]")
		addr, err := netip.ParseAddr(host)
		if !ok || err != nil || !addr.Is6() {
			return "", 0, fmt.Errorf("no IPv6 address stands in its brackets")
		}
		if after != "" {
			if text, ok = strings.CutPrefix(after, ":"); !ok {
				return "", 0, fmt.Errorf("only a port can stand after its brackets")
			}
		}
	} else if before, after, ok := strings.Cut(authority, ":"); ok {
		if strings.Contains(after, ":") {
			return "", 0, fmt.Errorf("an IPv6 address stands in brackets")
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

// String is what [ParseVia] reads, with the port.
func (v Via) String() string {
	if v.Scheme == ViaMX {
		return "mx:"
	}
	return "smtp://" + net.JoinHostPort(v.Host, strconv.Itoa(v.Port))
}

// IsLoopback tells a next hop on this host.
func (v Via) IsLoopback() bool {
	addr, err := netip.ParseAddr(v.Host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(v.Host, "localhost")
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
