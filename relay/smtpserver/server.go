package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"waypost/metrics"
	"waypost/relay/dialogue"
)

// TLSMode says what a listener does about TLS.
type TLSMode uint8

// The modes of TLS. The zero value is none.
const (
	TLSNone     TLSMode = iota
	TLSOffered          // STARTTLS is offered
	TLSRequired         // nothing but STARTTLS is possible in clear
	TLSImplicit         // the connection begins with a handshake (RFC 8314 §3.3)
)

// Options configures a Server. Hostname and Backend are required.
type Options struct {
	// Hostname is our name in the greeting.
	Hostname string
	Backend  Backend
	// Dialogues records the sessions that somebody reads along in; nil none.
	Dialogues *dialogue.Hub
	// TLS is needed for every mode but TLSNone.
	TLS     *tls.Config
	TLSMode TLSMode
	// ProxyFrom are the proxies that tell the client's address by the PROXY
	// protocol, version 1 or 2. They must: what comes from there without is
	// closed.
	ProxyFrom []netip.Prefix
	// XClientFrom are the clients that may say by XCLIENT for whom they speak.
	XClientFrom []netip.Prefix
	// Auth says whether clients may or must log in, by the mechanisms of the
	// backend's sessions, which are then go-smtp's AuthSession. AuthInClear
	// allows it without TLS, where passwords can be read on the way.
	Auth        AuthMode
	AuthInClear bool
	// Extensions switches on what needs the rest of the program behind it.
	Extensions Extensions
	// MaxSize is the largest content in octets; 0 means no limit.
	MaxSize int64
	// MaxRecipients is how many the backend takes in one transaction, which
	// is only announced here; 0 announces nothing.
	MaxRecipients int
	// MaxMessages is how many transactions one session may have; 0 means that
	// there is no limit.
	MaxMessages int
	// Connections bounds what is open at once, together with the servers that
	// have the same; nil means one of its own, with the defaults.
	Connections *Connections
	// MinRate is how many octets of content must come in a second, on average
	// and after IdleTimeout; 0 means no bound.
	MinRate int64
	// IdleTimeout is how long to wait for a command and for each piece of
	// content; 0 means 5 minutes (RFC 5321 §4.5.3.2.7).
	IdleTimeout time.Duration
	// GreetDelay is how long to wait before the greeting: who sends something
	// meanwhile is refused. 0 greets at once and does not look.
	GreetDelay time.Duration
	// HandshakeTimeout bounds a TLS handshake; 0 means 10 seconds.
	HandshakeTimeout time.Duration
	// WriteTimeout bounds the writing of replies to a client that does not
	// read; 0 means 1 minute.
	WriteTimeout time.Duration
	Log          *slog.Logger     // nil discards
	Metrics      *metrics.Metrics // nil counts into nothing
}

// Extensions are those that a listener offers only where the whole way of the
// message keeps what they promise. The zero value offers none.
type Extensions struct {
	BinaryMIME bool // RFC 3030 §3
	RequireTLS bool // RFC 8689, in sessions under TLS
	DeliverBy  bool // RFC 2852
	// DeliverByMin is the least time within which a message may ask to be
	// delivered or returned; 0 is no bound.
	DeliverByMin time.Duration
	Priority     bool // RFC 6710
	// HoldMax is how long FUTURERELEASE may hold a message; 0 does not offer
	// it. Only submission may (RFC 4865 §3).
	HoldMax time.Duration
}

func (o *Options) setDefaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.IdleTimeout, 5*time.Minute)
	set(&o.HandshakeTimeout, 10*time.Second)
	set(&o.WriteTimeout, time.Minute)
	if o.Connections == nil {
		o.Connections = NewConnections(ConnectionLimits{})
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
}

// Server serves any number of listeners with one set of options.
type Server struct {
	Options
	commands map[string]command
	buffers  *sync.Pool

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	draining  bool
	stop      context.Context // done when draining
	drain     context.CancelFunc
	wg        sync.WaitGroup
}

// New returns a server that is not listening yet.
func New(o Options) *Server {
	o.setDefaults()
	if o.TLS != nil {
		o.TLS = recordPresented(o.TLS)
	}
	s := &Server{
		Options: o, commands: commands(), buffers: newBufferPool(),
		listeners: map[net.Listener]struct{}{}, sessions: map[*session]struct{}{},
	}
	s.stop, s.drain = context.WithCancel(context.Background())
	return s
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("server is closed")

// Serve accepts connections until Shutdown or until the listener fails for
// good.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(l) {
		return ErrServerClosed
	}
	for delay := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.admit(nc)
		case s.isDraining():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			// Out of descriptors, mostly: wait for some to come back.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.Log.Warn("accept failed", "error", err.Error(), "retry_in", delay.String())
			select {
			case <-s.stop.Done():
			case <-time.After(delay):
			}
		}
	}
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		l.Close()
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// admit begins a session, or turns the client away, which costs no goroutine.
func (s *Server) admit(nc net.Conn) {
	reason := s.Connections.enter()
	if reason != "" {
		s.turnAway(nc, reason)
		return
	}
	addr, counted := remoteAddr(nc), claim{}
	if !contains(s.ProxyFrom, addr) { // which is counted when it has said for whom
		if counted, reason = s.Connections.claim(addr); reason != "" {
			s.Connections.leave(claim{})
			s.turnAway(nc, reason)
			return
		}
	}
	sess := newSession(s, nc, addr)
	sess.counted = counted
	if !s.begin(sess) {
		s.Connections.leave(counted)
		s.turnAway(nc, "")
		return
	}
	s.Metrics.InboundConnections.Inc()
	go func() {
		defer s.wg.Done()
		defer s.end(sess)
		sess.serve()
	}()
}

// begin notes a session, so that Shutdown can end it; it is too late when that
// has begun.
func (s *Server) begin(sess *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.sessions[sess] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) end(sess *session) {
	s.Metrics.InboundConnections.Dec()
	s.Connections.leave(sess.counted)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
}

func (s *Server) turnAway(nc net.Conn, reason string) {
	text := "421 4.3.2 " + s.Hostname + " Too many connections, try again later\r\n"
	switch reason {
	case metrics.OverAddressLimit:
		text = "421 4.7.0 " + s.Hostname + " Too many connections from your address, try again later\r\n"
	case metrics.OverNetworkLimit:
		text = "421 4.7.0 " + s.Hostname + " Too many connections from your network, try again later\r\n"
	}
	if reason != "" {
		s.Metrics.InboundRefused.WithLabelValues(reason).Inc()
	}
	if s.TLSMode != TLSImplicit {
		// It fits into the socket's buffer, so this does not wait.
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write([]byte(text))
	}
	nc.Close()
}

// Sessions returns the number of sessions that are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Shutdown stops accepting, tells the clients to go (421) between one command
// and the next, and lets content that is on its way arrive until ctx ends; then
// it closes what is left. It returns ctx's error in that case.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.drain()
	for l := range s.listeners {
		l.Close()
	}
	for sess := range s.sessions {
		sess.drain()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for sess := range s.sessions {
		sess.nc.Close()
	}
	s.mu.Unlock()
	<-ended
	return ctx.Err()
}
