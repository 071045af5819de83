package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
)

// lingerTime is how long a client that is sent away may go on sending.
const lingerTime = time.Second

// Bounds on what a client may do without getting anywhere.
const (
	maxErrors   = 20  // commands refused for their syntax or place
	maxIdle     = 100 // commands in a row that move no mail
	maxRejected = 100 // recipients refused
)

// session is one connection.
type session struct {
	server *Server
	nc     net.Conn // without TLS
	conn   net.Conn // nc, or TLS over it
	addr   netip.Addr
	in     *input
	out    []byte
	state  *tls.ConnectionState
	// certificate is the one that we presented, in DER.
	certificate []byte

	backend  gosmtp.Session // nil before EHLO
	hello    string
	extended bool
	tx       transaction

	authenticated bool

	messages                             int // transactions that were begun
	errors, idle, rejected, authFailures int
	unread                               bool // the client is sent away, and may be sending still

	mu       sync.Mutex
	waiting  bool // for a command, with no transaction open
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
	sess := &session{server: s, nc: nc, conn: nc, addr: addr}
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
	return *s.state, true
}

// ServerCertificate returns the certificate that was presented, in DER.
func (s *session) ServerCertificate() []byte { return s.certificate }

var (
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
	if s.in.big != nil {
		s.conn.SetReadDeadline(time.Now().Add(s.server.IdleTimeout))
	}
	return s.conn.Read(p)
}

func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(s.server.WriteTimeout))
	_, err := s.conn.Write(s.out)
	if cap(s.out) > commandBuffer {
		s.out = nil
	}
	s.out = s.out[:0]
	return err
}

// errEnd ends a session whose last reply has been given.
var errEnd = errors.New("session ended")

// serve runs the session to its end.
func (s *session) serve() {
	defer s.nc.Close()
	defer s.logout()
	defer s.recover()
	s.server.Metrics.Sessions.Inc()
	if s.server.TLSMode == TLSImplicit {
		if s.handshake() != nil {
			return
		}
	}
	s.reply(220, noCode, s.server.Hostname+" ESMTP waypost")
	for {
		err := s.step()
		if err != nil {
			s.sayGoodbye(err)
			return
		}
	}
}

// recover ends a session that had a fault of ours, and no other.
func (s *session) recover() {
	if fault := recover(); fault != nil {
		s.server.Log.Error("panic in a session", "client", s.addr.String(), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
		s.reply(421, code{4, 3, 0}, "Internal error")
		s.flush()
	}
}

// step reads one command and answers it.
func (s *session) step() error {
	line, err := s.readCommand()
	switch {
	case errors.Is(err, errLineTooLong):
		return s.complain(500, code{5, 5, 2}, "Line too long", metrics.RefusedSyntax)
	case errors.Is(err, errLineEnd):
		return s.complain(500, code{5, 5, 2}, "Lines end in CRLF", metrics.RefusedProtocol)
	case err != nil:
		return err
	}
	if looksLikeHTTP(line) {
		return s.dismiss(554, code{5, 5, 1}, "This is not a web server", metrics.RefusedProtocol)
	}
	verb, arg, ok := splitCommand(line)
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
	s.mu.Lock()
	if s.draining && !s.tx.open {
		s.mu.Unlock()
		return nil, errDraining
	}
	s.waiting = !s.tx.open
	s.conn.SetReadDeadline(time.Now().Add(s.server.IdleTimeout))
	s.mu.Unlock()
	line, err := s.in.line(commandBuffer)
	s.mu.Lock()
	s.waiting = false
	if s.draining && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errDraining
	}
	s.mu.Unlock()
	return line, err
}

// readLine waits for a line that is no command, of at most limit octets.
func (s *session) readLine(limit int) ([]byte, error) {
	s.conn.SetReadDeadline(time.Now().Add(s.server.IdleTimeout))
	return s.in.line(limit)
}

var errDraining = errors.New("server is shutting down")

// drain asks the session to end as soon as no transaction is open.
func (s *session) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	if s.waiting {
		s.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// sayGoodbye gives the reply that the end of a session calls for, if any.
func (s *session) sayGoodbye(err error) {
	switch {
	case errors.Is(err, errEnd):
	case errors.Is(err, errDraining):
		// RFC 5321 §3.8.
		s.reply(421, code{4, 3, 2}, s.server.Hostname+" Shutting down, try again later")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.reply(421, code{4, 4, 2}, s.server.Hostname+" Timed out waiting for you")
	case errors.Is(err, errJunk), errors.Is(err, errFlood):
		s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Too much data, closing", metrics.RefusedLimit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return
	}
	s.flush()
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil && s.unread {
		s.linger()
	}
}

// linger reads on for a moment after the last reply. Closing with something
// unread makes TCP reset the connection, and the client would never see why.
func (s *session) linger() {
	s.conn.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, s.conn, maxJunk)
}

// handshake begins TLS. A failed one leaves nothing that could be said in
// clear.
func (s *session) handshake() error {
	ctx, cancel := context.WithTimeout(withPresented(context.Background(), &s.certificate), s.server.HandshakeTimeout)
	defer cancel()
	s.nc.SetDeadline(time.Time{})
	conn := tls.Server(s.nc, s.server.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		s.server.Metrics.TLSHandshakes.WithLabelValues(metrics.DirectionIn, metrics.TLSFailed).Inc()
		s.server.Log.Info("TLS handshake failed", "client", s.addr.String(), "error", err.Error())
		return err
	}
	state := conn.ConnectionState()
	s.server.Metrics.TLSHandshakes.WithLabelValues(metrics.DirectionIn, metrics.TLSVersion(state.Version)).Inc()
	s.conn, s.state = conn, &state
	// A new input: whatever came in clear is not looked at (RFC 3207 §4.2).
	s.in = newInput(s, s.server.buffers)
	return nil
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
