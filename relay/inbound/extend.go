package inbound

import (
	"net/netip"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/smtpserver"
)

// MailParameters is told of the extensions' parameters, before Mail.
func (s *session) MailParameters(p smtpserver.MailParameters) { s.more = p }

// extend notes the extensions' parameters in the envelope. What it returns is
// the reply, if Mail's own does not say enough.
func (s *session) extend(e *queue.Envelope) error {
	more := s.more
	s.more = smtpserver.MailParameters{}
	e.HoldUntil = more.HoldUntil
	if by := more.DeliverBy; by != nil {
		e.DeliverBy = queue.DeliverBy{Deadline: time.Now().Add(by.Time), Return: by.Mode == gosmtp.DeliverByReturn, Trace: by.Trace}
	}
	if more.Priority == nil {
		return nil
	}
	e.Priority = int8(*more.Priority)
	if e.Priority <= 0 || s.backend.Rules.Trusted(s.who()) {
		return nil
	}
	// RFC 6710 §4.1: strangers do not overtake others. The reply says so.
	e.Priority = 0
	return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 3, 6}, Message: "0 is the priority of this message"}
}

// MayStartQueue reports whether the client may use ETRN, which submission does
// not have (RFC 6409 §7).
func (s *session) MayStartQueue() bool {
	return !s.backend.Submission && contains(s.backend.ETRN, s.client)
}

// StartQueue makes the mail for a domain due at once (RFC 1985). It looks
// through the queue, so that there is one at a time.
func (s *session) StartQueue(domain string, below bool) (bool, error) {
	b := s.backend
	if !b.starting.TryLock() {
		return false, b.refuse(metrics.RefusedLimit, 458, gosmtp.EnhancedCode{4, 3, 2}, "Another queue is being started, try again later")
	}
	defer b.starting.Unlock()
	if below {
		domain = "." + domain
	}
	n, err := b.Queue.RetryNow(queue.Filter{ToDomain: domain})
	if err != nil {
		b.Log.Error("queue not started", "client", s.client.String(), "domain", domain, "error", err.Error())
		return false, &gosmtp.SMTPError{Code: 458, EnhancedCode: gosmtp.EnhancedCode{4, 3, 0}, Message: "Unable to queue messages for " + strings.TrimPrefix(domain, ".")}
	}
	b.Log.Info("queue started", "client", s.client.String(), "domain", domain, "messages", n)
	return n > 0, nil
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
