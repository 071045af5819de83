//go:build interop

package main_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// idleSessions is how many clients that do nothing are held at once.
const idleSessions = 10_000

// idleClient is a session that has said EHLO.
type idleClient struct {
	net.Conn
	replies *bufio.Reader
}

func (c *idleClient) ask(command string) error {
	if _, err := c.Write([]byte(command)); err != nil {
		return err
	}
	return c.reply("250")
}

// reply reads a reply to its end.
func (c *idleClient) reply(code string) error {
	for {
		line, err := c.replies.ReadString('\n')
		switch {
		case err != nil:
			return err
		case !strings.HasPrefix(line, code):
			return fmt.Errorf("reply %q, want %s", line, code)
		case line[3] == ' ':
			return nil
		}
	}
}

// openIdle opens a session from one of many addresses of this host.
func openIdle(i int, address string, secure bool) (*idleClient, error) {
	from := net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%100))}
	d := net.Dialer{LocalAddr: &from, Timeout: patience}
	nc, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return nil, err
	}
	c := &idleClient{Conn: nc}
	if secure {
		c.Conn = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	c.replies = bufio.NewReaderSize(c.Conn, 256)
	if err := c.reply("220"); err != nil {
		return c, err
	}
	return c, c.ask("EHLO c.example\r\n")
}

// TestIdleSessions holds 10,000 sessions that do nothing, in clear and under TLS,
// and bounds what each adds to what is resident. All of them still answer
// afterwards.
func TestIdleSessions(t *testing.T) {
	files := syscall.Rlimit{Cur: 2 * idleSessions, Max: 2 * idleSessions}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatalf("%d open files are needed: %v", files.Max, err)
	}
	binary := build(t)
	for _, tc := range []struct {
		name, mode string
		most       int64 // octets for each session
	}{{"in clear", "none", 16 << 10}, {"under TLS", "implicit", 40 << 10}} {
		t.Run(tc.name, func(t *testing.T) {
			more := "[limits]\nconnections = 10100\nconnections_per_address = 200\n"
			if tc.mode != "none" {
				more += tlsTable(t)
			}
			p := start(t, binary, writeConfig(t, settings{nextHop: "127.0.0.1:9", listeners: []string{tc.mode}, more: more}))
			pid := p.cmd.Process.Pid
			for range 20 { // what is there once for all sessions
				c, err := openIdle(0, p.smtp[0], tc.mode != "none")
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
			before, begun := status(t, pid, "VmRSS"), time.Now()
			clients := make([]*idleClient, idleSessions)
			each := func(do func(i int) error) {
				var workers sync.WaitGroup
				for w := range 20 {
					workers.Go(func() {
						for i := w; i < idleSessions; i += 20 {
							if err := do(i); err != nil {
								t.Errorf("session %d: %v", i, err)
								return
							}
						}
					})
				}
				workers.Wait()
			}
			each(func(i int) (err error) {
				clients[i], err = openIdle(i, p.smtp[0], tc.mode != "none")
				return err
			})
			opened := time.Since(begun)
			if t.Failed() {
				t.FailNow()
			}
			session := (status(t, pid, "VmRSS") - before) / idleSessions
			t.Logf("%d sessions opened in %s: %d octets resident for each, %.1f MB in all", idleSessions, opened.Round(time.Millisecond),
				session, float64(status(t, pid, "VmRSS"))/1e6)
			if session > tc.most {
				t.Errorf("%d octets for each session, want at most %d", session, tc.most)
			}
			each(func(i int) error { return clients[i].ask("NOOP\r\n") })
			for _, c := range clients {
				c.Close()
			}
		})
	}
}
