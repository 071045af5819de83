package inbound

import (
	"waypost/metrics"
	"waypost/relay/smtp"
)

// submits decides whether the client may submit new mail, and from this sender.
func (s *session) submits(sender smtp.Path) error {
	b := s.backend
	if !b.Submission || s.local {
		return nil
	}
	if d := b.Rules.Submit(s.who()); !d.Allowed {
		return s.denied(metrics.RefusedAuth, d, sender, smtp.Path{})
	}
	if d := b.Rules.QualifiedSender(sender, b.Aliases.Table().IsLocal(sender)); !d.Allowed {
		return s.denied(metrics.RefusedSender, d, sender, smtp.Path{})
	}
	return nil
}
