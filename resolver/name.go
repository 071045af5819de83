package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

const (
	maxNameLength  = 253 // RFC 1035 §2.3.4: 255 octets on the wire
	maxLabelLength = 63  // RFC 1035 §2.3.4
	// maxInput bounds what is handed to IDNA: no longer text can become a name.
	maxInput = 4 * (maxNameLength + 1)
)

// recipientDomain returns the domain of a mail address in its one form: A-labels
// in lower case, without the final dot.
func recipientDomain(s string) (string, error) { return canonicalName(s, false) }

// hostName does the same for the name of a host. That may have underscores, as
// services of a container network do and hosts that MX records name, and what is
// an A-label already is not judged: it comes from the DNS or from our operator.
func hostName(s string) (string, error) { return canonicalName(s, true) }

func canonicalName(s string, lax bool) (string, error) {
	if len(s) > maxInput {
		return "", fmt.Errorf("%d octets are too long", len(s))
	}
	name := strings.ToLower(s)
	// RFC 5890 §2.3.2.1: a label that begins with "xn--" claims to be an A-label,
	// so it must be a valid one.
	if !ascii(name) || !lax && strings.Contains(name, "xn--") {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return "", err
		}
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxNameLength {
		return "", fmt.Errorf("%d octets, where 1 to %d are allowed", len(name), maxNameLength)
	}
	label := ""
	for l := range strings.SplitSeq(name, ".") {
		if err := checkLabel(l, lax); err != nil {
			return "", err
		}
		label = l
	}
	// RFC 1123 §2.1: the highest label is alphabetic, so that a name is never
	// mistaken for an address in text.
	if strings.Trim(label, "0123456789") == "" {
		return "", errors.New("the last label is a number")
	}
	return name, nil
}

// checkLabel tests one label, already in lower case: letters, digits and
// hyphens, the latter not at an end (RFC 1123 §2.1).
func checkLabel(l string, underscore bool) error {
	if l == "" || len(l) > maxLabelLength {
		return fmt.Errorf("a label of %d octets, where 1 to %d are allowed", len(l), maxLabelLength)
	}
	if l[0] == '-' || l[len(l)-1] == '-' {
		return errors.New("a label begins or ends with a hyphen")
	}
	for i := range len(l) {
		switch c := l[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		case c == '_' && underscore:
		default:
			return fmt.Errorf("the octet %q is not allowed", c)
		}
	}
	return nil
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isLocalhost reports whether a canonical name is one that always means this
// machine (RFC 6761 §6.3).
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// loopback returns the addresses of localhost.
func loopback() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
}

// literal parses an address literal (RFC 5321 §4.1.3). Its first result is
// false when s is not bracketed, and so is no literal at all. An IPv4 address
// mapped into IPv6 comes back as IPv4, so that nobody mistakes what is dialled.
func literal(s string) (bool, netip.Addr, error) {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok {
		return false, netip.Addr{}, nil
	}
	inner, ok = strings.CutSuffix(inner, "]")
	if !ok || len(inner) > maxNameLength {
		return true, netip.Addr{}, errors.New("an address literal without its bracket")
	}
	const tag = "ipv6:"
	v6 := len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag)
	if v6 {
		inner = inner[len(tag):]
	}
	addr, err := netip.ParseAddr(inner)
	if err != nil {
		return true, netip.Addr{}, err
	}
	if addr.Is6() != v6 || addr.Zone() != "" {
		return true, netip.Addr{}, errors.New("an address literal of the wrong form")
	}
	return true, addr.Unmap(), nil
}
