package smtpserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"time"

	"waypost/metrics"
)

// This file has the ways in which a session ends before the client wants it.

// lingerTime is how long a client that is sent away may go on sending.
const lingerTime = time.Second

// errEnd ends a session whose last reply has been given.
var errEnd = errors.New("session ended")

var errDraining = errors.New("server is shutting down")

// drain asks the session to end as soon as no content is on its way (RFC 5321
// §3.8): a client that is silent within a transaction does not hold us up.
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
		s.reply(421, code{4, 3, 2}, s.server.Hostname+" Shutting down, try again later")
		s.unread = s.tx.open || len(s.in.buffered()) > 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.reply(421, code{4, 4, 2}, s.server.Hostname+" Timed out waiting for you")
	case errors.Is(err, errJunk), errors.Is(err, errFlood):
		s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Too much data, closing", metrics.RefusedLimit)
	case errors.Is(err, errBinary):
		s.dismiss(500, code{5, 5, 2}, "This is no command", metrics.RefusedProtocol)
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

// recover ends a session that had a fault of ours, and no other.
func (s *session) recover() {
	if fault := recover(); fault != nil {
		s.server.Metrics.SessionPanics.Inc()
		s.server.Log.Error("panic in a session", "client", s.addr.String(), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
		s.reply(421, code{4, 3, 0}, "Internal error")
		s.flush()
	}
}
