package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load is a number of messages to send.
type Load struct {
	// Target is the relay's "host:port".
	Target string
	// Messages and Sessions are how many; each session sends one message
	// after the other, one command at a time, as most clients do.
	Messages, Sessions int
	// Size is the size of each content in octets.
	Size int
	// Reconnect has a session of its own for each message.
	Reconnect bool
}

// Sent is what came of a Load.
type Sent struct {
	// Messages is how many were acknowledged, Elapsed how long all took.
	Messages int
	Elapsed  time.Duration
	// Latencies are the times from MAIL to the acknowledgement, sorted.
	Latencies []time.Duration
}

// Rate returns messages per second.
func (s Sent) Rate() float64 { return float64(s.Messages) / s.Elapsed.Seconds() }

// Percentile returns the latency that the given percentage stays at or under.
func (s Sent) Percentile(p float64) time.Duration {
	if len(s.Latencies) == 0 {
		return 0
	}
	return s.Latencies[min(int(p/100*float64(len(s.Latencies))), len(s.Latencies)-1)]
}

// Run sends the messages. It stops at the first one that is not accepted.
func (l Load) Run(ctx context.Context) (Sent, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var left atomic.Int64
	left.Store(int64(l.Messages))
	content := l.content()
	latencies := make([][]time.Duration, l.Sessions)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range l.Sessions {
		wg.Go(func() {
			var err error
			if latencies[i], err = l.session(ctx, content, &left); err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	sent := Sent{Elapsed: time.Since(start), Latencies: slices.Concat(latencies...)}
	sent.Messages = len(sent.Latencies)
	slices.Sort(sent.Latencies)
	return sent, context.Cause(ctx)
}

// content returns a message of l.Size octets and the final dot.
func (l Load) content() string {
	head := "From: <sender@bench.example>\r\nTo: <receiver@bench.example>\r\nSubject: bench\r\n\r\n"
	line := strings.Repeat("x", 76) + "\r\n"
	body := strings.Repeat(line, max(l.Size-len(head), 0)/len(line)+1)
	body = body[:max(l.Size-len(head)-2, 0)]
	return head + body + "\r\n.\r\n"
}

// session sends messages until none is left.
func (l Load) session(ctx context.Context, content string, left *atomic.Int64) ([]time.Duration, error) {
	var latencies []time.Duration
	var c *client
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	for left.Add(-1) >= 0 {
		if c == nil {
			var err error
			if c, err = dial(ctx, l.Target); err != nil {
				return latencies, err
			}
		}
		begin := time.Now()
		if err := c.send(content); err != nil {
			return latencies, err
		}
		latencies = append(latencies, time.Since(begin))
		if l.Reconnect {
			c.close()
			c = nil
		}
	}
	return latencies, nil
}

// client is one session with the target.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	stop func() bool
}

func dial(ctx context.Context, target string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReader(conn), stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if err := errors.Join(c.reply("the connection", 220), c.say("EHLO bench.example\r\n", 250)); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) send(content string) error {
	for _, step := range []struct {
		text string
		code int
	}{
		{"MAIL FROM:<sender@bench.example>\r\n", 250}, {"RCPT TO:<receiver@bench.example>\r\n", 250}, {"DATA\r\n", 354}, {content, 250},
	} {
		if err := c.say(step.text, step.code); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) say(text string, code int) error {
	if _, err := c.conn.Write([]byte(text)); err != nil {
		return err
	}
	return c.reply(strings.TrimSpace(text[:min(len(text), 16)]), code)
}

func (c *client) reply(to string, code int) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("no reply to %s: %w", to, err)
		}
		if len(line) < 4 || string(line[:3]) != strconv.Itoa(code) {
			return fmt.Errorf("reply to %s: %q, want %d", to, strings.TrimSpace(string(line)), code)
		}
		if line[3] != '-' {
			return nil
		}
	}
}

func (c *client) close() {
	c.stop()
	c.conn.Write([]byte("QUIT\r\n"))
	c.conn.Close()
}
