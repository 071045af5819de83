package queue

import "waypost/relay/smtp"

// compose writes the reports; on failure none of them is left.
func (s *settlement) compose() error {
	for kind, recipients := range [...][]Recipient{ReportFailure: s.failed, ReportDelay: s.delayed, ReportSuccess: s.relayed} {
		if len(recipients) == 0 {
			continue
		}
		p, err := s.composeOne(ReportKind(kind), recipients)
		if err != nil {
			s.discardReports()
			return err
		}
		s.reports = append(s.reports, p)
		s.sent = append(s.sent, SentReport{ReportKind(kind), p.message.ID})
	}
	return nil
}

func (s *settlement) composeOne(kind ReportKind, recipients []Recipient) (*prepared, error) {
	draft := s.queue.NewDraft()
	eightBit, utf8, err := s.queue.opts.Reporter.Compose(draft, Report{
		Kind: kind, Message: s.message, Recipients: recipients, RetryUntil: s.before.within(s.retry.expiry(s.message.begin())),
	})
	if err != nil {
		draft.Discard()
		return nil, err
	}
	class, rule := s.queue.opts.ReportClass(s.message.ReversePath)
	// RFC 3461 §6.1: null reverse-path, no RET, NOTIFY only NEVER. A report has
	// the protection of its message (RFC 8689 §5) and its priority (RFC 6710
	// §4.5).
	p, err := draft.prepare(Envelope{
		EightBit: eightBit, UTF8: utf8, Class: class, ClassRule: rule, ReportOn: s.message.ID,
		RequireTLS: s.message.RequireTLS, Priority: s.message.Priority,
	},
		s.queue.reportTo(s.message.ReversePath))
	if err != nil {
		draft.Discard()
	}
	return p, err
}

// reportTo are the recipients of a report to a sender.
func (q *Queue) reportTo(sender smtp.Path) (all []Recipient) {
	to := []smtp.Path{sender}
	if q.opts.ReportTo != nil {
		to = q.opts.ReportTo(sender)
	}
	for _, p := range to {
		all = append(all, Recipient{Path: p, Notify: smtp.NotifyNever})
	}
	return all
}

func (s *settlement) discardReports() {
	for _, p := range s.reports {
		p.draft.Discard()
	}
	s.reports, s.sent = nil, nil
}

// postpone turns failures back into deferrals, to be judged again.
func (s *settlement) postpone() {
	for _, i := range s.tried {
		if r := &s.after.Recipients[i]; r.State == Failed || r.State == Expired {
			r.State = Deferred
		}
	}
	s.after.Warned = s.before.Warned
	s.after.Next = s.now.Add(s.retry.interval(1, 0))
}
