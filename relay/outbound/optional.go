package outbound

import (
	"bufio"
	"io"
	"strings"
)

// whyOptional is why a session need not be protected for such a message.
const whyOptional = "TLS-Required: No in the message"

// maxHeader is how much of a message is looked through for a field.
const maxHeader = 256 << 10

// tlsOptional reports whether the sender would rather have the message arrive than
// protected: TLS policies that hosts and domains publish do not hold for it (RFC
// 8689 §4.3). What the routes ask for does. It is looked for once in an attempt, and
// only where such a policy is met.
func (a *attempt) tlsOptional() bool {
	if a.message.RequireTLS || !a.kept {
		return false // RFC 8689 §4.1: REQUIRETLS prevails
	}
	if a.optional == nil {
		found := false
		if content, err := a.message.Content(); err == nil {
			found = saysOptional(content)
			_ = content.Close() // whoever sends it finds what is wrong with it
		}
		a.optional = &found
	}
	return *a.optional
}

// saysOptional looks for the field "TLS-Required: No".
func saysOptional(content io.Reader) bool {
	lines := bufio.NewReader(io.LimitReader(content, maxHeader))
	for {
		line, err := lines.ReadString('\n')
		if err != nil || strings.TrimRight(line, "\r\n") == "" {
			return false
		}
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimRight(name, " \t"), "TLS-Required") {
			return strings.EqualFold(strings.TrimSpace(value), "No")
		}
	}
}
