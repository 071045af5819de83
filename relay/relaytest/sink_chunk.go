package relaytest

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// bdat: RFC 3030. The chunk is read before anything is said, whatever that is.
func (ss *session) bdat(c Command, args string) {
	size, last, _ := strings.Cut(args, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 || last != "" && !strings.EqualFold(last, "LAST") || !ss.has("CHUNKING") {
		ss.violate("bad syntax, or not offered: %q", c.Line)
		ss.step(c, "501 5.5.4 bad syntax")
		ss.done = true
		return
	}
	usual := "250 2.0.0 chunk taken"
	switch {
	case !ss.mail || ss.spoiled:
		usual = "503 5.5.1 no transaction"
	case len(ss.next.To) == 0:
		usual = "554 5.5.1 no valid recipients"
	}
	if n > 0 {
		if a := ss.sink.action(Command{Conn: ss.id, Verb: "CONTENT", TLS: ss.next.TLS}); a != (Action{}) && !ss.interrupt(a) {
			return
		}
	}
	chunk, err := ss.readChunk(n)
	if err != nil {
		ss.done = true
		return
	}
	if last == "" || usual[0] != '2' {
		if ss.step(c, usual) != 2 {
			ss.spoiled = ss.mail // RFC 3030 §2: until RSET
		} else {
			ss.next.Content = append(ss.next.Content, chunk...)
		}
		return
	}
	ss.sink.action(c)
	ss.next.Content = append(ss.next.Content, chunk...)
	ss.next.Wire = append(ss.next.Wire, chunk...)
	ss.checkChunked(ss.next.Content)
	if ss.sink.counting {
		ss.next.Content, ss.next.Wire = nil, nil
	}
	ss.next.Chunked = true
	ss.verdicts()
}

func (ss *session) readChunk(n int64) ([]byte, error) {
	var b bytes.Buffer
	_, err := io.CopyN(&b, ss.br, n)
	return b.Bytes(), err
}

// checkChunked: content that is not declared binary has the lines of any other
// (RFC 3030 §3), and 8 bits only where they are declared.
func (ss *session) checkChunked(content []byte) {
	line := strings.ToUpper(ss.next.MailLine) + " "
	if strings.Contains(line, " BODY=BINARYMIME ") {
		return
	}
	crlf := bytes.Count(content, []byte("\r\n"))
	if bytes.Count(content, []byte("\r")) != crlf || bytes.Count(content, []byte("\n")) != crlf {
		ss.violate("bare CR or LF in content")
	}
	if bytes.ContainsFunc(content, func(r rune) bool { return r >= 0x80 }) && !strings.Contains(line, " BODY=8BITMIME ") {
		ss.violate("8-bit content without BODY=8BITMIME")
	}
}
