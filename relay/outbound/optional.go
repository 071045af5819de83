package outbound

import content "waypost/relay/message"

// whyOptional is why a session need not be protected for such a message.
const whyOptional = "TLS-Required: No in the message"

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
		if reader, err := a.message.Content(); err == nil {
			header, _, _ := content.ReadHeader(reader, content.MaxHeader)
			found = content.TLSOptional(header)
			_ = reader.Close() // whoever sends it finds what is wrong with it
		}
		a.optional = &found
	}
	return *a.optional
}
