package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"waypost/relay/smtp"
)

// lateReply is how long a reply is waited for after a write failed. A host
// that refuses and closes sent its reply before that, so it is already here.
const lateReply = time.Second

// Client is a session with one host. Its methods must not be called at the
// same time as each other, but for Close.
type Client struct {
	options  Options
	wire     wire
	replies  replyReader
	ext      Extensions
	out      []byte      // the commands about to be written
	mails    int         // MAIL commands sent
	mustRSET bool        // a transaction is open at the host and dead to us
	heard    time.Time   // when the last reply came
	over     atomic.Bool // nothing more may be sent
}

// New opens a session on conn, which belongs to the session from then on: it
// waits for the greeting, says EHLO, starts TLS and authenticates, as o asks.
// On an error, which is always an *Error, the connection has been closed. A
// cancelled ctx ends New at once; after New it means nothing.
func New(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	c := &Client{options: o, wire: wire{raw: conn, conn: conn}}
	c.replies = newReplyReader(&c.wire)
	if err := o.check(); err != nil {
		c.abandon()
		return nil, &Error{Stage: StageConnect, Err: err}
	}
	stop := c.wire.watch(ctx)
	err := c.open()
	if err != nil {
		// A host that still listens is told that we leave (RFC 5321 §4.1.1.10).
		c.Quit()
	}
	if !stop() && err == nil {
		err = c.failure(StageHello, context.Cause(ctx))
		c.abandon()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) open() error {
	if c.options.TLSPolicy == TLSImplicit {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	if err := c.greeting(); err != nil {
		return err
	}
	if err := c.hello(); err != nil {
		return err
	}
	if err := c.secure(); err != nil {
		return err
	}
	return c.authenticate()
}

// Extensions returns what the host offers: under TLS, what it offered there.
func (c *Client) Extensions() Extensions { return c.ext }

// TLSState returns the state of the TLS connection; ok is false in clear.
func (c *Client) TLSState() (state tls.ConnectionState, ok bool) {
	t, ok := c.wire.conn.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return t.ConnectionState(), true
}

// Reusable reports whether another transaction may be sent: the host did not
// end the session, nothing failed, and its limit of transactions is not
// reached (RFC 9422).
func (c *Client) Reusable() bool {
	return !c.over.Load() && (c.ext.MaxTransactions == 0 || c.mails < c.ext.MaxTransactions)
}

// Quit ends the session in good order and closes the connection. It takes
// Timeouts.Quit at most, and no time when the session has failed; the outcome
// of a transaction should be recorded before it.
func (c *Client) Quit() {
	defer c.abandon()
	if c.over.Swap(true) {
		return
	}
	// One limit for both: RFC 5321 §4.1.1.10 asks to wait for the reply, not
	// to wait for it long.
	c.wire.limit(c.options.Timeouts.of(StageQuit))
	if _, err := io.WriteString(c.wire.conn, "QUIT\r\n"); err != nil {
		return
	}
	c.options.Talk.Command(true, "QUIT")
	if _, err := c.replies.read(); err != nil {
		return
	}
	c.heardReply()
	if t, ok := c.wire.conn.(*tls.Conn); ok {
		_ = t.CloseWrite() // the host reads, or it would not have replied
	}
}

// Close closes the connection at once, without QUIT. It may be called at any
// time, also twice.
func (c *Client) Close() error {
	c.over.Store(true)
	if err := c.wire.raw.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the connection: %w", err)
	}
	return nil
}

// abandon ends a session of which nothing is expected any more. The raw
// connection is closed: TLS would try to say goodbye to a host that may not
// be listening.
func (c *Client) abandon() {
	c.over.Store(true)
	_ = c.wire.raw.Close() // there is nobody to tell
}

// exchange sends what stands in c.out and waits for one reply to it.
func (c *Client) exchange(stage Stage) (code int, err error) {
	if err := c.send(stage); err != nil {
		return 0, err
	}
	return c.receive(stage)
}

// send writes what stands in c.out.
func (c *Client) send(stage Stage) error {
	c.record(stage)
	return c.write(stage, c.out)
}

// record tells who reads along what commands are about to be written.
func (c *Client) record(stage Stage) {
	if c.options.Talk == nil {
		return
	}
	for line := range strings.Lines(string(c.out)) {
		// RFC 4954 §4: a line of AUTH that is no command is a response.
		if stage == StageAuth && !strings.HasPrefix(line, "AUTH ") {
			c.options.Talk.Secret(true)
		} else {
			c.options.Talk.Command(true, line)
		}
	}
}

// heardReply tells who reads along what was replied.
func (c *Client) heardReply() {
	if c.options.Talk == nil {
		return
	}
	for line := range strings.Lines(string(c.replies.reply().AppendWire(nil))) {
		c.options.Talk.Reply(false, strings.TrimRight(line, "\r\n"))
	}
}

// write writes p, within the limit of the stage.
func (c *Client) write(stage Stage, p []byte) error {
	c.wire.limit(c.options.Timeouts.of(stage))
	if _, err := c.wire.conn.Write(p); err != nil {
		fail := c.failure(stage, fmt.Errorf("write: %w", err))
		if c.late() {
			fail.Reply = c.replies.kept()
		}
		return fail
	}
	return nil
}

// receive waits for one reply, within the limit of the stage. A 421 ends the
// session whatever it answers (RFC 5321 §3.8).
func (c *Client) receive(stage Stage) (code int, err error) {
	c.wire.limit(c.options.Timeouts.of(stage))
	if code, err = c.replies.read(); err != nil {
		return 0, c.failure(stage, fmt.Errorf("wait for reply: %w", err))
	}
	c.heard = time.Now()
	c.heardReply()
	if code == 421 {
		c.over.Store(true)
		return code, c.refused(stage)
	}
	return code, nil
}

// late looks for a reply after a write failed: a host that has seen enough
// answers and closes, and its reason is worth more than a broken pipe.
func (c *Client) late() bool {
	c.wire.limit(lateReply)
	code, err := c.replies.read()
	return err == nil && code >= 400
}

// refused returns the error for the last reply, which was no good one.
func (c *Client) refused(stage Stage) *Error {
	return &Error{Stage: stage, Reply: c.replies.kept()}
}

// misplaced returns the error for a reply that is no answer to the command.
func (c *Client) misplaced(stage Stage) *Error {
	fail := c.failure(stage, fmt.Errorf("%w: the reply is no answer to the command", ErrProtocol))
	fail.Reply = c.replies.kept()
	return fail
}

// failure returns the error for something that ends the session.
func (c *Client) failure(stage Stage, err error) *Error {
	c.over.Store(true)
	c.options.Talk.Note("session fails: " + err.Error())
	if cause := c.wire.cancelled(); cause != nil {
		err = cause // the deadline in the past was only the means
	}
	return &Error{Stage: stage, Err: err}
}

// positive sends what stands in c.out, to which the only good answer is 2yz.
func (c *Client) positive(stage Stage) error {
	code, err := c.exchange(stage)
	switch {
	case err != nil:
		return err
	case smtp.Reply{Code: code}.Positive():
		return nil
	case code < 400:
		return c.misplaced(stage)
	}
	return c.refused(stage)
}
