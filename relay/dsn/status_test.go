package dsn

import (
	"strings"
	"testing"
	"time"

	"waypost/relay/smtp"
)

// TestStatus: the class of a code follows the action.
//
// 3464-2.3-a
func TestStatus(t *testing.T) {
	type code = smtp.EnhancedCode
	tests := []struct {
		name   string
		action Action
		rcpt   Recipient
		want   string
	}{
		{"failed", Failed, Recipient{Status: code{5, 1, 1}}, "5.1.1"},
		{"expired", Failed, Recipient{Status: code{4, 4, 7}}, "4.4.7"},
		{"failed after success", Failed, Recipient{Status: code{2, 1, 5}}, "5.0.0"},
		{"failed without any code", Failed, Recipient{}, "5.0.0"},
		{"code of the reply", Failed, Recipient{Diagnostic: smtp.NewReply(554, code{5, 7, 1}, "no")}, "5.7.1"},
		{"class of the reply", Failed, Recipient{Diagnostic: smtp.NewReply(554, code{}, "no")}, "5.0.0"},
		{"own code before the reply's", Failed,
			Recipient{Status: code{5, 4, 7}, Diagnostic: smtp.NewReply(451, code{4, 7, 1}, "later")}, "5.4.7"},
		{"delayed", Delayed, Recipient{Status: code{4, 4, 1}}, "4.4.1"},
		{"delayed for what should be final", Delayed, Recipient{Status: code{5, 7, 8}}, "4.7.8"},
		{"delayed after success", Delayed, Recipient{Status: code{2, 0, 0}}, "4.0.0"},
		{"relayed", Relayed, Recipient{Status: code{2, 1, 5}}, "2.1.5"},
		{"relayed without a code", Relayed, Recipient{}, "2.0.0"},
		{"relayed with a failure's code", Relayed, Recipient{Status: code{5, 1, 1}}, "2.0.0"},
		{"out of range", Failed, Recipient{Status: code{5, -3, 4711}}, "5.0.999"},
		{"no such class", Failed, Recipient{Status: code{9, 1, 1}}, "5.1.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := status(tt.action, &tt.rcpt).String(); got != tt.want {
				t.Errorf("status = %s, want %s", got, tt.want)
			}
		})
	}
}

// TestHostileDiagnostics: whatever a host answers, the report stays one, in
// ASCII, with the answer in one field.
//
// I-09
func TestHostileDiagnostics(t *testing.T) {
	octets := make([]byte, 256)
	for i := range octets {
		octets[i] = byte(i)
	}
	tests := []struct {
		name  string
		reply smtp.Reply
		want  string
	}{
		{"colours of a terminal", smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "\x1b[31mred"), "smtp; 550 5.1.1 ?[31mred"},
		{"a field of its own", smtp.NewReply(550, smtp.EnhancedCode{}, "no\r\nAction: delivered"), "smtp; 550 no??Action: delivered"},
		{"the end of the part", smtp.NewReply(550, smtp.EnhancedCode{}, "no\r\n--=_report--\r\n"), "smtp; 550 no??--=_report--??"},
		{"8-bit", smtp.NewReply(550, smtp.EnhancedCode{}, "größer \xff"), "smtp; 550 gr??er ?"},
		{"several lines", smtp.Reply{Code: 550, Lines: []string{"a", "", "b"}}, "smtp; 550 a b"},
		{"no text", smtp.Reply{Code: 421}, "smtp; 421"},
		{"only spaces", smtp.NewReply(550, smtp.EnhancedCode{}, "   "), "smtp; 550"},
		{"five long lines", smtp.Reply{Code: 550, Lines: []string{
			strings.Repeat("a", 512), strings.Repeat("b", 512), strings.Repeat("c ", 256), strings.Repeat("d", 512), strings.Repeat("e", 512)}},
			"smtp; 550 " + strings.Repeat("a", 512) + " " + strings.Repeat("b", 512) + " " + strings.Repeat("c ", 256) +
				strings.Repeat("d", 512) + " " + strings.Repeat("e", 512)},
		{"a word over the limit", smtp.NewReply(550, smtp.EnhancedCode{}, strings.Repeat("w", 2000)),
			"smtp; 550 " + strings.Repeat("w", 900) + " " + strings.Repeat("w", 900) + " " + strings.Repeat("w", 200)},
		{"every octet", smtp.NewReply(550, smtp.EnhancedCode{}, string(octets)),
			"smtp; 550 " + strings.Repeat("?", 32) + " " + string(octets['!':0x7f]) + "??"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := base().withContent(original, Headers)
			r.Recipients[0].Diagnostic = tt.reply
			r.Recipients = append(r.Recipients, base().Recipients...)
			report, _ := compose(t, r)
			checkLines(t, report)
			p := parseReport(t, report)
			if len(p.parts) != 3 || len(p.rcpts) != 2 {
				t.Fatalf("%d parts, %d recipients:\n%s", len(p.parts), len(p.rcpts), report)
			}
			if got := p.rcpts[0].Get("Diagnostic-Code"); got != tt.want {
				t.Errorf("Diagnostic-Code is %q, want %q", got, tt.want)
			}
			if got := p.rcpts[0].Get("Action"); got != "failed" {
				t.Errorf("Action is %q", got)
			}
		})
	}
}

// TestStrangersInFields: every field that repeats somebody's text does so in
// ASCII and on its own line.
func TestStrangersInFields(t *testing.T) {
	const text = "é\r\nAction: x"
	r := base()
	r.EnvelopeID, r.ReceivedFrom, r.QueueID, r.Recipients[0].RemoteMTA = text, text, text, text
	report, _ := compose(t, r)
	checkLines(t, report)
	p := parseReport(t, report)
	for name, got := range map[string]string{
		"Original-Envelope-Id": p.message.Get("Original-Envelope-Id"),
		"Received-From-MTA":    strings.TrimPrefix(p.message.Get("Received-From-Mta"), "dns; "),
		"Remote-MTA":           strings.TrimPrefix(p.rcpts[0].Get("Remote-Mta"), "dns; "),
		"Final-Log-ID":         p.rcpts[0].Get("Final-Log-Id"),
	} {
		if want := "???Action: x"; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestFieldsOnlyWhereDue: what the standard forbids is absent, what it asks
// for is there.
//
// 3461-6.3-a 3464-2.3-a
func TestFieldsOnlyWhereDue(t *testing.T) {
	r := base()
	r.EnvelopeID = "a b"
	r.Recipients[0].WillRetryUntil = time.Unix(1, 0)
	r.Recipients = append(r.Recipients, Recipient{
		Final: smtp.Path{Local: "x", Domain: "y.example"}, Original: "rfc822;bad+zz", Action: Delayed, WillRetryUntil: at(3, 0)})
	report, _ := compose(t, r)
	p := parseReport(t, report)
	if got := p.message.Get("Original-Envelope-Id"); got != "a b" {
		t.Errorf("Original-Envelope-Id is %q", got)
	}
	failed, delayed := p.rcpts[0], p.rcpts[1]
	if failed.Get("Will-Retry-Until") != "" || delayed.Get("Will-Retry-Until") != "Tue, 3 Mar 2026 00:00:00 +0000" {
		t.Errorf("Will-Retry-Until: failed %q, delayed %q", failed.Get("Will-Retry-Until"), delayed.Get("Will-Retry-Until"))
	}
	for _, name := range []string{"Remote-Mta", "Diagnostic-Code", "Last-Attempt-Date", "Original-Recipient"} {
		if delayed.Get(name) != "" {
			t.Errorf("%s is %q for a recipient without one", name, delayed.Get(name))
		}
	}
}
