package configs

import (
	"regexp"
	"slices"
	"strings"
)

// selectorName is a name of one label or several (RFC 6376 §3.1).
var selectorName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

// maxSigned bounds the names of the fields that are signed, which all stand on one
// line of the signature, twice at most.
const maxSigned = 400

// dkim checks the keys that sign. What is in a key file is for whoever signs.
func (v *validation) dkim() {
	taken := map[string]string{}
	for i, k := range v.config.DKIM {
		path := index("dkim", i)
		if k.Domain == "" {
			v.fail(path+".domain", "must be set")
		} else {
			v.domain(path+".domain", k.Domain, k.Domain)
		}
		v.selector(path+".selector", k, taken)
		if k.KeyFile == "" {
			v.fail(path+".key_file", "must be set; \"waypost dkim generate\" makes one")
		} else if _, err := v.files.Stat(k.KeyFile); v.check(path+".key_file", err) {
			v.secrecy(path+".key_file", k.KeyFile)
		}
		v.signedFields(path+".headers", k.Headers)
		v.signedFields(path+".oversign", k.Oversign)
		if len(k.Headers) > 0 && !slices.ContainsFunc(k.Headers, func(s string) bool { return strings.EqualFold(s, "From") }) {
			v.warn(path+".headers", "From is not in it, and is signed all the same, as it must be")
		}
		if atLeast(v, path+".expiry", k.Expiry, 0) && k.Expiry > 0 && k.Expiry < v.config.Queue.Lifetime {
			v.warn(path+".expiry", "%v is less than queue.lifetime, so that signatures of mail that waits end on the way", k.Expiry)
		}
	}
	if len(v.config.DKIM) > 0 && v.config.Relay.Sign == SignNone {
		v.warn("relay.sign", "%q has the keys of [[dkim]] sign nothing", SignNone)
	}
}

func (v *validation) selector(path string, k DKIM, taken map[string]string) {
	record := strings.ToLower(k.Selector + "._domainkey." + k.Domain)
	switch other, twice := taken[record]; {
	case k.Selector == "":
		v.fail(path, "must be set")
	case !selectorName.MatchString(k.Selector):
		v.fail(path, "%q is not a name of letters, digits and hyphens", k.Selector)
	case len(record) > 253:
		v.fail(path, "%s is too long for a name in the DNS", record)
	case twice:
		v.fail(path, "%q is the selector of %s already", k.Selector, other)
	default:
		taken[record] = strings.TrimSuffix(path, ".selector")
	}
}

// signedFields checks a list of header fields.
func (v *validation) signedFields(path string, names []string) {
	size := 0
	for i, name := range names {
		at := index(path, i)
		size += len(name) + 1
		switch {
		case !fieldName.MatchString(name) || strings.Contains(name, ";"):
			v.fail(at, "%q is not the name of a header field", name)
		case slices.ContainsFunc([]string{"Received", "Return-Path", "DKIM-Signature"}, func(s string) bool { return strings.EqualFold(s, name) }):
			v.fail(at, "%q is changed on the way, and would break every signature", name) // RFC 6376 §5.4
		}
	}
	if size > maxSigned {
		v.fail(path, "has names of %d octets together, more than the %d that there is room for", size, maxSigned)
	}
}
