package message

import (
	"strings"
	"unicode/utf8"
)

// Widths of a line, without its CRLF (RFC 5322 §2.1.1).
const (
	// foldWidth is where we fold: 78 columns, less one for a separator that
	// may follow a word.
	foldWidth = 77
	// hardWidth is the longest piece of one word on a line. It stays under
	// 998 with a field name before it.
	hardWidth = 900
)

// Field writes one header field, folded at 78 columns where its words allow
// it and never over 998. Control characters are replaced by question marks,
// so that no text can end the field. Octets over 127 pass; see ASCII.
//
// Start one with NewField, add words, and take the result from End.
type Field struct {
	b     []byte
	col   int
	words int
	force bool // the next word goes on a new line
}

// NewField starts the field name at the end of b. The name is trusted.
func NewField(b []byte, name string) *Field {
	b = append(b, name...)
	return &Field{b: append(b, ':'), col: len(name) + 1}
}

// Word adds s behind a space or a fold, and keeps it in one piece unless no
// line could hold it. An empty word adds nothing.
func (f *Field) Word(s string) {
	if s == "" {
		return
	}
	// The first word stays beside the name: some parsers stumble over a
	// first line that has a name only.
	tooFar := f.col+1+len(s) > foldWidth && f.words > 0
	if f.force || tooFar {
		f.b = append(f.b, '\r', '\n')
		f.col = 0
	}
	f.force = false
	f.words++
	f.b = append(f.b, ' ')
	f.col++
	for len(s) > hardWidth {
		cut := hardWidth
		for cut > hardWidth-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		f.glue(s[:cut])
		f.b = append(f.b, '\r', '\n', ' ')
		f.col, s = 1, s[cut:]
	}
	f.glue(s)
}

// Text adds every word of s, folding between them. Runs of white space and
// line ends become single spaces.
func (f *Field) Text(s string) {
	for len(s) > 0 {
		start := 0
		for start < len(s) && isSpace(s[start]) {
			start++
		}
		end := start
		for end < len(s) && !isSpace(s[end]) {
			end++
		}
		f.Word(s[start:end])
		s = s[end:]
	}
}

// Fold puts the next word on a new line.
func (f *Field) Fold() { f.force = true }

// End finishes the field with CRLF and returns the slice it was built on.
func (f *Field) End() []byte { return append(f.b, '\r', '\n') }

// glue adds s without a space before it.
func (f *Field) glue(s string) {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		f.b = append(f.b, c)
	}
	f.col += len(s)
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// ASCII returns s with everything but printable ASCII and spaces replaced by
// question marks, one for each octet that is a control character and one for
// each character over U+007F.
func ASCII(s string) string {
	if !strings.ContainsFunc(s, notPrintable) {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if notPrintable(r) {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return string(b)
}

func notPrintable(r rune) bool { return r < ' ' || r >= 0x7f }

// IsASCII reports whether s has no octet over 127.
func IsASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}
