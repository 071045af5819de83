package relaytest

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// Distant returns the near end of a line to conn on which every octet takes half of
// rtt each way. It has room for whatever is under way.
func Distant(conn net.Conn, rtt time.Duration) net.Conn {
	near, far := net.Pipe()
	go carry(conn, far, rtt/2)
	go carry(far, conn, rtt/2)
	return near
}

func carry(to, from net.Conn, delay time.Duration) {
	type piece struct {
		octets []byte
		due    time.Time
	}
	line := make(chan piece, 10_000)
	go func() {
		defer close(line)
		for buffer := make([]byte, 64<<10); ; {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			line <- piece{bytes.Clone(buffer[:n]), time.Now().Add(delay)}
		}
	}()
	defer from.Close()
	defer to.Close()
	for p := range line {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.octets); err != nil {
			break
		}
	}
	for range line { // so that its other end does not wait
	}
}

// Link is a line as that of Distant, to which whole programs connect by TCP. Until
// it is opened it takes connections, and carries nothing.
type Link struct {
	// Address is where it listens.
	Address string

	t      testing.TB
	to     string
	rtt    time.Duration
	ln     net.Listener
	open   chan struct{}
	opened sync.Once
	work   sync.WaitGroup
}

// NewLink returns a line to an address. It ends with the test.
func NewLink(t testing.TB, to string, rtt time.Duration) *Link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("link: %v", err)
	}
	l := &Link{Address: ln.Addr().String(), t: t, to: to, rtt: rtt, ln: ln, open: make(chan struct{})}
	l.work.Go(l.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		l.Open()
		l.work.Wait()
	})
	return l
}

// Open has the line carry what is said.
func (l *Link) Open() { l.opened.Do(func() { close(l.open) }) }

func (l *Link) accept() {
	for {
		near, err := l.ln.Accept()
		if err != nil {
			return // it is closed
		}
		l.work.Go(func() {
			<-l.open
			far, err := net.Dial("tcp", l.to)
			if err != nil {
				_ = near.Close()
				return
			}
			l.work.Go(func() { carry(far, near, l.rtt/2) })
			carry(near, far, l.rtt/2)
		})
	}
}
