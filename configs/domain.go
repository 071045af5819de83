package configs

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// checkHostname checks our own name.
func checkHostname(name string) error {
	if err := checkLabels(name, ""); err != nil {
		return fmt.Errorf("%q is not a host name: %w", name, err)
	}
	return nil
}

// checkDomain checks a domain of mail addresses.
func checkDomain(domain string) error {
	if err := checkLabels(domain, ""); err != nil {
		return fmt.Errorf("%q is not a domain: %w", domain, err)
	}
	return nil
}

// checkHost checks the name or the address of a host to connect to. Names of
// containers may have underscores.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if err := checkLabels(host, "_"); err != nil {
		return fmt.Errorf("%q is not a host: %w", host, err)
	}
	return nil
}

// checkLabels checks a name's syntax (RFC 5321 §4.1.2, RFC 1123 §2.1), in which
// extra letters may be let through.
func checkLabels(name, extra string) error {
	switch {
	case name == "":
		return fmt.Errorf("it is empty")
	case len(name) > 253:
		return fmt.Errorf("it is longer than 253 letters")
	case strings.HasSuffix(name, "."):
		return fmt.Errorf("it ends in a dot")
	}
	var label string
	for label = range strings.SplitSeq(name, ".") {
		if err := checkLabel(label, extra); err != nil {
			return err
		}
	}
	// RFC 1123 §2.1: the last label tells a name from an address.
	if strings.Trim(label, "0123456789") == "" {
		return fmt.Errorf("it ends in a number")
	}
	return nil
}

func checkLabel(label, extra string) error {
	switch {
	case label == "":
		return fmt.Errorf("it has an empty part")
	case len(label) > 63:
		return fmt.Errorf("a part is longer than 63 letters")
	case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
		return fmt.Errorf("a part begins or ends in a hyphen")
	}
	for _, r := range label {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', strings.ContainsRune(extra, r):
		case r > 0x7f:
			return fmt.Errorf("%q is not ASCII; write it as an A-label, which begins with xn--", label)
		default:
			return fmt.Errorf("it has %q in it", r)
		}
	}
	return nil
}

// betterDomain is what was probably meant by a domain that is none.
func betterDomain(domain string) (better string, ok bool) {
	better = strings.TrimRight(domain, ".")
	if ascii, err := idna.Lookup.ToASCII(better); err == nil {
		better = ascii
	}
	if better == domain || checkDomain(better) != nil {
		return "", false
	}
	return better, true
}
