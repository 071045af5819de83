package sevenbit

import (
	"bytes"
	"unicode/utf8"
)

// maxLine is the longest line of text, without its end (RFC 5322 §2.1.1).
const maxLine = 998

// scanner notes what each leaf needs.
type scanner struct {
	info *Info
	now  leaf
	line int  // octets in the line so far
	cr   bool // the last piece ended in CR
}

func (s *scanner) header(h *section) {
	s.info.HeaderEightBit = s.info.HeaderEightBit || !ascii(h.raw)
}

func (s *scanner) body(piece []byte) {
	s.now.eightBit = s.now.eightBit || !ascii(piece)
	s.now.other = s.now.other || !utf8.Valid(piece)
	ends := bytes.Count(piece, []byte("\r\n"))
	crs, lfs := ends, ends
	if s.cr && piece[0] == '\n' {
		lfs++
	} else if s.cr {
		s.now.bare = true
	}
	if s.cr = piece[len(piece)-1] == '\r'; s.cr {
		crs++
	}
	if bytes.Count(piece, []byte{'\r'}) != crs || bytes.Count(piece, []byte{'\n'}) != lfs || bytes.IndexByte(piece, 0) >= 0 {
		s.now.bare = true
	}
	if s.line += len(bytes.TrimSuffix(piece, []byte("\r\n"))); s.line > maxLine {
		s.now.long = true
	}
	if ends > 0 || lfs > 0 {
		s.line = 0
	}
}

func (s *scanner) end(bool) {
	s.info.leaves = append(s.info.leaves, s.now)
	s.now, s.line, s.cr = leaf{}, 0, false
}

func (s *scanner) outside([]byte) {}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
