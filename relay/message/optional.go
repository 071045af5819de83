package message

import "strings"

// MaxHeader is how much of a content is looked through for a field, in octets.
const MaxHeader = 256 << 10

// TLSOptional reports whether a header section has the field "TLS-Required: No":
// the sender would rather have the message arrive than protected. The field may be
// there once only (RFC 8689 §3), so that several of them ask for nothing.
func TLSOptional(header []byte) bool {
	times, no := 0, false
	EachField(header, func(name, value string) {
		if strings.EqualFold(name, "TLS-Required") {
			times++
			no = strings.EqualFold(value, "No")
		}
	})
	return times == 1 && no
}
