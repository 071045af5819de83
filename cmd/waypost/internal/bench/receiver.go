package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Receiver counts the messages that arrive, and keeps none of them.
type Receiver struct {
	ln net.Listener

	mu      sync.Mutex
	count   int
	last    time.Time
	changed chan struct{} // closed and replaced at each arrival that is waited for
	want    int
}

// NewReceiver listens on address.
func NewReceiver(address string) (*Receiver, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	r := &Receiver{ln: ln, changed: make(chan struct{})}
	go r.accept()
	return r, nil
}

// Addr returns where it listens.
func (r *Receiver) Addr() net.Addr { return r.ln.Addr() }

// Close stops listening. Sessions end when their clients do.
func (r *Receiver) Close() error { return r.ln.Close() }

// Wait returns when n messages have arrived, with the time of the last.
func (r *Receiver) Wait(ctx context.Context, n int) (time.Time, error) {
	r.mu.Lock()
	for r.count < n {
		r.want = n
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	return r.last, nil
}

func (r *Receiver) received() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	r.last = time.Now()
	if r.count == r.want {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

func (r *Receiver) accept() {
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return
		}
		go r.serve(conn)
	}
}

// serve speaks as little SMTP as will do, and answers what came together with
// one write.
func (r *Receiver) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	out := bufio.NewWriter(conn)
	out.WriteString("220 bench.example ESMTP\r\n")
	for {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch verb := string(bytes.ToUpper(line[:min(len(line), 4)])); verb {
		case "EHLO":
			out.WriteString("250-bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n")
		case "DATA":
			out.WriteString("354 go\r\n")
			if out.Flush() != nil || skipContent(in) != nil {
				return
			}
			r.received()
			out.WriteString("250 2.0.0 ok\r\n")
		case "QUIT":
			out.WriteString("221 2.0.0 bye\r\n")
			out.Flush()
			return
		default:
			out.WriteString("250 2.0.0 ok\r\n")
		}
	}
}

// skipContent reads up to the final dot.
func skipContent(in *bufio.Reader) error {
	start := true
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
		if start && string(line) == ".\r\n" {
			return nil
		}
		start = err == nil
	}
}
