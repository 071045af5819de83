package smtpserver

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/relay/dialogue"
)

// Bounds on what a client may do without getting anywhere.
const (
	maxErrors   = 20  // commands refused for their syntax or place
	maxIdle     = 100 // commands in a row that move no mail
	maxRejected = 100 // recipients refused
)

// session is one connection.
type session struct {
	server *Server
	nc     *transport // without TLS
	conn   net.Conn   // nc, or TLS over it
	in     *input
	out    []byte
	deaf   error // why nothing can be said any more
	state  *tls.ConnectionState
	// certificate is the one that we presented, in DER.
	certificate []byte

	addr    netip.Addr // the client's
	peer    netip.Addr // the same before XCLIENT said another
	behind  proxyHeader
	client  xclient
	counted claim

	talk     *dialogue.Session // nil where nobody reads along
	backend  gosmtp.Session    // nil before EHLO
	hello    string
	extended bool
	tx       transaction
	pace     pace

	receiving     bool // what is read now is content
	authenticated bool

	messages                             int // transactions that were begun
	errors, idle, rejected, authFailures int
	small                                int  // chunks of a few octets
	unread                               bool // the client is sent away, and may be sending still

	mu       sync.Mutex
	waiting  bool // for a line, with no content on its way
	draining bool
}

// transaction is what MAIL began.
type transaction struct {
	open       bool // MAIL was accepted
	utf8       bool
	binary     bool // BODY=BINARYMIME
	recipients int
	chunks     *chunks // after the first BDAT
}

func newSession(s *Server, nc net.Conn, addr netip.Addr) *session {
	t := &transport{Conn: nc}
	sess := &session{server: s, nc: t, conn: t, addr: addr, peer: addr}
	sess.in = newInput(sess, s.buffers)
	return sess
}

// Hostname, Conn, TLSConnectionState and Extended make it a Conn.
func (s *session) Hostname() string { return s.hello }

// Conn returns the connection under the session.
func (s *session) Conn() net.Conn { return s.conn }

// Extended reports whether the client said EHLO.
func (s *session) Extended() bool { return s.extended }

// TLSConnectionState returns the state of TLS, if there is TLS.
func (s *session) TLSConnectionState() (tls.ConnectionState, bool) {
	if s.state == nil {
		return tls.ConnectionState{}, false
	}
	state := *s.state
	if s.client.introduced {
		// The certificate is that of the host that speaks for the client.
		state.PeerCertificates, state.VerifiedChains = nil, nil
	}
	return state, true
}

// ServerCertificate returns the certificate that was presented, in DER.
func (s *session) ServerCertificate() []byte { return s.certificate }

// ClientName returns the client's verified name, which only XCLIENT tells.
func (s *session) ClientName() string { return s.client.name }

// Login returns as whom the client has logged in at the host that said so by
// XCLIENT.
func (s *session) Login() string { return s.client.login }

var (
	_ IntroducedConn     = (*session)(nil)
	_ ExtendedConn       = (*session)(nil)
	_ AuthenticatingConn = (*session)(nil)
)

// Read reads from the client. What is to be said is said before, in one
// write: the replies to commands that came together leave together (RFC 2920
// §3.2). Content gets a deadline for each read.
func (s *session) Read(p []byte) (int, error) {
	if err := s.flush(); err != nil {
		return 0, err
	}
	if !s.receiving {
		return s.conn.Read(p)
	}
	s.conn.SetReadDeadline(s.contentDeadline())
	n, err := s.conn.Read(p)
	s.pace.octets += int64(n)
	return n, err
}

func (s *session) flush() error {
	if len(s.out) == 0 || s.deaf != nil {
		return s.deaf
	}
	s.conn.SetWriteDeadline(time.Now().Add(s.server.WriteTimeout))
	_, s.deaf = s.conn.Write(s.out)
	if cap(s.out) > commandBuffer {
		s.out = nil
	}
	s.out = s.out[:0]
	return s.deaf
}

// serve runs the session to its end.
func (s *session) serve() {
	defer s.nc.Close()
	defer func() { s.talk.Note("session ends") }()
	defer s.logout()
	defer s.recover()
	if s.open() != nil {
		return
	}
	for {
		err := s.step()
		if err != nil {
			s.sayGoodbye(err)
			return
		}
	}
}

// open does what comes before the first command. An error ends the session,
// and there is nothing more to say.
func (s *session) open() error {
	if contains(s.server.ProxyFrom, s.addr) {
		if err := s.readProxyHeader(); err != nil {
			s.count(metrics.RefusedProtocol)
			s.server.Log.Warn("no PROXY header from a proxy", "proxy", s.addr.String(), "error", err.Error())
			return err
		}
		counted, reason := s.server.Connections.claim(s.addr)
		if reason != "" {
			s.server.turnAway(s.nc, reason)
			return errEnd
		}
		s.counted = counted
	}
	s.server.Metrics.Sessions.Inc()
	s.talk = s.server.Dialogues.Client(s.addr, s.nc.LocalAddr())
	if s.server.TLSMode == TLSImplicit {
		if err := s.handshake(); err != nil {
			return err
		}
	}
	if s.server.GreetDelay > 0 && s.talksFirst() {
		// RFC 5321 §3.1 and §4.3.1: clients wait for the greeting.
		s.sayGoodbye(s.dismiss(554, code{5, 5, 1}, s.server.Hostname+" You talk before the greeting", metrics.RefusedProtocol))
		return errEnd
	}
	s.greet()
	return nil
}

// talksFirst waits for GreetDelay and reports whether the client could not: it
// sent something, or left.
func (s *session) talksFirst() bool {
	s.conn.SetReadDeadline(time.Now().Add(s.server.GreetDelay))
	if !errors.Is(s.in.fill(), os.ErrDeadlineExceeded) {
		return true
	}
	s.in.err = nil // it was silent, as it should be
	return false
}

func (s *session) greet() { s.reply(220, noCode, s.server.Hostname+" ESMTP waypost") }

// step reads one command and answers it.
func (s *session) step() error {
	line, err := s.readCommand()
	chunk := beginsChunk(line)
	switch {
	case chunk && (errors.Is(err, errLineTooLong) || errors.Is(err, errLineEnd)):
		return s.dismissChunk()
	case errors.Is(err, errLineTooLong):
		return s.complain(500, code{5, 5, 2}, "Line too long", metrics.RefusedSyntax)
	case errors.Is(err, errLineEnd):
		return s.complain(500, code{5, 5, 2}, "Lines end in CRLF", metrics.RefusedProtocol)
	case err != nil:
		return err
	}
	switch {
	case strayProxyHeader(line, s.in.buffered()):
		return s.refuseProxyHeader()
	case looksLikeHTTP(line):
		return s.dismiss(554, code{5, 5, 1}, "This is not a web server", metrics.RefusedProtocol)
	}
	if s.talk != nil {
		s.talk.Command(false, string(line))
	}
	verb, arg, ok := splitCommand(line)
	if chunk && (!ok || verb != "BDAT") {
		return s.dismissChunk()
	}
	if !ok {
		return s.complain(500, code{5, 5, 2}, "Control character in command", metrics.RefusedSyntax)
	}
	if err := s.command(verb, arg); err != nil {
		return err
	}
	if s.unread {
		return errEnd
	}
	if s.errors > maxErrors || s.idle > maxIdle || s.rejected > maxRejected {
		return s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Too many errors or too little mail, closing", metrics.RefusedLimit)
	}
	return nil
}

// readCommand waits for a line. One deadline covers all of it: a client that
// sends an octet a minute gets no more time than one that is silent.
func (s *session) readCommand() ([]byte, error) {
	s.in.shrink()
	return s.await(commandBuffer)
}

// readResponse waits for a line of an AUTH exchange.
func (s *session) readResponse() ([]byte, error) {
	s.talk.Secret(false)
	return s.await(maxAuthLine)
}

// await waits for a line of at most limit octets. When the server shuts down it
// waits no longer, unless a part of a message has come already.
func (s *session) await(limit int) ([]byte, error) {
	s.receiving = false
	s.mu.Lock()
	leave := s.tx.chunks == nil
	if s.draining && leave {
		s.mu.Unlock()
		return nil, errDraining
	}
	s.waiting = leave
	s.conn.SetReadDeadline(time.Now().Add(s.server.IdleTimeout))
	s.mu.Unlock()
	line, err := s.in.line(limit)
	s.mu.Lock()
	s.waiting = false
	if s.draining && leave && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errDraining
	}
	s.mu.Unlock()
	return line, err
}

// logout ends the backend's session.
func (s *session) logout() {
	s.reset()
	if s.backend != nil {
		if err := s.backend.Logout(); err != nil {
			s.server.Log.Warn("session not ended cleanly", "client", s.addr.String(), "error", err.Error())
		}
		s.backend = nil
	}
	s.authenticated = false
}

// reset ends the transaction.
func (s *session) reset() {
	if s.tx.chunks != nil {
		s.tx.chunks.abort()
	}
	s.tx = transaction{}
	if s.backend != nil {
		s.backend.Reset()
	}
}
