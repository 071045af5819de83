package main_test

import (
	"errors"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// manager is the socket on which a service manager is told how we are.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &manager{t, conn}
}

// await returns the next message that matches.
func (m *manager) await(pattern string) {
	m.t.Helper()
	expr := regexp.MustCompile("(?s)^" + pattern + "$")
	var heard []string
	_ = m.conn.SetReadDeadline(time.Now().Add(patience)) // what fails here fails when it reads
	for b := make([]byte, 4096); ; {
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("waited for %q, and heard %q: %v", pattern, heard, err)
		}
		if heard = append(heard, string(b[:n])); expr.Match(b[:n]) {
			return
		}
	}
}

// env adds to the environment of a command.
func env(more ...string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Env = append(c.Env, more...) }
}

// TestServiceManagerIsTold has the program speak to a service manager as
// sd_notify(3) describes it.
func TestServiceManagerIsTold(t *testing.T) {
	binary := build(t)
	m := newManager(t)
	config := writeConfig(t, settings{nextHop: "127.0.0.1:9"})
	p := start(t, binary, config, env("NOTIFY_SOCKET="+m.conn.LocalAddr().String(), "WATCHDOG_USEC=50000"))
	m.await("READY=1")
	m.await("WATCHDOG=1")
	m.await("WATCHDOG=1")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.await(`RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+`)
	m.await("READY=1")
	// A reload that is refused is over as well.
	if err := os.WriteFile(config, []byte("nonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.await(`RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+`)
	m.await("READY=1")
	p.stop()
	m.await("STOPPING=1")
}

// handOver runs a command with sockets, as sd_listen_fds(3) describes it.
func handOver(files ...*os.File) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		// Only the process itself knows its number before it runs.
		c.Args = slices.Concat([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, c.Args)
		c.Path = "/bin/sh"
		c.ExtraFiles = files
		c.Env = append(c.Env, "LISTEN_FDS="+string(rune('0'+len(files))))
	}
}

// openSocket listens, and returns the address and the socket to hand over.
func openSocket(t *testing.T) (address string, file *os.File) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if file, err = ln.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return ln.Addr().String(), file
}

// TestRestartRefusesNoConnection restarts the program again and again on a socket
// that outlives it, while clients keep sending.
func TestRestartRefusesNoConnection(t *testing.T) {
	binary := build(t)
	address, socket := openSocket(t)
	metrics, metricsSocket := openSocket(t)
	_, stray := openSocket(t)
	config := writeConfig(t, settings{nextHop: "127.0.0.1:9"})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), "127.0.0.1:0", address, 1)
	edited = strings.Replace(edited, "127.0.0.1:0", metrics, 1)
	if err := os.WriteFile(config, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() *process { return start(t, binary, config, handOver(socket, metricsSocket, stray)) }
	p := run()
	if p.smtp[0] != address || p.http != metrics {
		t.Fatalf("it listens on %v and %s, want %s and %s", p.smtp, p.http, address, metrics)
	}
	var taken, told atomic.Int64
	var clients sync.WaitGroup
	end := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				switch err := deliverOne(address); {
				case err == nil:
					taken.Add(1)
				case isStopping(err):
					told.Add(1) // in so many words, in a session that had begun
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	for range 4 {
		before := taken.Load()
		waitFor(t, "mail to be taken", func() bool { return taken.Load() >= before+50 || t.Failed() })
		p.stop()
		p = run()
	}
	before := taken.Load()
	waitFor(t, "mail to be taken", func() bool { return taken.Load() > before || t.Failed() })
	close(end)
	clients.Wait()
	if got := p.metric("waypost_queue_messages"); int64(got) != taken.Load() {
		t.Errorf("the queue has %v messages, and %d were acknowledged", got, taken.Load())
	}
	t.Logf("%d messages were taken over four restarts, and %d sessions told that it is stopping", taken.Load(), told.Load())
	p.stop()
}

// deliverOne sends one message in a session of its own.
func deliverOne(address string) error {
	c, err := dial(address)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.data(envelope{from: "s@a.test", to: []string{"r@b.test"}}, []byte("Subject: x\r\n\r\nx\r\n"))
	return err
}

// isStopping reports whether a session was ended with 421 (RFC 5321 §3.8).
func isStopping(err error) bool {
	reply, ok := errors.AsType[*textproto.Error](err)
	return ok && reply.Code == 421
}
