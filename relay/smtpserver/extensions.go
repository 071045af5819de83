package smtpserver

import (
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

var (
	errNeedTLS = &gosmtp.SMTPError{Code: 530, EnhancedCode: gosmtp.EnhancedCode{5, 7, 10}, Message: "Encryption needed, say STARTTLS first"}
	errTooSoon = &gosmtp.SMTPError{Code: 555, EnhancedCode: gosmtp.EnhancedCode{5, 5, 4}, Message: "Time to deliver is less than this server can promise"}
	errHold    = &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 5, 4}, Message: "Release time is out of range"}
)

// extendedParam reads the parameters of MAIL that belong to extensions which
// not every session is offered.
func (s *session) extendedParam(p param, m *mailParams) *gosmtp.SMTPError {
	x, ok := &s.server.Extensions, false
	switch {
	case p.key == "AUTH" && len(s.mechanisms()) > 0:
		m.Auth, ok = parseAuthParam(p.value)
	case p.key == "REQUIRETLS" && x.RequireTLS:
		// RFC 8689 §4.1: it promises what this session does not even have.
		if s.state == nil {
			return errNeedTLS
		}
		m.RequireTLS, ok = true, !p.hasValue
	case p.key == "BY" && x.DeliverBy:
		m.more.DeliverBy, ok = parseDeliverBy(p.value)
		if ok && m.more.DeliverBy.Mode == gosmtp.DeliverByReturn && m.more.DeliverBy.Time < x.DeliverByMin {
			return errTooSoon
		}
	case p.key == "MT-PRIORITY" && x.Priority:
		m.more.Priority, ok = parsePriority(p.value)
	case (p.key == "HOLDFOR" || p.key == "HOLDUNTIL") && x.HoldMax > 0:
		if !m.more.HoldUntil.IsZero() {
			return errBadParam // RFC 4865 §4.1: one of them
		}
		now := time.Now()
		until, ok := parseHold(p, now)
		switch {
		case !ok:
			return errBadParam
		case until.Before(now) || until.After(now.Add(x.HoldMax)):
			return errHold
		}
		m.more.HoldUntil = until
		return nil
	default:
		return errUnknownParam
	}
	if !ok {
		return errBadParam
	}
	return nil
}

// parseAuthParam reads "<>" or the xtext of a mailbox (RFC 4954 §5).
func parseAuthParam(s string) (*string, bool) {
	if s == "<>" {
		return new(""), true
	}
	mailbox, err := smtp.ParseXtext(s)
	if err != nil || len(s) > 500 {
		return nil, false
	}
	path, rest, err := smtp.ParsePath("<"+mailbox+">", false)
	return &mailbox, err == nil && rest == "" && path.Domain != ""
}

// parseDeliverBy reads "seconds;mode" (RFC 2852 §4): nine digits at most with a
// sign or without, N or R, and T for a trace. A message that is to be returned
// when its time is over must have some.
func parseDeliverBy(s string) (*gosmtp.DeliverByOptions, bool) {
	number, mode, _ := strings.Cut(s, ";")
	digits := strings.TrimLeft(number, "+-")
	seconds, err := strconv.Atoi(number)
	if err != nil || len(digits) > 9 || len(number)-len(digits) > 1 {
		return nil, false
	}
	mode = strings.ToUpper(mode)
	by := &gosmtp.DeliverByOptions{Time: time.Duration(seconds) * time.Second}
	mode, by.Trace = strings.CutSuffix(mode, "T")
	by.Mode = gosmtp.DeliverByMode(mode)
	return by, by.Mode == gosmtp.DeliverByNotify || by.Mode == gosmtp.DeliverByReturn && seconds > 0
}

// parsePriority reads -9 to 9 (RFC 6710 §2).
func parsePriority(s string) (*int, bool) {
	n, err := strconv.Atoi(s)
	return &n, err == nil && -9 <= n && n <= 9 && strconv.Itoa(n) == s
}

// parseHold reads HOLDFOR, in seconds, or HOLDUNTIL, a date in UTC (RFC 4865
// §4.1).
func parseHold(p param, now time.Time) (time.Time, bool) {
	if p.key == "HOLDUNTIL" {
		until, err := time.Parse("2006-01-02T15:04:05Z", strings.ToUpper(p.value))
		return until, err == nil
	}
	seconds, err := strconv.ParseUint(p.value, 10, 32)
	return now.Add(time.Duration(seconds) * time.Second), err == nil && len(p.value) <= 9
}
