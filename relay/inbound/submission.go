package inbound

import (
	"strings"

	"waypost/metrics"
	"waypost/relay/policy"
	"waypost/relay/smtp"
)

// submits decides whether the client may submit new mail at all (RFC 6409 §4.3):
// only those whom we know may, also to the domains that are relayed for anyone.
func (s *session) submits(sender smtp.Path) error {
	b := s.backend
	if !b.Submission || s.local || b.Rules.Trusted(s.who()) {
		return nil
	}
	d := policy.Decision{
		Reason: "submission is for logins, relay.networks and relay.certificates",
		Reply:  smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Submission is not for you"}},
	}
	if b.Authenticator != nil {
		d.Reply = smtp.Reply{Code: 530, Enhanced: smtp.EnhancedCode{5, 7, 0}, Lines: []string{"Authentication required"}}
	}
	return s.denied(metrics.RefusedAuth, d, sender, smtp.Path{})
}

// unqualified reports whether a path of a new message has a domain that is no full
// name, and which nobody but its sender can complete (RFC 6409 §4.2). Our own name
// and those that are configured are what they are.
func (s *session) unqualified(path smtp.Path) bool {
	b := s.backend
	return b.Submission && !s.local && path.Domain != "" && !strings.ContainsAny(path.Domain, ".[") &&
		!strings.EqualFold(path.Domain, b.Hostname) && !b.Rules.Relayed(path) && !b.Aliases.Table().IsLocal(path)
}
