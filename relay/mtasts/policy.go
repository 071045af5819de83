package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Values of Policy.Mode (RFC 8461 §5).
const (
	// Enforce: hosts that do not fulfil the policy get no mail.
	Enforce = "enforce"
	// Testing: they get it, and it is noted.
	Testing = "testing"
	// None: the domain has no policy any more.
	None = "none"
)

const (
	// maxAge is the longest that a policy may hold (RFC 8461 §3.2).
	maxAge = 31557600 * time.Second
	// maxNames bounds the names of mail hosts in a policy, in octets of all of
	// them: they are kept for as long as it holds.
	maxNames = 8 << 10
)

// Policy is what a domain promises of its mail hosts.
type Policy struct {
	// Domain is whose policy it is.
	Domain string `json:"domain"`
	// ID is that of the TXT record under which it was fetched.
	ID string `json:"id"`
	// Mode is [Enforce], [Testing] or [None].
	Mode string `json:"mode"`
	// MX are the patterns of the mail hosts' names.
	MX []string `json:"mx"`
	// Fetched is when it was fetched, and Expires when it ends to hold.
	Fetched time.Time `json:"fetched"`
	Expires time.Time `json:"expires"`
}

// Matches reports whether a host is one of the policy's: by its name, or by a
// pattern "*.domain", which stands for one label (RFC 8461 §4.1).
func (p *Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range p.MX {
		if pattern == host {
			return true
		}
		if _, rest, ok := strings.Cut(host, "."); ok && strings.HasPrefix(pattern, "*.") && pattern[2:] == rest {
			return true
		}
	}
	return false
}

// parse reads a policy as it is fetched (RFC 8461 §3.2). The first mention of a
// key counts, and unknown keys are passed over.
func parse(text string) (p Policy, age time.Duration, err error) {
	seen, names := map[string]string{}, 0
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return p, 0, fmt.Errorf("a line without a colon: %.40q", line)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if key == "mx" {
			pattern := strings.ToLower(strings.TrimSuffix(value, "."))
			if !hostPattern(pattern) {
				return p, 0, fmt.Errorf("mx is no name: %.80q", value)
			}
			if names += len(pattern); names > maxNames {
				return p, 0, fmt.Errorf("the names of its mx have more than %d octets", maxNames)
			}
			p.MX = append(p.MX, strings.Clone(pattern)) // the text is not kept
		} else if _, again := seen[key]; !again {
			seen[key] = value
		}
	}
	if seen["version"] != "STSv1" {
		return p, 0, fmt.Errorf("the version is %.20q", seen["version"])
	}
	switch p.Mode = strings.Clone(seen["mode"]); p.Mode {
	case Enforce, Testing:
		if len(p.MX) == 0 {
			return p, 0, errors.New("it names no mx")
		}
	case None:
	default:
		return p, 0, fmt.Errorf("the mode is %.20q", p.Mode)
	}
	seconds, err := strconv.ParseUint(seen["max_age"], 10, 64)
	if err != nil || len(seen["max_age"]) > 10 || seconds == 0 {
		return p, 0, fmt.Errorf("max_age is %.20q", seen["max_age"])
	}
	return p, min(time.Duration(seconds)*time.Second, maxAge), nil
}

// hostPattern reports whether s is a host's name, or one behind "*.".
func hostPattern(s string) bool {
	return domainName(strings.TrimPrefix(s, "*."))
}

// domainName reports whether s is a name of at least two labels, in lower case.
func domainName(s string) bool {
	if len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// recordID returns the id in the TXT records of a domain, of which exactly one
// may be about MTA-STS (RFC 8461 §3.1).
func recordID(texts []string) (string, bool) {
	id, found := "", 0
	for _, text := range texts {
		if rest, ok := strings.CutPrefix(text, "v=STSv1"); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			found++
			id = field(rest, "id")
		}
	}
	if found != 1 || id == "" || len(id) > 32 {
		return "", false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return "", false
		}
	}
	return id, true
}

// field returns the value of a key in "; key=value; key=value".
func field(s, key string) string {
	for part := range strings.SplitSeq(s, ";") {
		if name, value, ok := strings.Cut(part, "="); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
