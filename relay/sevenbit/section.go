package sevenbit

import (
	"bytes"
	"mime"
	"regexp"
	"strings"
	"unicode/utf8"
)

// section is a header section.
type section struct {
	raw      []byte   // with the empty line that ends it, if there is one
	fields   [][]byte // with their line ends
	rest     []byte   // what follows the fields: the empty line
	top      bool     // of a message, not of a part
	media    string   // the type, in lower case; empty when there is none
	boundary string
	encoding string // in lower case; empty when there is none
	digest   bool
	version  bool // MIME-Version is there
}

var boundaryParameter = regexp.MustCompile(`(?i)boundary\s*=\s*"?([^"\s;]+)`)

// newSection reads a header section. Of a part of a digest the default type is
// message/rfc822 (RFC 2046 §5.1.5).
func newSection(raw []byte, digest, top bool) *section {
	h := &section{raw: bytes.Clone(raw), top: top}
	for rest := h.raw; len(rest) > 0; {
		n := fieldLength(rest)
		if field := string(rest[:n]); field == "\r\n" || field == "\n" {
			h.rest = rest
			break
		}
		h.fields, rest = append(h.fields, rest[:n]), rest[n:]
	}
	for _, field := range h.fields {
		switch name, value := split(field); strings.ToLower(name) {
		case "content-type":
			h.media, h.boundary = mediaType(value)
		case "content-transfer-encoding":
			h.encoding = strings.ToLower(strings.TrimSpace(value))
		case "mime-version":
			h.version = true
		}
	}
	h.digest = h.media == "multipart/digest"
	if h.media == "" && digest {
		h.media = "message/rfc822"
	}
	return h
}

// fieldLength returns the length of a field with the lines that continue it.
func fieldLength(b []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		if n += i + 1; n == len(b) || b[n] != ' ' && b[n] != '\t' {
			return n
		}
	}
}

// split returns a field's name and its value, unfolded.
func split(field []byte) (name, value string) {
	n, v, ok := strings.Cut(string(field), ":")
	if !ok {
		return "", ""
	}
	return strings.TrimSpace(n), strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(v))
}

func mediaType(value string) (media, boundary string) {
	media, params, err := mime.ParseMediaType(value)
	if media == "" {
		media, _, _ = strings.Cut(value, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	boundary = params["boundary"]
	if m := boundaryParameter.FindStringSubmatch(value); err != nil && boundary == "" && m != nil {
		boundary = m[1]
	}
	return media, strings.TrimRight(boundary, " ")
}

// multipart reports whether parts follow. Without a boundary nobody could tell
// them apart.
func (h *section) multipart() bool {
	return strings.HasPrefix(h.media, "multipart/") && h.boundary != "" && h.identity()
}

// message reports whether a whole message follows.
func (h *section) message() bool { return h.media == "message/rfc822" && h.identity() }

// identity reports whether the body stands as it is, not encoded.
func (h *section) identity() bool {
	switch h.encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

func (h *section) text() bool { return h.media == "" || strings.HasPrefix(h.media, "text/") }

// write appends the section in 7 bits, with another encoding if one is given.
// charset is for a body that has no type.
func (h *section) write(b []byte, encoding, charset string) []byte {
	placed := encoding == ""
	for _, field := range h.fields {
		name, _ := split(field)
		switch {
		case encoding != "" && strings.EqualFold(name, "Content-Transfer-Encoding"):
			if !placed {
				b = append(append(append(b, "Content-Transfer-Encoding: "...), encoding...), "\r\n"...)
			}
			placed = true
		case ascii(field):
			b = append(b, field...)
		default:
			b = encodeField(b, field)
		}
	}
	if encoding != "" && encoding != "7bit" && h.top && !h.version {
		b = append(b, "MIME-Version: 1.0\r\n"...)
	}
	if encoding != "" && encoding != "7bit" && h.media == "" {
		b = append(append(append(b, "Content-Type: text/plain; charset="...), charset...), "\r\n"...)
	}
	if !placed && encoding != "7bit" {
		b = append(append(append(b, "Content-Transfer-Encoding: "...), encoding...), "\r\n"...)
	}
	return append(b, h.rest...)
}

// encodeField appends a field with octets over 127, as encoded words (RFC
// 2047). Such a field is against the rules, so that there is no right way; names
// stay readable, and so do file names in most programs.
func encodeField(b, field []byte) []byte {
	name, value := split(field)
	b = append(append(b, question([]byte(name))...), ": "...)
	inQuotes := strings.HasPrefix(strings.ToLower(name), "content-")
	for len(value) > 0 {
		var token string
		token, value = cutToken(value)
		switch {
		case ascii([]byte(token)):
			b = append(b, token...)
		case token[0] == '"' && inQuotes:
			b = append(append(append(b, '"'), encodeWord(unquote(token))...), '"')
		case token[0] == '"':
			b = append(b, encodeWord(unquote(token))...)
		default:
			b = append(b, encodeWord(token)...)
		}
	}
	return append(b, "\r\n"...)
}

// cutToken takes a quoted string, a run of words with octets over 127 and the
// blanks between them, or one other word or sign.
func cutToken(s string) (token, rest string) {
	if s[0] == '"' {
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == '"' {
				return s[:i+1], s[i+1:]
			}
		}
		return s, ""
	}
	const signs = " \t()<>[]:;,@\""
	end := 0
	for at := 0; at < len(s); {
		n := strings.IndexAny(s[at:], signs)
		if n < 0 {
			n = len(s) - at
		}
		if n == 0 || ascii([]byte(s[at:at+n])) {
			break
		}
		end = at + n
		at = end
		for at < len(s) && s[at] == ' ' {
			at++
		}
	}
	if end > 0 {
		return s[:end], s[end:]
	}
	if n := strings.IndexAny(s, signs); n > 0 {
		return s[:n], s[n:]
	} else if n < 0 {
		return s, ""
	}
	return s[:1], s[1:]
}

func unquote(s string) string {
	s = strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`)
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s)
}

// encodeWord returns encoded words, each on a line of its own.
func encodeWord(s string) string {
	charset := "utf-8"
	if !utf8.ValidString(s) {
		charset = "unknown-8bit"
	}
	return strings.ReplaceAll(mime.QEncoding.Encode(charset, s), "?= =?", "?=\r\n =?")
}

// question replaces what nobody can read anyway.
func question(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, b)
}
