package policy

import (
	"strconv"
	"strings"

	"waypost/relay/smtp"
)

// Match reports whether an address is one that a pattern means: "user@domain",
// "domain", ".domain" for it and all below, or "*" for any. The null
// reverse-path is only "<>" or "*". Case has no weight: that of a local part
// belongs to its domain (RFC 5321 §2.4), but hosts that tell it apart are
// unheard of.
func Match(pattern string, p smtp.Path) bool {
	switch {
	case pattern == "*":
		return true
	case p.IsNull() || pattern == "<>":
		return p.IsNull() && pattern == "<>"
	}
	if at := strings.LastIndexByte(pattern, '@'); at >= 0 {
		return strings.EqualFold(p.Local, pattern[:at]) && strings.EqualFold(p.DomainKey(), pattern[at+1:])
	}
	return matchDomain(pattern, p.DomainKey())
}

// matchDomain reports whether a domain is one that a pattern means.
func matchDomain(pattern, domain string) bool {
	// "." + domain, so that .example.org matches example.org itself too.
	return strings.EqualFold(domain, pattern) || strings.HasPrefix(pattern, ".") && smtp.HasSuffixFold("."+domain, pattern)
}

// index is the key of an item of a list.
func index(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }
