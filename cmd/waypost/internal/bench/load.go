package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Load is a number of messages to send. The same Load is the same messages in
// the same order, so that two relays can be given the same work.
type Load struct {
	// Target is the relay's "host:port".
	Target string
	// Messages and Sessions are how many; each session sends one message
	// after the other, one command at a time, as most clients do.
	Messages, Sessions int
	// PerSession is how many messages a session sends before it ends and
	// another begins; 0 means that it never does.
	PerSession int
	// Recipients is how many each message has.
	Recipients Range
	// Sizes are the sizes of the contents in octets.
	Sizes Mix[int]
	// Bodies are the kinds of the contents; empty means text.
	Bodies Mix[Body]
	// Rate is how many messages a second are begun; 0 means as many as the
	// relay takes. With a rate, a latency counts from the moment at which the
	// message should have been begun, so that a relay that stalls cannot hide
	// it by keeping the client from sending.
	Rate float64
}

// Check says what is wrong with a Load.
func (l *Load) Check() error {
	switch {
	case l.Messages < 1:
		return errors.New("the number of messages begins at 1")
	case l.Sessions < 1 || l.Sessions > 10_000:
		return errors.New("the number of sessions is from 1 to 10000")
	case l.PerSession < 0:
		return errors.New("the number of messages in a session is no negative one")
	case l.Rate < 0:
		return errors.New("the rate is no negative number")
	}
	for _, size := range l.Sizes {
		if size.Value < MinSize || size.Value > MaxSize {
			return fmt.Errorf("a size is from %d to %d octets", MinSize, MaxSize)
		}
	}
	return nil
}

// Run sends the messages and writes into the ledger what is acknowledged. It
// stops at the first one that is not accepted.
func (l *Load) Run(ctx context.Context, ledger *Ledger) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &sending{Load: l, ledger: ledger}
	ledger.begin()
	var sessions sync.WaitGroup
	for range min(l.Sessions, l.Messages) {
		sessions.Go(func() {
			if err := s.session(ctx); err != nil {
				stop(err)
			}
		})
	}
	sessions.Wait()
	return context.Cause(ctx)
}

// sending is a Load that is being sent.
type sending struct {
	*Load
	ledger *Ledger
	next   atomic.Int64
	first  sync.Mutex // held while a session is begun for the first time
}

// session sends messages until none is left.
func (s *sending) session(ctx context.Context) error {
	var c *client
	defer func() { c.close() }()
	sent := 0
	for {
		n := int(s.next.Add(1) - 1)
		if n >= s.Messages {
			return nil
		}
		begun, err := s.await(ctx, n)
		if err != nil {
			return err
		}
		s.ledger.sending(n, begun)
		if c == nil {
			if c, err = s.begin(ctx, sent == 0); err != nil {
				return err
			}
		}
		if err := c.send(s.ledger.contents.message(n), s.ledger.recipients(n)); err != nil {
			return fmt.Errorf("message %d of session: %w", sent+1, err)
		}
		s.ledger.acknowledged(n)
		if sent++; s.PerSession > 0 && sent%s.PerSession == 0 {
			c.close()
			c = nil
		}
	}
}

// begin opens a session. At first they come one after the other: where a listen
// queue is short (OpenSMTPD's takes five), all at once would wait for TCP to send
// what was dropped again, for up to 15 seconds, which is no figure of the relay's.
func (s *sending) begin(ctx context.Context, first bool) (*client, error) {
	if first {
		s.first.Lock()
		defer s.first.Unlock()
	}
	return dial(ctx, s.Target)
}

// await returns when message n is to be begun, and the moment from which its
// latency counts.
func (s *sending) await(ctx context.Context, n int) (time.Time, error) {
	if s.Rate == 0 {
		return time.Now(), ctx.Err()
	}
	due := s.ledger.started.Add(time.Duration(float64(n) / s.Rate * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return due, nil
	case <-ctx.Done():
		return due, ctx.Err()
	}
}
