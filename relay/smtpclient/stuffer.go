package smtpclient

import "bytes"

// stuffer makes content transparent: a dot at the start of a line is doubled
// (RFC 5321 §4.5.2). It refuses content with a bare CR or LF before any octet
// of that piece is passed on, so that no host ever has to judge what such a
// line end means (RFC 5321 §2.3.8).
type stuffer struct {
	flush func([]byte) error
	out   []byte // waits for company; its capacity is fixed
	dots  []int  // reused between pieces
	start bool   // at the start of a line
	cr    bool   // the last octet was CR
}

// add takes a piece of content, cut anywhere.
func (s *stuffer) add(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := s.scan(p); err != nil {
		return err
	}
	from := 0
	for _, dot := range s.dots {
		if err := s.put(p[from:dot]); err != nil {
			return err
		}
		// put leaves room for one octet at least.
		if s.out = append(s.out, '.'); len(s.out) == cap(s.out) {
			if err := s.drain(); err != nil {
				return err
			}
		}
		from = dot
	}
	return s.put(p[from:])
}

// scan finds the dots to double and checks the line ends. It looks at each
// line, not at each octet.
func (s *stuffer) scan(p []byte) error {
	s.dots = s.dots[:0]
	if s.cr && p[0] != '\n' {
		return ErrBareLineEnd
	}
	crs := 0 // CRs that stand before an LF, or at the end, in p
	for line := 0; line < len(p); {
		if s.start && p[line] == '.' {
			s.dots = append(s.dots, line)
		}
		n := bytes.IndexByte(p[line:], '\n')
		if n < 0 {
			s.start = false
			break
		}
		end := line + n
		switch {
		case end > 0 && p[end-1] == '\r':
			crs++
		case end > 0 || !s.cr:
			return ErrBareLineEnd
		}
		s.start, line = true, end+1
	}
	if s.cr = p[len(p)-1] == '\r'; s.cr {
		crs++
	}
	if bytes.Count(p, []byte{'\r'}) != crs {
		return ErrBareLineEnd
	}
	return nil
}

// put passes octets on in blocks. A piece as large as a block does not take
// the way through the buffer.
func (s *stuffer) put(p []byte) error {
	for len(p) > 0 {
		if len(s.out) == 0 && len(p) >= cap(s.out) {
			return s.flush(p)
		}
		n := min(len(p), cap(s.out)-len(s.out))
		s.out = append(s.out, p[:n]...)
		p = p[n:]
		if len(s.out) == cap(s.out) {
			if err := s.drain(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stuffer) drain() error {
	err := s.flush(s.out)
	s.out = s.out[:0]
	return err
}

// finish ends the last line if it has no end, adds the final dot, and writes
// all that is left in one write.
func (s *stuffer) finish() error {
	if s.cr {
		return ErrBareLineEnd
	}
	end := "\r\n.\r\n"
	// RFC 5321 §4.1.1.4: the CRLF of the last line is the first of the
	// end's, and there is never one more.
	if s.start {
		end = end[2:]
	}
	if cap(s.out)-len(s.out) < len(end) {
		if err := s.drain(); err != nil {
			return err
		}
	}
	s.out = append(s.out, end...)
	return s.drain()
}
