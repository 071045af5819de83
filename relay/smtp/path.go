package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a path. RFC 5321 §4.5.3.1 asks for at least 64 octets of local
// part, 255 of domain and 256 of path; longer local parts exist (VERP), so
// ours is wider.
const (
	maxLocal  = 256
	maxDomain = 255
)

// Reasons why a path or a domain is refused. They are wrapped with detail;
// compare with errors.Is.
var (
	// ErrSyntax means that the text is no path at all.
	ErrSyntax = errors.New("bad path syntax")
	// ErrLocal means that the local part has octets that it may not have.
	ErrLocal = errors.New("bad local part")
	// ErrDomain means that the domain or address literal is not valid.
	ErrDomain = errors.New("bad domain")
	// ErrUTF8 means that the path is not ASCII and SMTPUTF8 was not asked for.
	ErrUTF8 = errors.New("non-ASCII path without SMTPUTF8")
)

// Path is a reverse-path or a forward-path: a mailbox, without its source
// route and without angle brackets. The zero value is the null reverse-path.
type Path struct {
	// Local is the local part by meaning: unquoted, its case kept
	// (RFC 5321 §2.4).
	Local string
	// Domain is a domain name as it was given, or an address literal with
	// its brackets. It is empty for the null path and for "postmaster".
	Domain string
}

// IsNull reports whether p is the null reverse-path.
func (p Path) IsNull() bool { return p.Local == "" && p.Domain == "" }

// IsPostmaster reports whether the local part is the reserved mailbox, in
// any case (RFC 5321 §4.5.1).
func (p Path) IsPostmaster() bool { return strings.EqualFold(p.Local, "postmaster") }

// ASCII reports whether p can be written without SMTPUTF8.
func (p Path) ASCII() bool { return isASCII(p.Local) && isASCII(p.Domain) }

// String returns the canonical mailbox, without angle brackets: the local
// part quoted only where it must be (RFC 5321 §4.1.2, "minimum quoting").
// The null path is the empty string.
func (p Path) String() string {
	if p.IsNull() {
		return ""
	}
	local := quoteLocal(p.Local)
	if p.Domain == "" {
		return local
	}
	return local + "@" + p.Domain
}

// ParsePath parses an angle-bracketed path at the start of s and returns it
// with what follows it. A source route is parsed and dropped (RFC 5321
// §4.1.1.3, Appendix C). The null path is returned as the zero Path; whether
// it is allowed is for the caller to say.
func ParsePath(s string, utf8 bool) (p Path, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return Path{}, s, fmt.Errorf("%w: no opening angle bracket", ErrSyntax)
	}
	s = s[1:]
	if rest, ok := strings.CutPrefix(s, ">"); ok {
		return Path{}, rest, nil
	}
	if s, err = skipSourceRoute(s, utf8); err != nil {
		return Path{}, s, err
	}
	local, s, err := cutLocal(s)
	if err != nil {
		return Path{}, s, err
	}
	domain, ok := "", false
	if s, ok = strings.CutPrefix(s, "@"); ok {
		end := strings.IndexByte(s, '>')
		if end < 0 {
			return Path{}, s, fmt.Errorf("%w: no closing angle bracket", ErrSyntax)
		}
		domain, s = s[:end], s[end:]
		if domain == "" {
			return Path{}, s, fmt.Errorf("%w: it is empty", ErrDomain)
		}
	}
	if s, ok = strings.CutPrefix(s, ">"); !ok {
		return Path{}, s, fmt.Errorf("%w: no closing angle bracket", ErrSyntax)
	}
	p = Path{Local: local, Domain: domain}
	return p, s, p.check(utf8)
}

// ParseMailbox reads a mailbox as it is written, a path without its angle
// brackets. The empty string is the null path.
func ParseMailbox(s string, utf8 bool) (Path, error) {
	p, rest, err := ParsePath("<"+s+">", utf8)
	if err == nil && rest != "" {
		err = fmt.Errorf("%w: an angle bracket within", ErrSyntax)
	}
	return p, err
}

// Unquoted returns the mailbox in the form in which go-smtp's Session receives
// it, and that SplitPath reads.
func (p Path) Unquoted() string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// SplitPath reads a mailbox in the form in which go-smtp's Session receives
// it: the local part already unquoted, so that the last @ is the one that
// counts. It accepts exactly what ParsePath accepts by meaning.
func SplitPath(s string, utf8 bool) (Path, error) {
	if s == "" {
		return Path{}, nil
	}
	p := Path{Local: s}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		p = Path{Local: s[:at], Domain: s[at+1:]}
		if p.Domain == "" {
			return Path{}, fmt.Errorf("%w: it is empty", ErrDomain)
		}
	}
	return p, p.check(utf8)
}

func (p Path) check(utf8OK bool) error {
	// RFC 5321 §4.5.1: the one mailbox that needs no domain.
	if p.Domain == "" && !p.IsPostmaster() {
		return fmt.Errorf("%w: no domain", ErrSyntax)
	}
	if p.Local == "" || len(p.Local) > maxLocal {
		return fmt.Errorf("%w: %d octets", ErrLocal, len(p.Local))
	}
	// RFC 5321 §2.4 and RFC 6531 §3.1: no octet over 127 without SMTPUTF8.
	if !utf8OK && !p.ASCII() {
		return ErrUTF8
	}
	if !utf8.ValidString(p.Local) {
		return fmt.Errorf("%w: not UTF-8", ErrLocal)
	}
	// RFC 5321 §4.1.2: no control characters, quoted or not.
	if strings.ContainsFunc(p.Local, isControl) {
		return fmt.Errorf("%w: control character", ErrLocal)
	}
	if p.Domain == "" {
		return nil
	}
	return CheckDomain(p.Domain)
}

func isControl(r rune) bool {
	// U+2028 and U+2029 end lines in some displays and in JavaScript.
	return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0x2028 || r == 0x2029
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func skipSourceRoute(s string, utf8 bool) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	end := strings.IndexByte(s, ':')
	if end < 0 {
		return s, fmt.Errorf("%w: source route without colon", ErrSyntax)
	}
	for hop := range strings.SplitSeq(s[:end], ",") {
		domain, ok := strings.CutPrefix(hop, "@")
		if !ok || (!utf8 && !isASCII(domain)) {
			return s, fmt.Errorf("%w: bad source route", ErrSyntax)
		}
		if err := CheckDomain(domain); err != nil {
			return s, err
		}
	}
	return s[end+1:], nil
}

// cutLocal takes a dot-string or a quoted string off s and unquotes it.
// Dots in unusual places are taken as they come: such mailboxes exist, and
// they leave here quoted.
func cutLocal(s string) (local, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := 0
		for end < len(s) && isAtext(s[end]) {
			end++
		}
		if end == 0 {
			return "", s, fmt.Errorf("%w: it is empty or has a special character", ErrLocal)
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			if i++; i == len(s) {
				return "", s, fmt.Errorf("%w: nothing after the backslash", ErrLocal)
			}
		}
		b.WriteByte(s[i])
	}
	return "", s, fmt.Errorf("%w: quotation not closed", ErrLocal)
}

// isAtext reports whether c may stand in an unquoted local part, dots and
// UTF-8 (RFC 6531 §3.3) included.
func isAtext(c byte) bool {
	return c >= 0x80 || c == '.' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func quoteLocal(s string) string {
	if isDotString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isDotString(s string) bool {
	dot := true // a dot may not come first, last or twice
	for i := range len(s) {
		if !isAtext(s[i]) || (s[i] == '.' && dot) {
			return false
		}
		dot = s[i] == '.'
	}
	return !dot
}
