package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"sync"
)

// target tells the senders where the program listens, in which of its lives.
type target struct {
	mu      sync.Mutex
	address string // empty while it is down
	life    int
	waiting int           // senders
	changed chan struct{} // closed, and replaced, at every change
}

func newTarget() *target { return &target{changed: make(chan struct{})} }

// up begins a life.
func (g *target) up(address string) { g.set(address, 1) }

// down says that whatever goes wrong from now on has its reason.
func (g *target) down() { g.set("", 0) }

func (g *target) set(address string, lives int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.address = address
	g.life += lives
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait counts a sender that begins or ends to wait.
func (g *target) wait(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting += n
}

// next waits for a life after the given one.
func (g *target) next(ctx context.Context, after int) (address string, life int, ok bool) {
	g.wait(1)
	defer g.wait(-1)
	for {
		g.mu.Lock()
		address, life, changed := g.address, g.life, g.changed
		g.mu.Unlock()
		if address != "" && life > after {
			return address, life, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", 0, false
		}
	}
}

// alive reports whether a life still lasts.
func (g *target) alive(life int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.address != "" && g.life == life
}

// senders are clients that send without a pause, life after life.
type senders struct {
	ledger *ledger
	target *target
	text   []byte // which bodies are cut from
}

// sender sends until ctx ends.
func (s *senders) sender(ctx context.Context, number int, random *rand.Rand) {
	count := 0
	for life := 0; ; {
		address, next, ok := s.target.next(ctx, life)
		if !ok {
			return
		}
		life = next
		c, err := dial(address)
		for err == nil && ctx.Err() == nil {
			count++
			err = s.send(c, fmt.Sprintf("<%d.%d@client.example>", number, count), random)
		}
		if c != nil {
			c.close()
		}
		reply, ok := errors.AsType[*textproto.Error](err)
		if ok && reply.Code == 452 {
			continue // a full disk (RFC 3463 X.3.1), until something was delivered
		}
		if ok || err != nil && s.target.alive(life) {
			s.ledger.report("a session failed though nothing was killed: %v (reply: %v)", err, reply)
		}
	}
}

// send sends one message to one to twenty recipients.
func (s *senders) send(c *client, messageID string, random *rand.Rand) error {
	e := envelope{from: "sender@a.example"}
	for i := range 1 + random.IntN(20) {
		e.to = append(e.to, fmt.Sprintf("rcpt%d@b.example", i))
	}
	content := s.ledger.compose(messageID, e.to, s.body(random))
	id, err := c.data(e, content)
	if err == nil {
		s.ledger.acknowledged(messageID, id)
	}
	return err
}

// body returns 2 KB, 20 KB or 1 MB: the first two are kept in the queue's
// index, the last in a file of its own.
func (s *senders) body(random *rand.Rand) []byte {
	size := 2000
	switch n := random.IntN(40); {
	case n == 0:
		size = 1_000_000
	case n < 8:
		size = 20_000
	}
	from := crashLine * random.IntN((len(s.text)-size)/crashLine)
	return s.text[from : from+size]
}

// crashLine is the length of the lines that bodies are cut into.
const crashLine = 80

// crashText returns lines of letters and blanks, some of which begin with dots.
func crashText(random *rand.Rand) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz .ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	var b []byte
	for range 20_000 {
		for range crashLine - len("\r\n") {
			b = append(b, letters[random.IntN(len(letters))])
		}
		b = append(b, "\r\n"...)
	}
	return b
}
