package smtp

import (
	"strconv"
	"strings"
)

// EnhancedCode is an enhanced status code, class.subject.detail (RFC 3463).
// The zero value means that there is none.
type EnhancedCode [3]int

// String returns the code as it is written, "5.1.1"; empty when there is none.
func (e EnhancedCode) String() string {
	if e == (EnhancedCode{}) {
		return ""
	}
	b := strconv.AppendInt(make([]byte, 0, len("5.123.123")), int64(e[0]), 10)
	for _, n := range e[1:] {
		b = strconv.AppendInt(append(b, '.'), int64(n), 10)
	}
	return string(b)
}

// ParseEnhanced takes an enhanced status code off the start of a reply's
// text. ok is false, and rest is s, when there is none. RFC 3463 §2.
func ParseEnhanced(s string) (code EnhancedCode, rest string, ok bool) {
	word, rest, _ := strings.Cut(s, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return EnhancedCode{}, s, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(part) > 3 || (len(part) > 1 && part[0] == '0') {
			return EnhancedCode{}, s, false
		}
		code[i] = int(n)
	}
	return code, rest, true
}

// Reply is the answer to one command: a code and at least one line of text.
type Reply struct {
	// Code has three digits, 200 to 599. Zero means that there was no reply.
	Code int
	// Enhanced is the status code of the first line, or zero.
	Enhanced EnhancedCode
	// Lines is the text of each line, without code and enhanced code.
	Lines []string
}

// NewReply returns a reply of one line.
func NewReply(code int, enhanced EnhancedCode, text string) Reply {
	return Reply{Code: code, Enhanced: enhanced, Lines: []string{text}}
}

// Positive reports whether the command succeeded: 2yz.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Temporary reports whether the command may succeed later: 4yz.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports whether the command should not be repeated: 5yz.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Status returns the enhanced code, or the generic one of the reply's class
// where the reply had none or one of another class (RFC 3463 §2: the class
// must match the reply's first digit, and the reply is what counts).
func (r Reply) Status() EnhancedCode {
	class := r.Code / 100
	if r.Enhanced[0] == class || class < 2 || class > 5 {
		return r.Enhanced
	}
	return EnhancedCode{class, 0, 0}
}

// String returns the whole reply on one line, as it stands in logs and in
// the Diagnostic-Code of reports. Control characters are replaced, so that
// the text of a stranger can neither end a line nor steer a terminal.
func (r Reply) String() string {
	size := len("250 2.0.0")
	for _, line := range r.Lines {
		size += len(" ") + len(line)
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(strconv.Itoa(r.Code))
	for i, line := range r.Lines {
		if r.Enhanced != (EnhancedCode{}) && i == 0 {
			b.WriteByte(' ')
			b.WriteString(r.Enhanced.String())
		}
		if line != "" {
			b.WriteByte(' ')
			b.WriteString(Printable(line))
		}
	}
	return b.String()
}

// Printable returns s with every control character, every mark that shows nothing
// and turns or hides what is beside it, and every octet that is not UTF-8 replaced
// by a question mark.
func Printable(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~'
	}
	if plain {
		return s // as almost always
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) || isHidden(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// isHidden tells what shows nothing and changes what is seen beside it: marks that
// turn the direction of text, and blanks without a width. The joiners, without
// which some scripts cannot be written, are none of them.
func isHidden(r rune) bool {
	switch r {
	case 0x061c, 0x200b, 0x200e, 0x200f, 0x2060, 0xfeff, 0xfffd:
		return true
	}
	return 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}

// AppendWire appends the reply as it goes over the wire: the code on every
// line, and the enhanced code on every line (RFC 2034 §4).
func (r Reply) AppendWire(b []byte) []byte {
	for i, line := range r.Lines {
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if i < len(r.Lines)-1 {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if r.Enhanced != (EnhancedCode{}) {
			b = append(b, r.Enhanced.String()...)
			b = append(b, ' ')
		}
		b = append(b, line...)
		b = append(b, '\r', '\n')
	}
	return b
}
