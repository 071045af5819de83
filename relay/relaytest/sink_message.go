package relaytest

import (
	"slices"
	"time"
)

// Message is one transaction that the sink accepted.
type Message struct {
	// Conn is the number of the connection, from 1.
	Conn int
	// Hello is the argument of EHLO or HELO.
	Hello string
	// Extended says that it was EHLO.
	Extended bool
	// TLS says that it came under TLS.
	TLS bool
	// User is who authenticated; empty when nobody did.
	User string
	// MailLine is the MAIL command line, without its line end.
	MailLine string
	// RcptLines are the RCPT command lines that were accepted.
	RcptLines []string
	// From is the mailbox of MAIL; empty for the null reverse-path.
	From string
	// To are the mailboxes of the accepted RCPTs.
	To []string
	// Chunked says that the content came by BDAT (RFC 3030).
	Chunked bool
	// Wire is the content as it came, with the final dot's line.
	Wire []byte
	// Content is the content without dot-stuffing and final dot.
	Content []byte
}

// patience is how long the waiting methods wait before the test fails.
const patience = 30 * time.Second

// Messages returns what was accepted so far, in order.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Count returns how many messages were accepted so far.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Connections returns how many connections there were so far.
func (s *Sink) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Open returns how many connections are open now.
func (s *Sink) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Commands returns every step so far, of all connections, in order.
func (s *Sink) Commands() []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Wait returns the messages when there are n of them at least. It fails the
// test when they do not come within 30 seconds.
func (s *Sink) Wait(n int) []Message {
	s.t.Helper()
	s.until(func() bool { return s.count >= n }, "%d messages", n)
	return s.Messages()
}

// WaitConnections returns when there were n connections at least.
func (s *Sink) WaitConnections(n int) {
	s.t.Helper()
	s.until(func() bool { return s.accepted >= n }, "%d connections", n)
}

// WaitIdle returns when no connection is open.
func (s *Sink) WaitIdle() {
	s.t.Helper()
	s.until(func() bool { return len(s.conns) == 0 }, "%d open connections", 0)
}

// WaitCommand returns when a step was seen n times at least.
func (s *Sink) WaitCommand(verb string, n int) {
	s.t.Helper()
	s.until(func() bool {
		seen := 0
		for i := range s.commands {
			if s.commands[i].Verb == verb {
				seen++
			}
		}
		return seen >= n
	}, "%d times "+verb, n)
}

// until waits for an event that makes done true.
func (s *Sink) until(done func() bool, format string, n int) {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		ok, changed, count := done(), s.changed, s.count
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			s.t.Fatalf("sink %s: waited in vain for "+format+"; %d messages came", s.address, n, count)
		}
	}
}

// signal wakes whoever waits. The caller holds the lock.
func (s *Sink) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// store keeps a message.
func (s *Sink) store(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if !s.counting {
		s.messages = append(s.messages, m)
	}
	s.signal()
}
