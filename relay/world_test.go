package relay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/configs"
	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/relaytest"
)

// world is a running relay with hosts around it. They listen on addresses of
// one block of loopback, all on the port on which mail hosts are tried. Home
// takes what comes for home.example, where the senders live.
type world struct {
	*service
	log   *journal
	block string
	port  int
	home  *relaytest.Sink
}

// newWorld starts a world. Each test has a block of addresses of its own,
// "127.7.1", so that no two of them meet; port 0 means any.
func newWorld(t *testing.T, block string, port int, edit func(*world, *configs.Config)) *world {
	t.Helper()
	w := &world{log: &journal{out: t.Output(), changed: make(chan struct{})}, block: block}
	w.home = relaytest.NewSink(t, fmt.Sprintf("%s.1:%d", block, port))
	w.port = w.home.Port()
	w.service = startLogged(t, w.port, func(c *configs.Config) {
		if edit != nil {
			edit(w, c)
		}
	}, slog.New(slog.NewTextHandler(w.log, nil)))
	w.zone("home.example MX 10 mx.home.example", "mx.home.example A "+w.at(1))
	return w
}

// at returns an address of the world's block.
func (w *world) at(host int) string { return fmt.Sprintf("%s.%d", w.block, host) }

// sink starts a host.
func (w *world) sink(t *testing.T, host int, options ...relaytest.SinkOption) *relaytest.Sink {
	t.Helper()
	return relaytest.NewSink(t, fmt.Sprintf("%s:%d", w.at(host), w.port), options...)
}

// zone adds records: "b.example MX 10 mx.b.example". A number after a dollar
// stands for the address of that host.
func (w *world) zone(lines ...string) {
	for _, line := range lines {
		w.dns.Add(os.Expand(line, func(host string) string { return w.block + "." + host }))
	}
}

// in returns the world for a subtest.
func (w *world) in(t *testing.T) *world {
	s, sub := *w.service, *w
	s.t, sub.service = t, &s
	return &sub
}

// submit sends a message with parameters: of MAIL after the sender, and of
// RCPT after each recipient, as in "r@b.example> NOTIFY=NEVER".
func (w *world) submit(content, from string, to ...string) queue.ID {
	w.t.Helper()
	c := w.dial("127.0.0.1")
	w.cmd(c, 250, "MAIL FROM:<%s", from)
	for _, rcpt := range to {
		w.cmd(c, 250, "RCPT TO:<%s", rcpt)
	}
	w.cmd(c, 354, "DATA")
	body := c.DotWriter()
	io.WriteString(body, strings.ReplaceAll(content, "\r\n", "\n"))
	body.Close()
	text := w.expect(c, 250)
	w.cmd(c, 221, "QUIT")
	id, err := queue.ParseID(text[strings.LastIndexByte(text, ' ')+1:])
	if err != nil {
		w.t.Fatalf("no queue ID in %q", text)
	}
	return id
}

// settled waits until an attempt for a recipient is over and on disk, and
// checks what came of it: "sent", "deferred" or "bounced".
func (w *world) settled(id queue.ID, rcpt, status string) {
	w.t.Helper()
	line := w.log.wait(w.t, " msg=delivery ", " queue_id="+id.String()+" ", " rcpt="+rcpt+" ")
	if !strings.Contains(line, " status="+status+" ") {
		w.t.Fatalf("want status=%s: %s", status, line)
	}
}

// deferred waits until a recipient was deferred, and checks what the queue
// knows of it.
func (w *world) deferred(id queue.ID, rcpt, status, text string) {
	w.t.Helper()
	w.settled(id, rcpt, "deferred")
	e, err := w.queue.Show(id)
	if err != nil {
		w.t.Fatalf("the message is not queued: %v", err)
	}
	for _, d := range e.Deliveries {
		for _, r := range d.Recipients {
			if r.Path.String() != rcpt {
				continue
			}
			if r.State != queue.Deferred || r.Last.Status.String() != status || !strings.Contains(r.Last.Text(), text) {
				w.t.Errorf("%v %v %q, want deferred %s %q", r.State, r.Last.Status, r.Last.Text(), status, text)
			}
			if wait := time.Until(d.Next); d.Attempts != 1 || wait < 29*time.Minute || wait > 34*time.Minute {
				w.t.Errorf("%d attempts, the next one in %v", d.Attempts, wait)
			}
			return
		}
	}
	w.t.Errorf("%s is not in the queue", rcpt)
}

// gone checks that a message has left the queue.
func (w *world) gone(id queue.ID) {
	w.t.Helper()
	if _, err := w.queue.Show(id); !errors.Is(err, queue.ErrUnknown) {
		w.t.Errorf("the message is still in the queue: %v", err)
	}
}

// reports returns how many reports of a kind were written.
func (w *world) reports(kind string) int {
	return int(testutil.ToFloat64(w.metrics.Reports.WithLabelValues(kind)))
}

// arrived waits for the message that reaches a sink for a recipient.
func arrived(t testing.TB, s *relaytest.Sink, rcpt string) relaytest.Message {
	t.Helper()
	for n := 1; ; n++ {
		all := s.Wait(n)
		for _, m := range all {
			if slices.Contains(m.To, rcpt) {
				return m
			}
		}
		n = len(all)
	}
}

// count returns how often a sink saw a command.
func count(s *relaytest.Sink, verb string) int {
	n := 0
	for _, c := range s.Commands() {
		if c.Verb == verb {
			n++
		}
	}
	return n
}

// journal is the log of a relay. A test can wait for a line of it: each
// outcome is logged once it is on disk.
type journal struct {
	out     io.Writer
	mu      sync.Mutex
	lines   []string
	changed chan struct{} // closed, and replaced, with each line
}

// Write takes one line.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(p))
	close(j.changed)
	j.changed = make(chan struct{})
	return j.out.Write(p)
}

// wait returns the first line that has all parts, when it is there.
func (j *journal) wait(t testing.TB, parts ...string) string {
	t.Helper()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for seen := 0; ; {
		j.mu.Lock()
		lines, changed := j.lines[seen:], j.changed
		seen = len(j.lines)
		j.mu.Unlock()
		for _, line := range lines {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return line
			}
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("waited in vain for a line of the log with %q", parts)
		}
	}
}

// has reports whether there is a line with all parts by now.
func (j *journal) has(parts ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	})
}

// TestWorldIPv6: a host with an IPv6 address is reached by it, where there is
// IPv6; else the mail waits for better times.
func TestWorldIPv6(t *testing.T) {
	t.Parallel()
	var six *relaytest.Sink
	port := 0
	if ln, err := net.Listen("tcp", "[::1]:0"); err == nil {
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		six = relaytest.NewSink(t, "[::1]:0")
		port = six.Port()
	}
	w := newWorld(t, "127.7.2", port, func(_ *world, c *configs.Config) {
		c.Delivery.AllowPrivate = append(c.Delivery.AllowPrivate, "::1/128")
	})
	w.zone("six.example MX 10 mx.six.example", "mx.six.example AAAA ::1")
	id := w.send("s@home.example", hello, "r@six.example")
	if six == nil {
		w.deferred(id, "r@six.example", "4.4.1", "connect")
		return
	}
	w.settled(id, "r@six.example", "sent")
	if got := below(t, arrived(t, six, "r@six.example").Content); got != hello {
		t.Errorf("content changed to %q", got)
	}
}

// TestWorldEqualPreferences: hosts of equal preference share the load
// (RFC 5321 §5.1).
func TestWorldEqualPreferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.3", 0, func(_ *world, c *configs.Config) {
		c.Paces = []configs.Pace{{Name: "at-once", To: []string{"b.example"}, MinConnections: 20, MessagesPerConnection: 1000}}
	})
	w.zone("b.example MX 10 mx1.b.example", "b.example MX 10 mx2.b.example", "b.example MX 20 mx3.b.example",
		"mx1.b.example A $5", "mx2.b.example A $6", "mx3.b.example A $7")
	hosts := []*relaytest.Sink{w.sink(t, 5), w.sink(t, 6), w.sink(t, 7)}
	// No host greets before all messages have a connection of their own, so
	// that none of them goes over another's.
	const messages = 20
	var mu sync.Mutex
	connections, all := 0, make(chan struct{})
	for _, s := range hosts {
		s.Script(func(c relaytest.Command) (relaytest.Action, bool) {
			if c.Verb == "CONNECT" {
				mu.Lock()
				defer mu.Unlock()
				if connections++; connections == messages {
					close(all)
				}
			}
			return relaytest.Action{Gate: all}, c.Verb == "CONNECT"
		})
	}
	var ids []queue.ID
	for range messages {
		ids = append(ids, w.send("s@home.example", hello, "r@b.example"))
	}
	for _, id := range ids {
		w.settled(id, "r@b.example", "sent")
	}
	if a, b := hosts[0].Count(), hosts[1].Count(); a == 0 || b == 0 || a+b != messages || hosts[2].Connections() != 0 {
		t.Errorf("%d and %d messages came to hosts of equal preference, %d connections to a worse one", a, b, hosts[2].Connections())
	}
}

// TestWorldMended: what was deferred goes out when the trouble is over and
// somebody says so.
func TestWorldMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.4", 0, nil)
	w.zone("b.example MX 10 mx.b.example", "mx.b.example A $5")
	s := w.sink(t, 5)
	s.CloseListener()
	id := w.send("s@home.example", hello, "r@b.example")
	w.deferred(id, "r@b.example", "4.4.1", "refused")
	s.Reopen()
	if n, err := w.queue.RetryNow(queue.Filter{IDs: []queue.ID{id}}); n != 1 || err != nil {
		t.Fatalf("%d messages, %v", n, err)
	}
	if got := below(t, arrived(t, s, "r@b.example").Content); got != hello {
		t.Errorf("content changed to %q", got)
	}
	w.log.wait(t, " msg=delivery ", " queue_id="+id.String()+" ", " status=sent ")
	w.gone(id)
	if n := w.reports(metrics.ReportFailure); n != 0 {
		t.Errorf("%d reports of failure", n)
	}
}
