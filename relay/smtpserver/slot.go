package smtpserver

import "context"

// slot is the place of a TLS handshake among those that may compute at once, so
// that a flood of them leaves processors to everybody else. A handshake that
// waits for its client has none: to stop in the middle holds nobody up.
type slot struct {
	of   chan struct{}
	ctx  context.Context // of the handshake: it bounds the wait for a slot, too
	held bool
}

// without does one read or write of the handshake without holding the slot, and
// waits for one to go on with.
func (s *slot) without(do func([]byte) (int, error), p []byte) (int, error) {
	s.leave()
	n, err := do(p)
	if err != nil {
		return n, err
	}
	select {
	case s.of <- struct{}{}:
		s.held = true
		return n, nil
	case <-s.ctx.Done():
		return n, s.ctx.Err()
	}
}

func (s *slot) leave() {
	if s.held {
		<-s.of
		s.held = false
	}
}
