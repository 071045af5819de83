package policy

import (
	"strings"

	"waypost/relay/smtp"
)

// Submit decides whether client may hand in new mail at all (RFC 6409 §4.3): only
// those whom we know may, also to the domains that are relayed for anyone.
func (r *Rules) Submit(client Client) Decision {
	if r.Trusted(client) {
		return r.yes("", "one of our clients")
	}
	reply := smtp.Reply{Code: 530, Enhanced: smtp.EnhancedCode{5, 7, 0}, Lines: []string{"Authentication required"}}
	return r.no(reply, "", "submission is for logins, relay.networks and relay.certificates")
}

// QualifiedSender and QualifiedRecipient decide about a path of new mail whose
// domain is no full name, so that nobody but its sender can complete it (RFC 6409
// §4.2). Our own name and those that are configured are what they are, and so is a
// path that local says is ours.
func (r *Rules) QualifiedSender(path smtp.Path, local bool) Decision {
	return r.qualified(path, local, smtp.EnhancedCode{5, 1, 8}, "The sender's domain is no full name")
}

// QualifiedRecipient is told at QualifiedSender.
func (r *Rules) QualifiedRecipient(path smtp.Path, local bool) Decision {
	return r.qualified(path, local, smtp.EnhancedCode{5, 1, 2}, "The recipient's domain is no full name")
}

func (r *Rules) qualified(path smtp.Path, local bool, code smtp.EnhancedCode, text string) Decision {
	if local || path.Domain == "" || strings.ContainsAny(path.Domain, ".[") || strings.EqualFold(path.Domain, r.Hostname) || r.Relayed(path) {
		return r.yes("", "a full name, or one of ours")
	}
	return r.no(smtp.Reply{Code: 553, Enhanced: code, Lines: []string{text}}, "", "submission needs domains with their full names")
}
