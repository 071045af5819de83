package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"waypost/relay/message"
	"waypost/relay/smtp"
)

// addressField returns a path as the recipient fields have it, its type
// first. native says that UTF-8 may stand in the field.
func addressField(p smtp.Path, native bool) string {
	s := smtp.Printable(p.String())
	switch {
	case p.ASCII():
		return "rfc822; " + s
	case native:
		return "utf-8; " + s
	}
	return "utf-8; " + embed(s)
}

// originalField returns ORCPT as the Original-Recipient field has it, decoded
// (RFC 3461 §6.3, RFC 6533 §3), and whether it could be read at all.
func originalField(orcpt string, native bool) (string, bool) {
	kind, encoded, ok := strings.Cut(orcpt, ";")
	if !ok || kind == "" || encoded == "" || message.ASCII(kind) != kind || strings.Contains(kind, " ") {
		return "", false
	}
	if strings.EqualFold(kind, "utf-8") {
		s := smtp.Printable(unembed(encoded))
		if !native {
			s = embed(s)
		}
		return kind + "; " + s, true
	}
	if s, err := smtp.ParseXtext(encoded); err == nil {
		return kind + "; " + s, true
	}
	s, err := smtp.ParseXtextUTF8(encoded)
	if err != nil {
		return "", false
	}
	if !native {
		s = embed(s)
	}
	return "utf-8; " + s, true // what it is, whatever it was called
}

// needsUTF8 reports whether a recipient's addresses are not all ASCII.
func needsUTF8(rcpt *Recipient) bool {
	if !rcpt.Final.ASCII() {
		return true
	}
	original, ok := originalField(rcpt.Original, true)
	return ok && message.ASCII(original) != original
}

// readable returns a path for people: as it is where UTF-8 may stand, else
// with what is not ASCII spelt out.
func readable(p smtp.Path, native bool) string {
	s := smtp.Printable(p.String())
	if !native && !p.ASCII() {
		s = embed(s)
	}
	return s
}

// embed returns s in the 7-bit form of an internationalised address: what is
// not plain becomes \x{HEX} (RFC 6533 §3, utf-8-addr-xtext).
func embed(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unembed undoes embed. What is no valid \x{HEX} stays as it is.
func unembed(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits, after, closed := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(digits, 16, 32)
		if !closed || err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			b.WriteString(`\x{`)
			s = rest
			continue
		}
		b.WriteRune(rune(n))
		s = after
	}
}
