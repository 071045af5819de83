// Package relaytest has the other side of a relay for its tests: servers on
// loopback that behave, and misbehave, as they are told.
//
// Sink receives mail. A test starts one with NewSink, tells it with On, OnRcpt,
// Add or Script what to do at which step, lets mail be sent to it, waits for an
// event with Wait, and looks at what came. CA signs certificates for both
// sides of TLS.
//
// It refuses to share code with what it tests, and it never sleeps: what takes
// time takes it from a gate that the test opens, or in virtual time.
package relaytest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Sink is a receiving SMTP server for tests. It is a second reading of the
// standards, shares no code with what it tests, and can be told to misbehave
// at every step (see Action). It keeps what it accepts, and it watches its
// clients: what a client may not do (see Violations) fails the test.
//
// Every method may be called at any time.
type Sink struct {
	t          testing.TB
	hostname   string
	tls        *tls.Config
	user       string
	password   string
	mechanisms string
	lenient    bool
	counting   bool
	lmtp       bool
	implicit   bool
	closed     chan struct{} // closed when the test ends
	work       sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed, and replaced, at every event
	address    string
	listener   net.Listener // nil while closed
	offered    []string
	rules      []*rule
	script     func(Command) (Action, bool)
	commands   []Command
	messages   []Message
	count      int
	conns      map[int]net.Conn
	accepted   int
	violations []string
}

// SinkOption changes a sink before it starts.
type SinkOption func(*Sink)

// WithHostname sets the sink's own name; default "sink.example".
func WithHostname(name string) SinkOption { return func(s *Sink) { s.hostname = name } }

// WithExtensions sets what the sink offers after EHLO, besides STARTTLS and
// AUTH; the default is PIPELINING, SIZE 52428800, 8BITMIME, SMTPUTF8, DSN and
// ENHANCEDSTATUSCODES.
func WithExtensions(lines ...string) SinkOption { return func(s *Sink) { s.offered = lines } }

// WithTLS makes the sink offer STARTTLS, with config for the handshake.
func WithTLS(config *tls.Config) SinkOption { return func(s *Sink) { s.tls = config } }

// WithCertificate makes the sink offer STARTTLS with one certificate.
func WithCertificate(cert tls.Certificate) SinkOption {
	return WithTLS(&tls.Config{Certificates: []tls.Certificate{cert}})
}

// WithAuth makes the sink offer AUTH PLAIN LOGIN and demand it before MAIL.
func WithAuth(username, password string) SinkOption {
	return func(s *Sink) { s.user, s.password = username, password }
}

// WithLeniency keeps violations from failing the test; they are still listed.
func WithLeniency() SinkOption { return func(s *Sink) { s.lenient = true } }

// WithCounting makes the sink count messages and commands without keeping
// them, for load.
func WithCounting() SinkOption { return func(s *Sink) { s.counting = true } }

// WithLMTP makes the sink speak LMTP (RFC 2033): rules for DOT are asked for
// each recipient, by its mailbox.
func WithLMTP() SinkOption { return func(s *Sink) { s.lmtp = true } }

// WithImplicitTLS makes each connection begin with the handshake.
func WithImplicitTLS(cert tls.Certificate) SinkOption {
	return func(s *Sink) {
		s.tls, s.implicit = &tls.Config{Certificates: []tls.Certificate{cert}}, true
	}
}

// NewSink starts a sink on a loopback address, "127.0.0.5:0", and ends it
// with the test. An absolute path is that of a Unix socket. With an empty address it does not listen, and Pipe is the
// only way in: that is for synctest bubbles, where sockets do not work.
func NewSink(t testing.TB, address string, options ...SinkOption) *Sink {
	t.Helper()
	s := &Sink{
		t: t, hostname: "sink.example", address: address, mechanisms: "PLAIN LOGIN",
		offered: []string{"PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"},
		closed:  make(chan struct{}), changed: make(chan struct{}), conns: make(map[int]net.Conn),
	}
	for _, option := range options {
		option(s)
	}
	t.Cleanup(s.end)
	if address != "" {
		s.Reopen()
	}
	return s
}

// Address returns the address that the sink listens on, "127.0.0.5:34567".
// It stays the same while the listener is closed and when it is reopened.
func (s *Sink) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Port returns the port that the sink listens on.
func (s *Sink) Port() int {
	addr, err := net.ResolveTCPAddr("tcp", s.Address())
	if err != nil {
		s.t.Errorf("sink: %v", err)
		return 0
	}
	return addr.Port
}

// Offer changes what is offered in EHLO replies from now on.
func (s *Sink) Offer(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered = lines
}

// CloseListener makes the sink refuse connections; sessions go on.
func (s *Sink) CloseListener() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close() // the only error is that it is closed already
		s.listener = nil
	}
}

// Reopen listens again, on the same address.
func (s *Sink) Reopen() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return
	}
	network := "tcp"
	if strings.HasPrefix(s.address, "/") {
		network = "unix"
	}
	ln, err := net.Listen(network, s.address)
	if err != nil {
		s.t.Fatalf("sink: listen on %s: %v", s.address, err)
	}
	s.listener, s.address = ln, ln.Addr().String()
	s.work.Go(func() { s.accept(ln) })
}

func (s *Sink) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.violate(0, fmt.Sprintf("accept: %v", err))
			return
		}
		s.serve(conn)
	}
}

// Pipe opens a connection to the sink without a socket and returns the
// client's end of it.
func (s *Sink) Pipe() net.Conn {
	client, server := net.Pipe()
	s.serve(server)
	return client
}

func (s *Sink) serve(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	id := s.accepted
	select {
	case <-s.closed:
		_ = conn.Close() // too late
		return
	default:
	}
	s.conns[id] = conn
	s.signal()
	s.work.Go(func() {
		newSession(s, id, conn).run()
		_ = conn.Close() // often closed already
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, id)
		s.signal()
	})
}

// DropAll closes every open connection, without a word.
func (s *Sink) DropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close() // often closed already
	}
}

// end stops everything, waits for it, and reports what clients did wrong.
func (s *Sink) end() {
	s.CloseListener()
	s.mu.Lock()
	close(s.closed)
	s.mu.Unlock()
	s.DropAll()
	s.work.Wait()
	if s.lenient {
		return
	}
	for _, v := range s.Violations() {
		s.t.Errorf("sink %s: %s", s.address, v)
	}
}

// violate records something that a client may not do.
func (s *Sink) violate(conn int, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf("connection %d: %s", conn, what))
}

// Violations lists what clients did against the standards: parameters and
// groups of commands without the extension for them, commands in a wrong
// order, line ends that are not CRLF, 8-bit content without BODY=8BITMIME.
// Unless WithLeniency was given, each fails the test at its end.
func (s *Sink) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}
