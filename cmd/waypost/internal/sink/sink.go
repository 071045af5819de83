package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// ErrNotLoopback means that an address is not one of this host alone.
var ErrNotLoopback = errors.New("not a loopback address")

const (
	// maxLine is the longest line that a message may have. The standard's
	// 1000 octets are for senders to keep, and not all do.
	maxLine = 1 << 20
	// idleTimeout ends sessions that nobody uses any more. It also bounds the
	// reading of one message.
	idleTimeout = 10 * time.Minute
)

// Options configures a Sink.
type Options struct {
	// Out receives what is printed. It is required.
	Out io.Writer
	// Answers say which recipients are refused; the first that fits counts.
	// Without any, nobody is.
	Answers []Answer
	// Print prints contents as well, without what could steer a terminal.
	Print bool
	// Quiet prints nothing at all.
	Quiet bool
	// JSON prints an Event a line.
	JSON bool
}

// Sink is a receiving server.
type Sink struct {
	o Options

	mu     sync.Mutex // also keeps what is printed of one message together
	totals Totals
}

// Totals is what a sink has seen so far.
type Totals struct {
	// Messages, Recipients and Bytes are of the messages that were taken.
	Messages   int64 `json:"messages"`
	Recipients int64 `json:"recipients"`
	Bytes      int64 `json:"bytes"`
	// Refused counts recipients.
	Refused int64 `json:"refused"`
}

// String is one line.
func (t Totals) String() string {
	return fmt.Sprintf("received %s for %s, %s; refused %s", number(t.Messages, "message"),
		number(t.Recipients, "recipient"), number(t.Bytes, "byte"), number(t.Refused, "recipient"))
}

// New returns a sink.
func New(o Options) *Sink { return &Sink{o: o} }

// Listen listens on a TCP address, which must be a loopback address with a
// port, or the name localhost with one. Otherwise the error wraps
// ErrNotLoopback.
func Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotLoopback, err)
	}
	if host == "localhost" {
		host = "127.0.0.1" // whatever this host's name service says
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is %w: the sink takes everyone's mail, so it listens on 127.0.0.1 or ::1 only", address, ErrNotLoopback)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listen for SMTP: %w", err)
	}
	return ln, nil
}

// Serve receives mail on ln until ctx is done; then it closes everything and
// returns nil.
func (s *Sink) Serve(ctx context.Context, ln net.Listener) error {
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) {
		return &session{sink: s}, nil
	}))
	server.Domain = "sink.localhost"
	server.MaxLineLength = maxLine
	server.ReadTimeout, server.WriteTimeout = idleTimeout, idleTimeout
	server.EnableSMTPUTF8, server.EnableDSN = true, true
	server.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are no news
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); err != nil && ctx.Err() == nil {
		return fmt.Errorf("receive on %s: %w", ln.Addr(), err)
	}
	return nil
}

// PrintTotals prints what was seen so far.
func (s *Sink) PrintTotals() error {
	totals := s.Totals()
	if s.o.JSON {
		return Event{Totals: &totals}.print(s.o.Out)
	}
	_, err := fmt.Fprintln(s.o.Out, totals)
	return err
}

// Totals returns what was seen so far.
func (s *Sink) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

func number(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
