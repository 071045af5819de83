package relaytest

import (
	"bytes"
	"io"
	"strings"
)

func (ss *session) data(c Command) {
	usual := "354 go ahead"
	if strings.Contains(strings.ToUpper(ss.next.MailLine)+" ", " BODY=BINARYMIME ") {
		ss.violate("DATA for binary content")
	}
	switch {
	case !ss.mail:
		usual = "503 5.5.1 MAIL first"
	case len(ss.next.To) == 0:
		usual = "554 5.5.1 no valid recipients"
	}
	if ss.step(c, usual) != 3 || ss.done || ss.bw.Flush() != nil {
		return
	}
	a := ss.sink.action(Command{Conn: ss.id, Verb: "CONTENT", TLS: ss.next.TLS})
	if a != (Action{}) && !ss.interrupt(a) {
		return
	}
	if err := ss.readContent(); err != nil {
		ss.done = true
		return
	}
	ss.verdicts()
}

// verdicts replies to the final dot; by LMTP for each recipient (RFC 2033
// §4.2).
func (ss *session) verdicts() {
	if !ss.sink.lmtp || len(ss.next.To) == 0 {
		m := ss.next
		ss.reset()
		ss.verdict(m, "")
		return
	}
	all := ss.next
	ss.reset()
	for i, to := range all.To {
		m := all
		m.To, m.RcptLines = []string{to}, all.RcptLines[i:i+1]
		if ss.verdict(m, to); ss.done {
			return
		}
	}
}

// verdict replies to the content of m, for a mailbox or for all.
func (ss *session) verdict(m Message, mailbox string) {
	a := ss.sink.action(Command{Conn: ss.id, Verb: "DOT", Mailbox: mailbox, TLS: m.TLS})
	usual := "250 2.0.0 taken"
	if len(m.To) == 0 {
		usual = "554 5.5.1 no valid recipients"
	}
	// A message counts before its sender hears of it, so that whoever heard
	// of it can look for it.
	digit := usual[0]
	if a.Reply != "" {
		digit = a.Reply[0]
	}
	if taken := digit == '2' && !a.Silent && a.Raw == ""; a.Store || taken {
		ss.sink.store(m)
	}
	ss.act(a, usual)
}

// interrupt does something in the middle of the content, and reports whether
// the content is read on as if nothing had happened.
func (ss *session) interrupt(a Action) bool {
	if n, err := io.CopyN(io.Discard, ss.br, int64(a.After)); err != nil {
		ss.violate("content ended after %d octets: %v", n, err)
		ss.done = true
		return false
	}
	if a.Reply == "" && a.Raw == "" {
		a.Silent = true
	}
	ss.act(a, "")
	if ss.bw.Flush() != nil {
		ss.done = true
	}
	return !ss.done
}

// readContent reads up to the final dot, line by line, and undoes the
// dot-stuffing (RFC 5321 §4.5.2).
func (ss *session) readContent() error {
	m, eight := &ss.next, false
	for {
		line, err := ss.br.ReadBytes('\n')
		if !ss.sink.counting || bytes.Equal(line, []byte(".\r\n")) {
			m.Wire = append(m.Wire, line...)
		}
		if err != nil {
			return err
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			break
		}
		if !bytes.HasSuffix(line, []byte("\r\n")) || bytes.Count(line, []byte("\r")) != 1 {
			ss.violate("bare CR or LF in content: %q", line[:min(len(line), 100)])
		}
		eight = eight || bytes.ContainsFunc(line, func(r rune) bool { return r >= 0x80 })
		if unstuffed, ok := bytes.CutPrefix(line, []byte(".")); ok {
			if !bytes.HasPrefix(unstuffed, []byte(".")) {
				ss.violate("a line began with a dot that was not doubled: %q", line[:min(len(line), 100)])
			}
			line = unstuffed
		}
		if !ss.sink.counting {
			m.Content = append(m.Content, line...)
		}
	}
	if eight && !strings.Contains(strings.ToUpper(m.MailLine), " BODY=8BITMIME") {
		ss.violate("8-bit content without BODY=8BITMIME")
	}
	return nil
}
