package relay

import (
	"bytes"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"waypost/queue"
	"waypost/relay/dkim"
	"waypost/relay/dsn"
	"waypost/relay/inbound"
	"waypost/relay/message"
	"waypost/relay/smtp"
)

// reporter composes the queue's reports with dsn.
type reporter struct {
	hostname string
	keys     func() *dkim.Set // that sign
	// panicked is told of a fault of ours in a report on a message; nil tells
	// nobody.
	panicked func(id queue.ID, fault any)
}

var (
	_ queue.Reporter   = (*reporter)(nil)
	_ inbound.Reporter = (*reporter)(nil)
)

// Compose writes one report. When the content cannot be read any more, the
// sender still hears what became of it. A fault of ours, which a message may have
// led to, ends this report alone.
func (p *reporter) Compose(w io.Writer, r queue.Report) (eightBit, utf8 bool, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			if p.panicked != nil {
				p.panicked(r.Message.ID, fault)
			}
			err = fmt.Errorf("compose report: a fault of the program: %v", fault)
		}
	}()
	report := p.report(r)
	content, err := r.Message.Content()
	if err == nil {
		defer content.Close()
		var seen bytes.Buffer
		header, _, _ := message.ReadHeader(io.TeeReader(content, &seen), message.MaxHeader) // whoever reads on finds what is wrong with it
		// RFC 8689 §4.1: REQUIRETLS prevails.
		report.TLSOptional = !r.Message.RequireTLS && message.TLSOptional(header)
		report.Content, report.ContentSize, report.EightBit = io.MultiReader(&seen, content), r.Message.Size, r.Message.EightBit
	}
	return p.write(w, report)
}

// panickedInReport tells of a fault of ours in a report on a message.
func (r *Relay) panickedInReport(id queue.ID, fault any) {
	r.metrics.AttemptPanics.Inc()
	r.log.Error("panic in a report", "queue_id", id.String(), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
}

// write composes a report and signs it.
func (p *reporter) write(w io.Writer, report dsn.Report) (eightBit, utf8 bool, err error) {
	signing := p.keys().NewWriter(w)
	defer signing.Discard()
	composed, err := dsn.Compose(signing, report)
	if err != nil {
		return false, false, fmt.Errorf("compose report: %w", err)
	}
	signed, err := signing.Finish(dkim.Content{EightBit: composed.EightBit, UTF8Header: composed.UTF8})
	if err != nil {
		return false, false, fmt.Errorf("sign report: %w", err)
	}
	return composed.EightBit && !signed.Converted, composed.UTF8, nil
}

func (p *reporter) report(r queue.Report) dsn.Report {
	m := r.Message
	report := dsn.Report{
		Kind:     map[queue.ReportKind]dsn.Kind{queue.ReportDelay: dsn.Delay, queue.ReportSuccess: dsn.Success}[r.Kind],
		Hostname: p.hostname, To: m.ReversePath, QueueID: m.ID.String(), EnvelopeID: m.EnvelopeID,
		Arrival: m.Arrival, DeliverBy: m.DeliverBy.Deadline, Now: time.Now(), ReceivedFrom: m.Client, UTF8: m.UTF8,
	}
	// RFC 3461 §4.3: without RET we may choose, and the whole message is of
	// more use to its sender than its header. What was to travel under TLS alone
	// is not given back at all (RFC 8689 §5), and binary content does not fit
	// into a report.
	if m.Return != "HDRS" && !m.RequireTLS && !m.Binary {
		report.Return = dsn.Full
	}
	for i := range r.Recipients {
		report.Recipients = append(report.Recipients, reported(&r.Recipients[i], r))
	}
	return report
}

// Expanded writes the report that a message went to aliases (RFC 3461 §5.2.7).
func (p *reporter) Expanded(w io.Writer, id queue.ID, e *queue.Envelope, header []byte, to []inbound.Expanded) (eightBit, utf8 bool, err error) {
	report := dsn.Report{
		Kind: dsn.Success, Hostname: p.hostname, To: e.ReversePath, QueueID: id.String(), EnvelopeID: e.EnvelopeID,
		Arrival: e.Arrival, Now: time.Now(), ReceivedFrom: e.Client, UTF8: e.UTF8,
		Content: bytes.NewReader(header), EightBit: !message.IsASCII(string(header)),
	}
	for _, r := range to {
		one := dsn.Recipient{Final: r.Path, Original: r.Original, Action: dsn.Expanded, Status: smtp.EnhancedCode{2, 1, 5}, Reason: "it is an alias, and the message went to those behind it"}
		if r.List {
			one.Action, one.Reason = dsn.Delivered, "it is a mailing list, and the message went to its members"
		}
		report.Recipients = append(report.Recipients, one)
	}
	return p.write(w, report)
}

// Returned writes the report that a message of this host was not taken.
func (p *reporter) Returned(w io.Writer, r *inbound.Returned) (eightBit, utf8 bool, err error) {
	e := &r.Envelope
	report := dsn.Report{
		Kind: dsn.Failure, Hostname: p.hostname, To: e.ReversePath, EnvelopeID: e.EnvelopeID,
		Arrival: e.Arrival, Now: time.Now(), ReceivedFrom: e.Client, UTF8: e.UTF8,
		Content: r.Content, ContentSize: r.Size, EightBit: e.EightBit,
	}
	if r.ID != 0 {
		report.QueueID = r.ID.String()
	}
	if r.Whole && e.Return != "HDRS" {
		report.Return = dsn.Full
	}
	for _, one := range r.Refused {
		report.Recipients = append(report.Recipients, dsn.Recipient{
			Final: one.Path, Status: smtp.EnhancedCode(one.Reply.EnhancedCode), Reason: "it was refused: " + one.Reply.Message,
		})
	}
	return p.write(w, report)
}

func reported(r *queue.Recipient, of queue.Report) dsn.Recipient {
	out := dsn.Recipient{
		Final: r.Path, Original: r.OriginalRecipient, Status: r.Last.Status,
		Diagnostic: r.Last.Reply, Reason: r.Last.Reason, LastAttempt: r.LastAttempt,
	}
	if r.Last.Reply.Code != 0 {
		out.RemoteMTA = hostOf(r.Last.Host)
	}
	by := of.Message.DeliverBy
	over := !by.Deadline.IsZero() && !time.Now().Before(by.Deadline)
	switch {
	case of.Kind == queue.ReportDelay:
		out.WillRetryUntil = of.RetryUntil
		if over && !by.Return {
			// RFC 2852 §4.
			out.Status, out.Reason = smtp.EnhancedCode{4, 4, 7}, "the time that was set for its delivery is over, which is still tried"
		}
	case r.State == queue.Delivered && r.Last.Relayed && by.Trace:
		out.Reason = "you asked to hear of each step"
	case r.State == queue.Delivered && r.Last.Relayed:
		out.Reason = "it may be delivered after the time that was set, of which that host knows nothing"
	case r.State == queue.Expired && over && by.Return:
		out.Status, out.Reason = smtp.EnhancedCode{5, 4, 7}, "it could not be delivered within the time that was set"
	case r.State == queue.Expired:
		// RFC 3461 §5.2.6: the message has been tried for its lifetime.
		out.Status = smtp.EnhancedCode{4, 4, 7}
		if out.Reason == "" {
			out.Reason = "it could not be delivered in time"
		}
	}
	return out
}

// hostOf returns the name in "name[address]:port".
func hostOf(host string) string {
	for i := range len(host) {
		if host[i] == '[' && i > 0 {
			return host[:i]
		}
	}
	return host
}
