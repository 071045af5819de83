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
	// TLS is needed for every mode but TLSNone.
	TLS     *tls.Config
	TLSMode TLSMode
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
	// MaxConnections and MaxPerAddress bound what is open at once; 0 means
	// 1000 and 100.
	MaxConnections, MaxPerAddress int
	// IdleTimeout is how long to wait for a command and for each piece of
	// content; 0 means 5 minutes (RFC 5321 §4.5.3.2.7).
	IdleTimeout time.Duration
	// HandshakeTimeout bounds a TLS handshake; 0 means 30 seconds.
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
	Priority   bool // RFC 6710
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
	set(&o.HandshakeTimeout, 30*time.Second)
	set(&o.WriteTimeout, time.Minute)
	if o.MaxConnections == 0 {
		o.MaxConnections = 1000
	}
	if o.MaxPerAddress == 0 {
		o.MaxPerAddress = 100
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
	addresses map[netip.Addr]int
	draining  bool
	wg        sync.WaitGroup
}

// New returns a server that is not listening yet.
func New(o Options) *Server {
	o.setDefaults()
	if o.TLS != nil {
		o.TLS = recordPresented(o.TLS)
	}
	return &Server{
		Options: o, commands: commands(), buffers: newBufferPool(),
		listeners: map[net.Listener]struct{}{}, sessions: map[*session]struct{}{}, addresses: map[netip.Addr]int{},
	}
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
			time.Sleep(delay)
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

// admit begins a session, or turns the client away.
func (s *Server) admit(nc net.Conn) {
	addr := remoteAddr(nc)
	s.mu.Lock()
	reason := ""
	switch {
	case len(s.sessions) >= s.MaxConnections:
		reason = metrics.OverLimit
	case s.addresses[addr] >= s.MaxPerAddress:
		reason = metrics.OverAddressLimit
	}
	if reason != "" || s.draining {
		s.mu.Unlock()
		s.turnAway(nc, reason)
		return
	}
	sess := newSession(s, nc, addr)
	s.sessions[sess] = struct{}{}
	s.addresses[addr]++
	s.wg.Add(1)
	s.mu.Unlock()
	s.Metrics.InboundConnections.Inc()
	go func() {
		defer s.wg.Done()
		defer s.leave(sess)
		sess.serve()
	}()
}

func (s *Server) turnAway(nc net.Conn, reason string) {
	if reason != "" {
		s.Metrics.InboundRefused.WithLabelValues(reason).Inc()
	}
	if s.TLSMode != TLSImplicit {
		// It fits into the socket's buffer, so this does not wait.
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write([]byte("421 4.3.2 " + s.Hostname + " Too many connections, try again later\r\n"))
	}
	nc.Close()
}

func (s *Server) leave(sess *session) {
	s.Metrics.InboundConnections.Dec()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	if s.addresses[sess.addr]--; s.addresses[sess.addr] == 0 {
		delete(s.addresses, sess.addr)
	}
}

// Shutdown stops accepting, tells waiting clients to go (421), and lets
// transactions in progress end until ctx does; then it closes what is left.
// It returns ctx's error in that case.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
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

func remoteAddr(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
