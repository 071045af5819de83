package inbound

import (
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// submits decides whether the client may submit new mail at all (RFC 6409 §4.3):
// only those whom we know, also to the domains that are relayed for anyone.
func (s *session) submits() error {
	b := s.backend
	switch {
	case !b.Submission || s.local || b.Rules.Trusted(s.who()):
		return nil
	case b.Authenticator != nil:
		return b.refuse(metrics.RefusedAuth, 530, gosmtp.EnhancedCode{5, 7, 0}, "Authentication required")
	}
	return b.refuse(metrics.RefusedRelay, 550, gosmtp.EnhancedCode{5, 7, 1}, "Submission is not for you")
}

// unqualified reports whether a path of a new message has a domain that is no full
// name, and which nobody but its sender can complete (RFC 6409 §4.2). Our own name
// and those that are configured are what they are.
func (s *session) unqualified(path smtp.Path) bool {
	b := s.backend
	return b.Submission && !s.local && path.Domain != "" && !strings.ContainsAny(path.Domain, ".[") &&
		!strings.EqualFold(path.Domain, b.Hostname) && !b.Rules.Relayed(path) && !b.Aliases.Table().IsLocal(path)
}
