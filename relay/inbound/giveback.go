package inbound

import (
	"errors"
	"io"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/message"
	"waypost/relay/policy"
	"waypost/relay/smtp"
)

// This file has what becomes of mail of this host that is refused for good.

// Refused is a recipient for whom a message was not taken.
type Refused struct {
	Path smtp.Path
	// Reply is what a client would have been told.
	Reply *gosmtp.SMTPError
}

// Returned is a message that goes back to its sender.
type Returned struct {
	// ID is the message's, with which it went to others; 0 where to nobody.
	ID       queue.ID
	Envelope queue.Envelope
	Refused  []Refused
	// Content is what was refused, and Size its length in octets. Whole says
	// that it may be part of a message, and not only its header section.
	Content io.Reader
	Size    int64
	Whole   bool
}

// refusals are recipients who were all refused by the same reply; none where the
// error is no such reply.
func refusals(all []string, err error) (refused []Refused) {
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	if !ok || reply.Code/100 != 5 {
		return nil
	}
	for _, to := range all {
		path, err := smtp.ParseMailbox(to, true)
		if err != nil { // it still has to stand in the report
			path = smtp.Path{Local: strings.ToValidUTF8(smtp.Printable(to[:min(len(to), 256)]), "?")}
		}
		refused = append(refused, Refused{path, reply})
	}
	return refused
}

// giveBack tells the sender who does not get the message. otherwise is the error
// where the sender cannot be told, or where all may still be well.
func (s *session) giveBack(m *Local, content io.ReadSeeker, refused []Refused, otherwise error) error {
	if len(refused) == 0 {
		return otherwise
	}
	if otherwise == nil {
		otherwise = refused[0].Reply
	}
	sender, err := smtp.ParseMailbox(m.From, m.UTF8)
	if err != nil || sender.IsNull() || s.backend.Reporter == nil {
		return otherwise
	}
	b := s.backend
	log := b.Log.With("from", sender.String(), "client", m.User, "recipients", len(refused), "error", otherwise.Error())
	if s.tx.id != 0 {
		log = log.With("queue_id", s.tx.id.String())
	}
	if m.Notify != 0 && m.Notify&smtp.NotifyFailure == 0 {
		// RFC 3461 §4.1: the sender wants to hear of no failure.
		log.Warn("local mail not taken, and its sender wants no report")
		return nil
	}
	r := Returned{ID: s.tx.id, Refused: refused, Content: content, Envelope: queue.Envelope{
		ReversePath: sender, Client: m.User, Arrival: time.Now(), Return: m.Return, EnvelopeID: m.EnvelopeID, UTF8: m.UTF8,
	}}
	id, err := b.sendBack(&r, content)
	if err != nil {
		return s.storageError(err)
	}
	log.Warn("local mail not taken, and its sender told", "report", id.String())
	return nil
}

// sendBack puts the report into the queue.
func (b *Backend) sendBack(r *Returned, content io.ReadSeeker) (queue.ID, error) {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	checker := message.NewChecker(message.Limits{})
	var err error
	if r.Size, err = io.Copy(checker, content); err != nil && checker.Err() == nil {
		return 0, err
	}
	// What is no proper message is not made part of one.
	r.Whole, r.Envelope.EightBit = checker.Err() == nil, checker.Result().EightBit()
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	draft := b.Queue.NewDraft()
	defer draft.Discard()
	eightBit, utf8, err := b.Reporter.Returned(draft, r)
	if err != nil {
		return 0, err
	}
	if err := draft.Commit(b.report(r.ID, &r.Envelope, eightBit, utf8), b.reportTo(r.Envelope.ReversePath)); err != nil {
		return 0, err
	}
	b.Metrics.Reports.WithLabelValues(metrics.ReportFailure).Inc()
	return draft.ID(), nil
}

// report is the envelope of a report on a message (RFC 3461 §6.1: with the null
// reverse-path).
func (b *Backend) report(on queue.ID, e *queue.Envelope, eightBit, utf8 bool) queue.Envelope {
	report := queue.Envelope{EightBit: eightBit, UTF8: utf8, ReportOn: on, RequireTLS: e.RequireTLS, Priority: e.Priority, Arrival: time.Now()}
	report.Class, report.ClassRule = b.Classes.Sort(&policy.Mail{Recipients: []smtp.Path{e.ReversePath}})
	return report
}

// reportTo are the recipients of a report to a sender, who may be an alias. NOTIFY
// is only NEVER (RFC 3461 §6.1).
func (b *Backend) reportTo(sender smtp.Path) (all []queue.Recipient) {
	a, ok := b.Aliases.Table().Expand(sender)
	if !ok {
		return []queue.Recipient{{Path: sender, Notify: smtp.NotifyNever}}
	}
	for _, m := range a.Members {
		all = append(all, queue.Recipient{Path: m.Path, Notify: smtp.NotifyNever})
	}
	return all
}
