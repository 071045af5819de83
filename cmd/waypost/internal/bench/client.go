package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// client is one session with the target.
type client struct {
	conn     net.Conn
	r        *bufio.Reader
	stop     func() bool
	eightBit bool // the target takes BODY=8BITMIME
}

// dialTries is how often a session is begun again that is cut off before its
// greeting: OpenSMTPD's listen queue is too short for a burst of them.
const dialTries = 20

func dial(ctx context.Context, target string) (c *client, err error) {
	for try := range dialTries {
		c, err = dialOnce(ctx, target)
		if !errors.Is(err, syscall.ECONNRESET) {
			break
		}
		select {
		case <-time.After(time.Duration(try+1) * 5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return c, err
}

func dialOnce(ctx context.Context, target string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReader(conn), stop: context.AfterFunc(ctx, func() { conn.Close() })}
	err = c.reply("the connection", 220, nil)
	if err == nil {
		err = c.hello()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) hello() error {
	if _, err := c.conn.Write([]byte("EHLO bench.example\r\n")); err != nil {
		return err
	}
	return c.reply("EHLO", 250, func(line string) {
		if keyword, _, _ := strings.Cut(line, " "); strings.EqualFold(keyword, "8BITMIME") {
			c.eightBit = true
		}
	})
}

// send sends one message to so many recipients.
func (c *client) send(m message, recipients int) error {
	parameters := ""
	if m.eightBit {
		if !c.eightBit {
			return errors.New("the target does not take 8-bit contents (RFC 6152)")
		}
		parameters = " BODY=8BITMIME"
	}
	if err := c.say("MAIL FROM:<sender@bench.example>"+parameters, 250); err != nil {
		return err
	}
	for i := range recipients {
		if err := c.say("RCPT TO:<r"+strconv.Itoa(i)+"@bench.example>", 250); err != nil {
			return err
		}
	}
	if err := c.say("DATA", 354); err != nil {
		return err
	}
	wire := net.Buffers{m.head, m.rest}
	if _, err := wire.WriteTo(c.conn); err != nil {
		return err
	}
	return c.reply("the content", 250, nil)
}

func (c *client) say(text string, code int) error {
	if _, err := c.conn.Write([]byte(text + "\r\n")); err != nil {
		return err
	}
	return c.reply(text, code, nil)
}

// reply reads a reply, and gives the text of each line but the first to each.
func (c *client) reply(to string, code int, each func(string)) error {
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("no reply to %s: %w", to, err)
		}
		if len(line) < 4 || string(line[:3]) != strconv.Itoa(code) {
			return fmt.Errorf("reply to %s: %q, want %d", to, strings.TrimSpace(string(line)), code)
		}
		if !first && each != nil {
			each(strings.TrimSpace(string(line[4:])))
		}
		if line[3] != '-' {
			return nil
		}
	}
}

// close ends the session, if there is one. What was acknowledged is the
// target's, however this ends.
func (c *client) close() {
	if c == nil {
		return
	}
	c.stop()
	_, _ = c.conn.Write([]byte("QUIT\r\n"))
	_ = c.conn.Close()
}
