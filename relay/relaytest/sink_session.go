package relaytest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// session is one connection to a sink.
type session struct {
	sink *Sink
	id   int
	raw  net.Conn
	conn net.Conn // raw, or TLS on top of it
	br   *bufio.Reader
	bw   *bufio.Writer

	offered []string // in the last reply to EHLO
	spoiled bool     // a chunk was refused
	next    Message  // what is known of the transaction under way
	mail    bool     // a transaction is open
	done    bool     // the connection ends
}

func newSession(s *Sink, id int, conn net.Conn) *session {
	ss := &session{sink: s, id: id, raw: conn}
	ss.use(conn)
	return ss
}

func (ss *session) use(conn net.Conn) {
	ss.conn = conn
	// As large as anything that a client sends before it reads, so that a
	// pipe, which has no buffer of its own, does not lock both sides.
	ss.br = bufio.NewReaderSize(conn, 64<<10)
	ss.bw = bufio.NewWriterSize(conn, 16<<10)
	ss.offered, ss.mail, ss.next = nil, false, Message{Conn: ss.id}
}

func (ss *session) run() {
	if ss.sink.implicit && !ss.handshake() {
		return
	}
	// Also a host that refuses waits for QUIT (RFC 5321 §3.1).
	ss.step(Command{Verb: "CONNECT"}, "220 "+ss.sink.hostname+" ESMTP")
	for !ss.done {
		line, err := ss.readCommand()
		if err != nil {
			return
		}
		ss.command(line)
	}
}

// readCommand reads one line; what was replied goes out before it waits.
func (ss *session) readCommand() (string, error) {
	waiting, _ := ss.br.Peek(ss.br.Buffered()) // what is buffered can be peeked at
	if bytes.IndexByte(waiting, '\n') < 0 {
		if err := ss.bw.Flush(); err != nil {
			return "", err
		}
	}
	line, err := ss.br.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(text, "\r\x00") {
		ss.violate("bad line end or NUL in a command: %q", line)
	}
	return text, nil
}

func (ss *session) command(line string) {
	verb, args, _ := strings.Cut(line, " ")
	c := Command{Verb: strings.ToUpper(verb), Line: line}
	ss.group(c.Verb)
	switch hello := c.Verb == "LHLO" || c.Verb == "EHLO" || c.Verb == "HELO"; {
	case hello && (c.Verb == "LHLO") != ss.sink.lmtp:
		// RFC 2033 §4.1: each protocol has its own greeting.
		ss.violate("%s in the wrong protocol", c.Verb)
		ss.step(c, "500 5.5.1 wrong protocol")
		return
	case hello:
		ss.hello(c, args, c.Verb != "HELO")
		return
	}
	switch c.Verb {
	case "STARTTLS":
		ss.startTLS(c)
	case "AUTH":
		ss.auth(c, args)
	case "MAIL":
		ss.mailFrom(c, args)
	case "RCPT":
		ss.rcptTo(c, args)
	case "DATA":
		ss.data(c)
	case "BDAT":
		ss.bdat(c, args)
	case "RSET":
		if ss.step(c, "250 2.0.0 flushed") == 2 {
			ss.reset()
		}
	case "NOOP":
		ss.step(c, "250 2.0.0 ok")
	case "QUIT":
		ss.step(c, "221 2.0.0 bye")
		ss.done = true
		_ = ss.bw.Flush() // the client may have gone, as it may
	default:
		ss.violate("unknown command %q", line)
		ss.step(c, "500 5.5.2 unknown command")
	}
}

// group checks what was sent without waiting for a reply (RFC 2920 §3.1).
func (ss *session) group(verb string) {
	if ss.br.Buffered() == 0 || verb == "BDAT" {
		return // what follows BDAT is its chunk
	}
	switch {
	case !ss.has("PIPELINING"):
		ss.violate("more was sent after %s without PIPELINING", verb)
	case verb != "MAIL" && verb != "RCPT" && verb != "RSET":
		ss.violate("%s is not the last of its group", verb)
	}
}

func (ss *session) has(keyword string) bool {
	for _, line := range ss.offered {
		if word, _, _ := strings.Cut(line, " "); strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}

func (ss *session) reset() {
	ss.mail, ss.spoiled = false, false
	m := &ss.next
	ss.next = Message{Conn: ss.id, Hello: m.Hello, Extended: m.Extended, TLS: m.TLS, User: m.User}
}

// step does what the script or the rules say at one step, else it gives the
// usual reply. It returns the first digit of what was replied, 0 for none.
func (ss *session) step(c Command, usual string) int {
	c.Conn, c.TLS = ss.id, ss.next.TLS
	return ss.act(ss.sink.action(c), usual)
}

func (ss *session) act(a Action, usual string) int {
	if !ss.hold(a) {
		return 0
	}
	digit := 0
	switch {
	case a.Silent:
	case a.Raw != "":
		ss.send(a.Raw, a.Drip)
	default:
		if a.Reply != "" {
			usual = a.Reply
		}
		ss.send(strings.ReplaceAll(usual, "\n", "\r\n")+"\r\n", a.Drip)
		digit = int(usual[0] - '0')
	}
	if a.Drop || a.Reset || a.Stall {
		ss.done = true
		_ = ss.bw.Flush() // the client may have gone already
	}
	if tcp, ok := ss.raw.(*net.TCPConn); ok && a.Reset {
		_ = tcp.SetLinger(0) // fails on a closed connection only
	}
	if a.Stall {
		<-ss.sink.closed
	}
	if ss.done {
		_ = ss.raw.Close() // often closed already
	}
	return digit
}

// hold waits as long as an action asks for; it returns false at the end of
// the test.
func (ss *session) hold(a Action) bool {
	if a.Gate == nil && a.Delay == 0 {
		return true
	}
	_ = ss.bw.Flush() // replies to earlier commands are not held back
	if a.Gate != nil && !await(ss, a.Gate) {
		return false
	}
	if a.Delay == 0 {
		return true
	}
	timer := time.NewTimer(a.Delay)
	defer timer.Stop()
	return await(ss, timer.C)
}

func await[T any](ss *session, event <-chan T) bool {
	select {
	case <-event:
		return true
	case <-ss.sink.closed:
		ss.done = true
		return false
	}
}

func (ss *session) send(text string, drip time.Duration) {
	if drip == 0 {
		_, _ = ss.bw.WriteString(text) // the error comes again with the flush
		return
	}
	for i := range len(text) {
		if !ss.hold(Action{Delay: drip}) {
			return
		}
		_, _ = ss.bw.WriteString(text[i : i+1])
		if ss.bw.Flush() != nil {
			ss.done = true
			return
		}
	}
}

func (ss *session) violate(format string, args ...any) {
	ss.sink.violate(ss.id, fmt.Sprintf(format, args...))
}

// startTLS: RFC 3207.
func (ss *session) startTLS(c Command) {
	if ss.sink.tls == nil || ss.next.TLS {
		ss.violate("STARTTLS was not offered")
		ss.step(c, "503 5.5.1 not offered")
		return
	}
	if ss.step(c, "220 2.0.0 go ahead") != 2 || ss.done || ss.bw.Flush() != nil {
		return
	}
	ss.handshake()
}

// handshake goes over to TLS, or does what a script says instead.
func (ss *session) handshake() bool {
	a := ss.sink.action(Command{Conn: ss.id, Verb: "HANDSHAKE"})
	if a.Silent || a.Raw != "" || a.Drop || a.Reset || a.Stall {
		a.Silent = a.Raw == ""
		a.Drop = a.Drop || a.Raw != ""
		if ss.act(a, ""); !ss.done {
			_, _ = io.Copy(io.Discard, ss.conn) // until the client gives up
			ss.done = true
		}
		return false
	}
	if !ss.hold(a) {
		return false
	}
	conn := tls.Server(ss.raw, ss.sink.tls)
	if err := conn.Handshake(); err != nil {
		ss.done = true
		return false
	}
	ss.use(conn)
	ss.next.TLS = true
	return true
}
