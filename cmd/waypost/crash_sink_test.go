package main_test

import (
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// crashSink is the next hop in the crash test: go-smtp's server, which shares
// nothing with the program's own sending side. It keeps no message, so that
// it can take any number of them. What arrives is told to the ledger before it
// is acknowledged.
type crashSink struct {
	t       testing.TB
	ledger  *ledger
	server  *gosmtp.Server
	address string
	refuses atomic.Bool // to take mail, for now

	mu       sync.Mutex
	listener net.Listener // nil while closed
	serving  sync.WaitGroup
}

func newCrashSink(t testing.TB, l *ledger) *crashSink {
	t.Helper()
	// Not 127.0.0.1: while the sink is closed, a connection from there to
	// anywhere could be given its port.
	s := &crashSink{t: t, ledger: l, address: "127.0.0.3:0"}
	s.server = gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) {
		return &crashSinkSession{sink: s}, nil
	}))
	s.server.Domain = "sink.example"
	s.server.ErrorLog = log.New(io.Discard, "", 0) // it has a line for every connection that a crash cuts off
	s.open()
	t.Cleanup(func() {
		s.close()
		if err := s.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("close the sink: %v", err)
		}
		s.serving.Wait()
	})
	return s
}

// open listens, on the same address as ever, and takes mail.
func (s *crashSink) open() {
	s.t.Helper()
	s.refuses.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return
	}
	ln, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatalf("sink: %v", err)
	}
	s.listener, s.address = ln, ln.Addr().String()
	s.serving.Go(func() { _ = s.server.Serve(ln) }) // it ends when the listener does
}

// refuse answers mail with "later".
func (s *crashSink) refuse() { s.refuses.Store(true) }

// close refuses connections, and mail on those that are open. None is cut
// off: that would add duplicates which are not the crashes' fault.
func (s *crashSink) close() {
	s.refuse()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close() // it was open
		s.listener = nil
	}
}

// crashSinkSession is one connection to the sink.
type crashSinkSession struct {
	sink *crashSink
	to   []string
}

var _ gosmtp.Session = (*crashSinkSession)(nil)

func (s *crashSinkSession) Mail(string, *gosmtp.MailOptions) error {
	if s.sink.refuses.Load() {
		return &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 2}, Message: "not now"}
	}
	return nil
}

func (s *crashSinkSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *crashSinkSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err // cut off: nothing has arrived
	}
	s.sink.ledger.arrived(content, s.to)
	return nil
}

func (s *crashSinkSession) Reset()        { s.to = nil }
func (s *crashSinkSession) Logout() error { return nil }
