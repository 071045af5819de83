package smtpserver

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

// splitCommand cuts a line into verb, in capitals, and argument. Trailing
// blanks are tolerated (RFC 5321 §4.1.1).
func splitCommand(line []byte) (verb, arg string, ok bool) {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", false
		}
	}
	verb, arg, _ = strings.Cut(strings.TrimRight(string(line), " \t"), " ")
	return strings.ToUpper(verb), strings.TrimLeft(arg, " "), true
}

// looksLikeHTTP reports whether a browser was led to this port.
func looksLikeHTTP(line []byte) bool {
	s := string(line)
	return strings.Contains(s, " HTTP/1.") || strings.Contains(s, " HTTP/2")
}

// validHello reports whether s may be the argument of EHLO. Names that DNS
// would not take are common and harmless; what could leave the comment of a
// Received field is not taken.
func validHello(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	if s[0] == '[' {
		return smtp.CheckDomain(s) == nil
	}
	for i := range len(s) { // RFC 6531 §3.7.1: A-labels also with SMTPUTF8
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte(".-_:", c) < 0 {
			return false
		}
	}
	return true
}

// param is one ESMTP parameter; value is empty without "=".
type param struct {
	key, value string
	hasValue   bool
}

// parseParams reads what follows a path. RFC 5321 §4.1.2: esmtp-keyword is
// letters, digits and hyphens, esmtp-value has no blank, = or control.
func parseParams(s string) ([]param, error) {
	if s != "" && s[0] != ' ' {
		return nil, fmt.Errorf("no blank after the path")
	}
	var all []param
	for word := range strings.FieldsSeq(s) {
		key, value, has := strings.Cut(word, "=")
		p := param{strings.ToUpper(key), value, has}
		for i := range len(p.key) {
			if c := p.key[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
				return nil, fmt.Errorf("bad parameter")
			}
		}
		if p.key == "" || has && value == "" || strings.Contains(value, "=") {
			return nil, fmt.Errorf("bad parameter")
		}
		for _, other := range all {
			if other.key == p.key {
				return nil, fmt.Errorf("parameter given twice")
			}
		}
		all = append(all, p)
	}
	return all, nil
}

var (
	// RFC 5321 §4.1.1.11.
	errUnknownParam = &gosmtp.SMTPError{Code: 555, EnhancedCode: gosmtp.EnhancedCode{5, 5, 4}, Message: "Parameter not recognised"}
	errBadParam     = &gosmtp.SMTPError{Code: 501, EnhancedCode: gosmtp.EnhancedCode{5, 5, 4}, Message: "Bad parameter value"}
)

// mailParams is what the parameters of MAIL say.
type mailParams struct {
	gosmtp.MailOptions
	more MailParameters
}

// mailParams reads the parameters of MAIL. Those that this session was not
// offered do not exist.
func (s *session) mailParams(params []param) (m mailParams, refusal *gosmtp.SMTPError) {
	if len(params) > 0 && !s.extended {
		return m, errUnknownParam
	}
	for _, p := range params {
		if refusal = s.mailParam(p, &m); refusal != nil {
			return m, refusal
		}
	}
	if by := m.more.DeliverBy; by != nil && by.Mode == gosmtp.DeliverByReturn && m.more.HoldUntil.After(time.Now().Add(by.Time)) {
		return m, errBadParam // returned before it may even leave
	}
	return m, nil
}

func (s *session) mailParam(p param, m *mailParams) *gosmtp.SMTPError {
	ok := true
	switch limit := s.server.MaxSize; p.key {
	case "SIZE":
		if m.Size, ok = parseSize(p.value); limit > 0 && m.Size > limit {
			return errTooLarge
		}
	case "BODY":
		m.Body = gosmtp.BodyType(strings.ToUpper(p.value))
		ok = m.Body == gosmtp.Body7Bit || m.Body == gosmtp.Body8BitMIME || m.Body == gosmtp.BodyBinaryMIME && s.server.Extensions.BinaryMIME
	case "SMTPUTF8":
		m.UTF8, ok = true, !p.hasValue
	case "RET":
		m.Return = gosmtp.DSNReturn(strings.ToUpper(p.value))
		ok = m.Return == gosmtp.DSNReturnFull || m.Return == gosmtp.DSNReturnHeaders
	case "ENVID":
		// RFC 3461 §4.4: at most 100 octets, printable.
		id, err := smtp.ParseXtext(p.value)
		m.EnvelopeID, ok = id, err == nil && id != "" && len(p.value) <= 100
	default:
		return s.extendedParam(p, m)
	}
	if !ok {
		return errBadParam
	}
	return nil
}

// parseSize reads up to 20 digits (RFC 1870 §4); what is too large for a
// number is just very large.
func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	return n, true
}

// rcptOptions reads the parameters of RCPT and returns ORCPT as it was written.
func rcptOptions(params []param, utf8 bool) (o *gosmtp.RcptOptions, orcpt string, _ *gosmtp.SMTPError) {
	o = &gosmtp.RcptOptions{}
	for _, p := range params {
		ok := true
		switch p.key {
		case "NOTIFY":
			n, err := smtp.ParseNotify(p.value)
			ok = err == nil
			if ok {
				for word := range strings.SplitSeq(n.String(), ",") {
					o.Notify = append(o.Notify, gosmtp.DSNNotify(word))
				}
			}
		case "ORCPT":
			orcpt = p.value
			o.OriginalRecipientType, o.OriginalRecipient, ok = parseORCPT(p.value, utf8)
		default:
			return nil, "", errUnknownParam
		}
		if !ok {
			return nil, "", errBadParam
		}
	}
	return o, orcpt, nil
}

// parseORCPT reads "type;xtext" (RFC 3461 §4.2: at most 500 octets), for the
// type utf-8 also its own encodings (RFC 6533 §3), which are kept as they are.
func parseORCPT(s string, utf8 bool) (kind gosmtp.DSNAddressType, address string, ok bool) {
	name, value, found := strings.Cut(s, ";")
	if !found || value == "" || len(s) > 500 || name == "" {
		return "", "", false
	}
	kind = gosmtp.DSNAddressType(strings.ToUpper(name))
	if kind == gosmtp.DSNAddressTypeUTF8 {
		for i := range len(value) {
			if c := value[i]; c <= ' ' || c == 0x7f || c >= 0x80 && !utf8 {
				return "", "", false
			}
		}
		return kind, value, true
	}
	parse := smtp.ParseXtext
	if utf8 {
		parse = smtp.ParseXtextUTF8
	}
	address, err := parse(value)
	return kind, address, err == nil && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}
