package queue

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"waypost/relay/smtp"
)

// parseExported makes an envelope and deliveries of what an archive says. It
// takes nothing that could not have come over SMTP, or out of this program.
func parseExported(m *exportedMessage) (env Envelope, deliveries []importedDelivery, err error) {
	p := &recordParser{}
	env = Envelope{
		ReversePath: p.path("from", m.From), EnvelopeID: p.word("envelope_id", m.EnvelopeID), Return: m.Return,
		UTF8: m.UTF8, EightBit: m.EightBit, Binary: m.Binary, Arrival: p.time("arrival", &m.Arrival), MessageID: m.MessageID,
		Client: smtp.Printable(m.Client), Login: p.word("login", m.Login),
		Listener: smtp.Printable(m.Listener), Protocol: smtp.Printable(m.Protocol), TLS: smtp.Printable(m.TLS),
		Class: p.word("class", m.Class), ClassRule: p.word("class_rule", m.ClassRule), Priority: m.Priority, RequireTLS: m.RequireTLS, HoldUntil: p.time("hold_until", m.HoldUntil),
		ReportOn: p.id("report_on", m.ReportOn),
	}
	if by := m.DeliverBy; by != nil {
		env.DeliverBy = DeliverBy{Deadline: p.time("deliver_by", &by.Deadline), Return: by.Return, Trace: by.Trace}
	}
	if m.Priority < -9 || m.Priority > 9 { // RFC 6710 §4.1
		p.fail("priority", "%d is not from -9 to 9", m.Priority)
	}
	if len(m.MessageID) > 998 { // RFC 5322 §2.1.1: no line is longer
		p.fail("message_id", "it has %d octets, and may have 998", len(m.MessageID))
	}
	if m.Return != "" && m.Return != "FULL" && m.Return != "HDRS" {
		p.fail("return", "it is FULL, HDRS or nothing")
	}
	open, all := 0, 0
	for i := range m.Deliveries {
		d := p.delivery(&m.Deliveries[i])
		open += d.Open()
		all += len(d.Recipients)
		deliveries = append(deliveries, importedDelivery{d, p.log(m.Deliveries[i].Log)})
	}
	if open == 0 {
		p.fail("deliveries", "no recipient waits")
	}
	if all > MaxRecipients {
		p.fail("deliveries", "there are more than 65536 recipients")
	}
	return env, deliveries, p.err
}

// importedDelivery is a delivery from elsewhere, with its attempts.
type importedDelivery struct {
	*Delivery
	log []Attempt
}

// recordParser reads values, and keeps the first error.
type recordParser struct{ err error }

func (p *recordParser) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
}

func (p *recordParser) path(name, s string) smtp.Path {
	path, rest, err := smtp.ParsePath("<"+s+">", true)
	if err == nil && rest != "" {
		err = errors.New("something comes behind it")
	}
	if err != nil {
		p.fail(name, "%v", err)
	}
	return path
}

// maxWord bounds a parameter of a command. The longest that SMTP has is ORCPT,
// of 500 octets (RFC 3461 §4.2).
const maxWord = 2000

// word reads a parameter. None can have a control character, which could end
// the command.
func (p *recordParser) word(name, s string) string {
	if len(s) > maxWord {
		p.fail(name, "it has %d octets, and may have %d", len(s), maxWord)
	} else if strings.ContainsFunc(s, unicode.IsControl) {
		p.fail(name, "%.60q has a control character", s)
	}
	return s
}

// time reads a time, which the index keeps to the millisecond.
func (p *recordParser) time(name string, t *time.Time) time.Time {
	switch {
	case t == nil:
		return time.Time{}
	case t.UnixMilli() <= 0 || t.Year() > 9999:
		p.fail(name, "%v cannot be", t)
	}
	return time.UnixMilli(t.UnixMilli())
}

// seconds reads a length of time, to the millisecond.
func (p *recordParser) seconds(name string, s float64) time.Duration {
	if s < 0 || s > 1e9 {
		p.fail(name, "%v cannot be", s)
		return 0
	}
	return time.Duration(math.Round(s*1000)) * time.Millisecond
}

func (p *recordParser) state(name, s string) State {
	state, ok := ParseState(s)
	if !ok {
		p.fail(name, "there is no state %.20q", s)
	}
	return state
}

func (p *recordParser) delivery(in *exportedDelivery) *Delivery {
	d := &Delivery{
		Destination: smtp.Printable(in.Destination), Attempts: in.Attempts, Next: p.time("next_attempt", in.Next),
		Held: in.Held, Warned: in.Warned, Notices: in.Notices,
	}
	if in.Attempts < 0 || in.Attempts > 1<<30 || in.Notices < 0 || in.Notices > 1<<30 {
		p.fail("attempts", "%d with %d notices cannot be", in.Attempts, in.Notices)
	}
	for i := range in.Recipients {
		d.Recipients = append(d.Recipients, p.recipient(&in.Recipients[i]))
	}
	if len(d.Recipients) == 0 {
		p.fail("recipients", "there are none")
	}
	return d
}

func (p *recordParser) recipient(in *exportedRecipient) Recipient {
	r := Recipient{
		Path: p.path("address", in.Address), State: p.state("state", in.State),
		OriginalRecipient: p.originalRecipient(in.OriginalRecipient), LastAttempt: p.time("last_attempt", in.LastAttempt),
	}
	if r.Path.IsNull() {
		p.fail("address", "it is empty")
	}
	if in.Notify != "" {
		var err error
		if r.Notify, err = smtp.ParseNotify(in.Notify); err != nil {
			p.fail("notify", "%v", err)
		}
	}
	if (in.Last == nil) != r.LastAttempt.IsZero() {
		p.fail("last", "it goes with last_attempt")
	} else if in.Last != nil {
		r.Last = p.result(in.Last)
	}
	return r
}

// originalRecipient reads ORCPT, which goes into a command as it is.
func (p *recordParser) originalRecipient(s string) string {
	if p.word("original_recipient", s); strings.Contains(s, " ") {
		p.fail("original_recipient", "%.60q has a space", s)
	}
	return s
}

func (p *recordParser) result(in *exportedResult) Result {
	r := Result{
		State: p.state("last", in.State), Reason: in.Reason, Status: p.enhanced("status", in.Status),
		Host: smtp.Printable(in.Host), Reported: in.Reported, Relayed: in.Relayed, TLS: smtp.Printable(in.TLS),
		Duration: p.seconds("duration_seconds", in.Duration),
	}
	if in.Code != 0 && (in.Code < 100 || in.Code > 999) {
		p.fail("code", "%d is no code of a reply", in.Code)
	}
	r.Reply = smtp.Reply{Code: in.Code, Enhanced: p.enhanced("enhanced", in.Enhanced), Lines: in.Lines}
	return r
}

// log reads the attempts of a delivery, of which a queue keeps so many and no
// more.
func (p *recordParser) log(in []exportedAttempt) (log []Attempt) {
	if len(in) > newestAttempts+1 {
		p.fail("log", "there are %d attempts, and %d are kept", len(in), newestAttempts+1)
	}
	last := uint32(0)
	for i := range in {
		a := Attempt{Number: in[i].Number, Time: p.time("time", in[i].Time), Destination: smtp.Printable(in[i].Destination)}
		if a.Number <= last {
			p.fail("number", "attempt %d comes behind %d", a.Number, last)
		}
		last = a.Number
		for j := range in[i].Results {
			a.Results = append(a.Results, p.tried(&in[i].Results[j])...)
		}
		for _, r := range in[i].Reports {
			a.Reports = append(a.Reports, SentReport{p.kind("kind", r.Kind), p.id("id", r.ID)})
		}
		log = append(log, a)
	}
	return log
}

func (p *recordParser) tried(in *exportedTried) (all []Tried) {
	t := Tried{State: p.state("became", in.Became), Result: p.result(&in.Result)}
	for _, address := range in.Recipients {
		t.Path = p.path("recipients", address)
		all = append(all, t)
	}
	return all
}

func (p *recordParser) kind(name, s string) ReportKind {
	kind := slices.Index(reportNames[:], s)
	if kind < 0 {
		p.fail(name, "there are no reports of a %.20q", s)
	}
	return ReportKind(max(kind, 0))
}

func (p *recordParser) id(name, s string) ID {
	if s == "" {
		return 0
	}
	id, err := ParseID(s)
	if err != nil {
		p.fail(name, "%.20q is %v", s, err)
	}
	return id
}

func (p *recordParser) enhanced(name, s string) smtp.EnhancedCode {
	if s == "" {
		return smtp.EnhancedCode{}
	}
	code, rest, ok := smtp.ParseEnhanced(s)
	if !ok || rest != "" {
		p.fail(name, "%.20q is no enhanced status code", s)
	}
	return code
}
