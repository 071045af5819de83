package inbound

import (
	"context"
	"log/slog"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/auth"
	"waypost/relay/policy"
	"waypost/relay/smtp"
)

// who is the client, as policy knows it.
func (s *session) who() policy.Client {
	c := policy.Client{Addr: s.client, Login: s.login}
	if state, ok := s.conn.TLSConnectionState(); ok {
		c.Certificates = auth.CertificateNames(state)
	}
	return c
}

// denied logs a decision against the client and makes its reply. metric is why,
// in metrics; a null recipient is none.
func (s *session) denied(metric string, d policy.Decision, sender, recipient smtp.Path) error {
	log := s.backend.Log.With("client", s.client.String(), "from", sender.String())
	if s.login != "" {
		log = log.With("login", smtp.Printable(s.login))
	}
	if !recipient.IsNull() {
		log = log.With("rcpt", recipient.String())
	}
	if d.Place != "" {
		log = log.With("configured", d.Place)
	}
	level := slog.LevelInfo
	if d.Gateway {
		level = slog.LevelWarn // a mistake of the configuration
	}
	log.Log(context.Background(), level, "refused", "reason", smtp.Printable(d.Reason), "reply", d.Reply.Code)
	return s.backend.refuse(metric, d.Reply.Code, gosmtp.EnhancedCode(d.Reply.Enhanced), strings.Join(d.Reply.Lines, " "))
}
