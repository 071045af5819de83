package smtp

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Notify says which reports a sender asked for, for one recipient
// (RFC 3461 §4.1). The zero value means that NOTIFY was not given.
type Notify uint8

// The values of NOTIFY. NotifyNever stands alone.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

var notifyWords = []struct {
	flag Notify
	word string
}{{NotifyNever, "NEVER"}, {NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}}

// Failure reports whether a failure is to be reported: when it was asked for
// or nothing was said (RFC 3461 §5.2.6).
func (n Notify) Failure() bool { return n == 0 || n&NotifyFailure != 0 }

// Delay reports whether a delay may be reported (RFC 3461 §5.2.5).
func (n Notify) Delay() bool { return n == 0 || n&NotifyDelay != 0 }

// Success reports whether delivery is to be reported; only when it was asked
// for (RFC 3461 §5.2.2).
func (n Notify) Success() bool { return n&NotifySuccess != 0 }

// String returns the value of the parameter, "SUCCESS,DELAY"; empty when
// NOTIFY was not given.
func (n Notify) String() string {
	var words []string
	for _, w := range notifyWords {
		if n&w.flag != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// ParseNotify reads the value of NOTIFY: NEVER alone, or a list of SUCCESS,
// FAILURE and DELAY, each once, in any case (RFC 3461 §4.1).
func ParseNotify(s string) (Notify, error) {
	var n Notify
	for word := range strings.SplitSeq(strings.ToUpper(s), ",") {
		var flag Notify
		for _, w := range notifyWords {
			if w.word == word {
				flag = w.flag
			}
		}
		if flag == 0 || n&flag != 0 {
			return 0, errors.New("bad NOTIFY value")
		}
		n |= flag
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, errors.New("NOTIFY=NEVER stands alone")
	}
	return n, nil
}

// Xtext returns s as xtext (RFC 3461 §4): printable ASCII but for + and =,
// everything else as +XX.
func Xtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.WriteByte('+')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ParseXtext decodes xtext. Only upper-case hexadecimal digits are valid
// (RFC 3461 §4), and what comes out must be printable ASCII or space: a
// decoded line end or NUL would reach logs and reports.
func ParseXtext(s string) (string, error) {
	text, err := decodeXtext(s)
	if err == nil && strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		err = errors.New("bad xtext: not printable")
	}
	if err != nil {
		return "", err
	}
	return text, nil
}

// ParseXtextUTF8 is ParseXtext for a transaction with SMTPUTF8, where some
// senders encode the octets of UTF-8 the same way, although RFC 6533 §3 has a
// form of its own for that.
func ParseXtextUTF8(s string) (string, error) {
	text, err := decodeXtext(s)
	if err == nil && (!utf8.ValidString(text) || strings.ContainsFunc(text, isControl)) {
		err = errors.New("bad xtext: not printable")
	}
	if err != nil {
		return "", err
	}
	return text, nil
}

func decodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", errors.New("bad xtext: + without two digits")
			}
			hi, lo := upperHex(s[i+1]), upperHex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", errors.New("bad xtext: + without two digits")
			}
			c = byte(hi<<4 | lo)
			i += 2
		case c < '!' || c > '~' || c == '=':
			return "", errors.New("bad xtext: character out of range")
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

func upperHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
