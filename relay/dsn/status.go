package dsn

import (
	"strings"

	"waypost/relay/message"
	"waypost/relay/smtp"
)

// maxDetail is the greatest number in a status code after the class
// (RFC 3463 §2: up to three digits).
const maxDetail = 999

// appendMessageFields appends the fields that hold for the whole message
// (RFC 3464 §2.2), in the order of its grammar.
func (c *composer) appendMessageFields(b []byte) []byte {
	r := c.report
	// RFC 3461 §6.3: present if and only if ENVID was given.
	if r.EnvelopeID != "" {
		b = field(b, "Original-Envelope-Id", "", message.ASCII(r.EnvelopeID))
	}
	b = field(b, "Reporting-MTA", "dns;", c.host)
	if r.ReceivedFrom != "" {
		b = field(b, "Received-From-MTA", "dns;", message.ASCII(r.ReceivedFrom))
	}
	if !r.Arrival.IsZero() {
		b = field(b, "Arrival-Date", "", message.Date(r.Arrival))
	}
	// A field of RFC 2852.
	if !r.DeliverBy.IsZero() {
		b = field(b, "Deliver-By-Date", "", message.Date(r.DeliverBy))
	}
	return b
}

// appendRecipientFields appends the fields of one recipient (RFC 3464 §2.3),
// in the order of its grammar.
func (c *composer) appendRecipientFields(b []byte, rcpt *Recipient) []byte {
	action := c.report.action(rcpt)
	// RFC 3461 §6.3: present if and only if ORCPT was given.
	if original, ok := originalField(rcpt.Original, c.native); ok {
		b = addressLine(b, "Original-Recipient", original)
	}
	b = addressLine(b, "Final-Recipient", addressField(rcpt.Final, c.native))
	b = field(b, "Action", "", action.String())
	b = field(b, "Status", "", status(action, rcpt).String())
	// RFC 3464 §2.3.5: absent where no remote host took part.
	if rcpt.RemoteMTA != "" {
		b = field(b, "Remote-MTA", "dns;", message.ASCII(rcpt.RemoteMTA))
	}
	if rcpt.Diagnostic.Code != 0 {
		b = field(b, "Diagnostic-Code", "smtp;", message.ASCII(rcpt.Diagnostic.String()))
	}
	if !rcpt.LastAttempt.IsZero() {
		b = field(b, "Last-Attempt-Date", "", message.Date(rcpt.LastAttempt))
	}
	if c.report.QueueID != "" {
		b = field(b, "Final-Log-ID", "", message.ASCII(c.report.QueueID))
	}
	// RFC 3464 §2.3.9: only for a delayed recipient.
	if action == Delayed && !rcpt.WillRetryUntil.IsZero() {
		b = field(b, "Will-Retry-Until", "", message.Date(rcpt.WillRetryUntil))
	}
	return b
}

// status returns a code whose class matches the action. RFC 3464 §2.3.4 has
// failures with class 4 as well: attempts that ended in a temporary state.
func status(action Action, rcpt *Recipient) smtp.EnhancedCode {
	code := rcpt.Status
	if code == (smtp.EnhancedCode{}) {
		code = rcpt.Diagnostic.Status()
	}
	class := 2
	switch action {
	case Failed:
		class = 5
		if code[0] == 4 {
			class = 4
		}
	case Delayed:
		class = 4
	}
	// A failure's detail says nothing about a success, nor the reverse.
	if (code[0] == 2) != (class == 2) {
		return smtp.EnhancedCode{class, 0, 0}
	}
	return smtp.EnhancedCode{class, clampDetail(code[1]), clampDetail(code[2])}
}

func clampDetail(n int) int { return min(max(n, 0), maxDetail) }

// field appends a field of a type, which may be empty, and text.
func field(b []byte, name, kind, text string) []byte {
	f := message.NewField(b, name)
	f.Word(kind)
	f.Text(text)
	return f.End()
}

// addressLine appends a field of an address type and an address. The address
// stays in one piece, since spaces inside a quoted local part count.
func addressLine(b []byte, name, address string) []byte {
	kind, rest, _ := strings.Cut(address, " ")
	f := message.NewField(b, name)
	f.Word(kind)
	f.Word(rest)
	return f.End()
}
