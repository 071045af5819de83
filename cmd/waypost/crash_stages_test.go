package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stagedSink is a next hop of few words, which tells when a transaction gets to a
// stage and answers nothing more to it then. It counts what it has said yes to.
type stagedSink struct {
	listener net.Listener
	reached  chan string // the stage at which it stopped
	serving  sync.WaitGroup

	mu    sync.Mutex
	at    string         // where to stop; empty is nowhere
	taken map[string]int // messages by their subject, once the final dot came
	open  map[net.Conn]bool
}

// The stages of a transaction with a next hop, in their order. At the last the next
// hop has said yes, and the connection is closed before anything else is.
var outgoingStages = []string{"connected", "EHLO", "MAIL", "RCPT", "DATA", "content", "final dot"}

func newStagedSink(t *testing.T) *stagedSink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stagedSink{listener: ln, reached: make(chan string, 1), taken: map[string]int{}, open: map[net.Conn]bool{}}
	s.serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.serving.Go(func() {
				s.note(conn, true)
				s.serve(conn)
				s.note(conn, false)
				conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.hangUp()
		s.serving.Wait()
	})
	return s
}

func (s *stagedSink) note(conn net.Conn, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open {
		s.open[conn] = true
	} else {
		delete(s.open, conn)
	}
}

// hangUp ends all connections.
func (s *stagedSink) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		conn.Close()
	}
}

// stop says where to stop from now on.
func (s *stagedSink) stop(at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = at
}

// halts reports whether this is the stage to stop at, and then waits for the other
// side to be gone.
func (s *stagedSink) halts(stage string, r *bufio.Reader) bool {
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	if at != stage {
		return false
	}
	select {
	case s.reached <- stage:
	default: // it was told
	}
	for {
		if _, err := r.ReadString('\n'); err != nil {
			return true
		}
	}
}

// serve is one session.
func (s *stagedSink) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	if s.halts("connected", r) {
		return
	}
	fmt.Fprint(conn, "220 sink.example\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.Fields(line + " ?")[0])
		if s.halts(verb, r) {
			return
		}
		switch verb {
		case "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			if !s.content(conn, r) {
				return
			}
		case "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		default:
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
}

// content reads a message, and says yes to it.
func (s *stagedSink) content(conn net.Conn, r *bufio.Reader) bool {
	subject := ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if name, is := strings.CutPrefix(line, "Subject: "); is {
			subject = strings.TrimSpace(name)
		}
		if s.halts("content", r) {
			return false
		}
		if line == ".\r\n" {
			break
		}
	}
	s.mu.Lock()
	s.taken[subject]++
	s.mu.Unlock()
	if s.halts("final dot", r) {
		return false
	}
	fmt.Fprint(conn, "250 taken\r\n")
	return true
}

func (s *stagedSink) count(subject string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken[subject]
}

// wantOnce wants a message to have come, and not twice.
func (s *stagedSink) wantOnce(t *testing.T, subject string) {
	t.Helper()
	if n := s.count(subject); n != 1 {
		t.Errorf("%q arrived %d times", subject, n)
	}
}

// the program is killed at each stage of a transaction with a next hop. The
// message arrives once after the next start, and twice only where the next hop had
// all of it.
func TestKilledAtEachOutgoingStage(t *testing.T) {
	binary := build(t)
	for _, stage := range outgoingStages {
		t.Run(stage, func(t *testing.T) {
			sink := newStagedSink(t)
			sink.stop(stage)
			config := writeConfig(t, settings{nextHop: sink.listener.Addr().String(), dataDir: filepath.Join(t.TempDir(), "data")})
			p := start(t, binary, config)
			sendOne(t, p.smtp[0], "staged")
			expect(t, sink.reached)
			p.kill()
			sink.stop("")
			p = start(t, binary, config)
			p.waitEmpty()
			p.stop()
			want := 1
			if stage == "final dot" {
				want = 2
			}
			if n := sink.count("staged"); n != want {
				t.Errorf("it arrived %d times, want %d", n, want)
			}
		})
	}
}

// a program that is stopped for a while and goes on, with its next hop gone
// meanwhile, loses nothing and sends nothing twice.
func TestStoppedAndContinued(t *testing.T) {
	binary := build(t)
	for _, stage := range outgoingStages {
		t.Run(stage, func(t *testing.T) {
			sink := newStagedSink(t)
			sink.stop(stage)
			p := start(t, binary, writeConfig(t, settings{nextHop: sink.listener.Addr().String()}))
			sendOne(t, p.smtp[0], "staged")
			expect(t, sink.reached)
			if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the program to stand still", func() bool { return processState(t, p.cmd.Process.Pid) == "T" })
			sink.stop("")
			sink.hangUp()
			if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			p.waitEmpty()
			p.stop()
			want := 1
			if stage == "final dot" {
				want = 2 // nobody told the program that it had been taken
			}
			if n := sink.count("staged"); n != want {
				t.Errorf("it arrived %d times, want %d", n, want)
			}
		})
	}
}

// processState is the letter that proc(5) has for it.
func processState(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))[0]
}

// sendOne sends a message by that subject.
func sendOne(t *testing.T, address, subject string) {
	t.Helper()
	c := mustDial(t, address)
	defer c.close()
	if _, err := c.data(envelope{from: "s@a.example", to: []string{"r@b.example"}}, []byte("Subject: "+subject+"\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
}

// expect waits for something that has to happen.
func expect[T any](t *testing.T, event <-chan T) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(patience):
		t.Fatal("it does not get there")
	}
}

// a client is cut off, or the program is killed, at each twentieth of a
// message that is large enough for a file of its own. Nothing is queued of it and
// nothing is left of it, but for the file that a kill leaves until it is old; and the
// next message goes its way.
func TestCutOffAtEachTwentieth(t *testing.T) {
	binary := build(t)
	sink := newStagedSink(t)
	dir := filepath.Join(t.TempDir(), "data")
	config := writeConfig(t, settings{nextHop: sink.listener.Addr().String(), dataDir: dir})
	content := append([]byte("Subject: cut\r\n\r\n"), bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 5000)...)
	wire := stuffed(content)
	p := start(t, binary, config)
	for i := range 20 {
		for _, how := range []string{"FIN", "RST", "RSET between chunks", "killed"} {
			part := wire[:len(wire)*i/20]
			c := mustDial(t, p.smtp[0])
			if err := c.open(envelope{from: "s@a.example", to: []string{"r@b.example"}}); err != nil {
				t.Fatal(err)
			}
			if how == "RSET between chunks" {
				cutChunk(t, c, part)
				if _, err := c.command(250, "RSET"); err != nil {
					t.Fatalf("%s at %d: %v", how, i, err)
				}
				c.close()
				continue
			}
			if _, err := c.command(354, "DATA"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.text.W.Write(part); err != nil {
				t.Fatal(err)
			}
			if err := c.text.W.Flush(); err != nil {
				t.Fatal(err)
			}
			switch how {
			case "RST":
				if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
			case "killed":
				p.kill()
				if err := os.RemoveAll(filepath.Join(dir, "content")); err != nil {
					t.Fatal(err)
				}
				p = start(t, binary, config)
			}
			c.close()
		}
		sendOne(t, p.smtp[0], fmt.Sprint("whole ", i))
		p.waitEmpty() // or the next kill may come before its outcome is on disk, and double it
	}
	p.waitEmpty()
	waitFor(t, "the files of what was cut off to go", func() bool {
		files, err := os.ReadDir(filepath.Join(dir, "content"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files) == 0
	})
	p.stop()
	for i := range 20 {
		sink.wantOnce(t, fmt.Sprint("whole ", i))
	}
	if n := sink.count("cut"); n != 0 {
		t.Errorf("what was cut off arrived %d times", n)
	}
}

// cutChunk sends octets by BDAT, not the last.
func cutChunk(t *testing.T, c *client, b []byte) {
	t.Helper()
	if _, err := fmt.Fprintf(c.text.W, "BDAT %d\r\n%s", len(b), b); err != nil {
		t.Fatal(err)
	}
	if err := c.text.W.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.reply(250); err != nil {
		t.Fatal(err)
	}
}
