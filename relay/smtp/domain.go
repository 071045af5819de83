package smtp

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// CheckDomain reports whether s may stand as the domain of a mailbox or as
// the argument of EHLO: a name of letters, digits and hyphens, an
// internationalised name, or an address literal.
func CheckDomain(s string) error {
	if strings.HasPrefix(s, "[") {
		_, err := ParseLiteral(s)
		return err
	}
	_, err := ASCIIDomain(s)
	return err
}

// ASCIIDomain returns the form in which domains are compared and looked up:
// A-labels in lower case, without a trailing dot. A trailing dot in s is an
// error (RFC 5321 §2.3.5).
func ASCIIDomain(s string) (string, error) {
	if s == "" || len(s) > maxDomain {
		return "", fmt.Errorf("%w: %d octets", ErrDomain, len(s))
	}
	ascii := strings.ToLower(s)
	if !isASCII(s) || strings.Contains(ascii, "xn--") {
		var err error
		if ascii, err = idna.Lookup.ToASCII(s); err != nil {
			return "", fmt.Errorf("%w: not a valid internationalised name", ErrDomain)
		}
	}
	if len(ascii) > maxDomain-1 {
		return "", fmt.Errorf("%w: %d octets", ErrDomain, len(ascii))
	}
	last := ""
	for label := range strings.SplitSeq(ascii, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("%w: bad label", ErrDomain)
		}
		last = label
	}
	// A name that ends in a number is an address without its brackets, in
	// one of the many forms that inet_aton reads: 127.0.0.1, 0x7f.1,
	// 2130706433.
	if isNumber(last) {
		return "", fmt.Errorf("%w: an address needs brackets", ErrDomain)
	}
	return ascii, nil
}

// isLabel: RFC 1035 §2.3.1 and RFC 1123 §2.1, no underscore (RFC 5321 §4.1.2).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(s, "0123456789") == ""
}

// ParseLiteral returns the address in an address literal with its brackets:
// [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 §4.1.3). General literals with
// other tags have no registered use and are an error.
func ParseLiteral(s string) (netip.Addr, error) {
	in, ok := strings.CutPrefix(s, "[")
	in, closed := strings.CutSuffix(in, "]")
	if !ok || !closed || len(s) > maxDomain {
		return netip.Addr{}, fmt.Errorf("%w: bad address literal", ErrDomain)
	}
	six := len(in) > 5 && strings.EqualFold(in[:5], "IPv6:")
	if six {
		in = in[5:]
	}
	addr, err := netip.ParseAddr(in)
	if err != nil || addr.Zone() != "" || addr.Is6() != six {
		return netip.Addr{}, fmt.Errorf("%w: bad address literal", ErrDomain)
	}
	return addr, nil
}

// Literal returns the address literal of a (RFC 5321 §4.1.3).
func Literal(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		return "[IPv6:" + a.String() + "]"
	}
	return "[" + a.String() + "]"
}

// DomainKey returns the form of the path's domain that is compared and
// looked up: an A-label name in lower case, or the literal as it is. It is
// empty when there is no domain.
func (p Path) DomainKey() string {
	if strings.HasPrefix(p.Domain, "[") {
		return strings.ToLower(p.Domain)
	}
	ascii, err := ASCIIDomain(p.Domain)
	if err != nil {
		return strings.ToLower(p.Domain)
	}
	return ascii
}

// HasSuffixFold reports whether s ends in suffix, in any case.
func HasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
