package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"net"
	"strconv"
	"strings"
	"sync"
)

// Receiver tells a ledger what arrives, and keeps nothing.
type Receiver struct {
	ln     net.Listener
	ledger *Ledger

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended sync.WaitGroup
}

// NewReceiver listens on address.
func NewReceiver(address string, ledger *Ledger) (*Receiver, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	r := &Receiver{ln: ln, ledger: ledger, conns: map[net.Conn]bool{}}
	r.ended.Go(r.accept)
	return r, nil
}

// Addr returns where it listens.
func (r *Receiver) Addr() net.Addr { return r.ln.Addr() }

// Close stops listening and cuts what is still connected.
func (r *Receiver) Close() error {
	err := r.ln.Close()
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close() // serve notices
	}
	r.mu.Unlock()
	r.ended.Wait()
	return err
}

func (r *Receiver) accept() {
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[conn] = true
		r.mu.Unlock()
		r.ended.Go(func() {
			r.serve(conn)
			_ = conn.Close()
			r.mu.Lock()
			delete(r.conns, conn)
			r.mu.Unlock()
		})
	}
}

// serve speaks as little SMTP as will do, and answers what came together with
// one write.
func (r *Receiver) serve(conn net.Conn) {
	in := bufio.NewReaderSize(conn, 64<<10)
	out := bufio.NewWriter(conn)
	answer := func(text string) { _, _ = out.WriteString(text) } // Flush has the error
	answer("220 sink.bench.example ESMTP\r\n")
	var to []int
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
			answer("250-sink.bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n")
		case "RCPT":
			to = append(to, recipient(line))
			answer("250 2.1.5 ok\r\n")
		case "DATA":
			answer("354 go\r\n")
			if out.Flush() != nil {
				return
			}
			run, n, sum, err := readContent(in)
			if err != nil {
				return
			}
			// Before the reply: an arrival that the relay knows of counts.
			r.ledger.arrived(run, n, to, sum)
			to = to[:0]
			answer("250 2.0.0 ok\r\n")
		case "QUIT":
			answer("221 2.0.0 bye\r\n")
			_ = out.Flush() // nobody waits for it
			return
		case "MAIL", "RSET":
			to = to[:0]
			answer("250 2.0.0 ok\r\n")
		default:
			answer("250 2.0.0 ok\r\n")
		}
	}
}

// recipient reads the number of a recipient, -1 when it has none.
func recipient(line []byte) int {
	_, path, _ := bytes.Cut(line, []byte("<r"))
	number, _, _ := bytes.Cut(path, []byte("@"))
	n, err := strconv.Atoi(string(number))
	if err != nil {
		return -1
	}
	return n
}

// readContent reads up to the final dot. The checksum is that of what stands
// below the field with the number, as it came over the wire.
func readContent(in *bufio.Reader) (run string, n int, sum uint32, err error) {
	n = -1
	for start, header := true, true; ; {
		line, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return "", 0, 0, err
		}
		switch {
		case start && string(line) == ".\r\n":
			return run, n, sum, nil
		case n >= 0:
			sum = crc32.Update(sum, castagnoli, line)
		case start && header && bytes.HasPrefix(line, []byte(tag)):
			run, n = number(string(line[len(tag):]))
		case start && string(line) == "\r\n":
			header = false
		}
		start = err == nil
	}
}

// number reads what stands in the field: the run, and the message.
func number(value string) (run string, n int) {
	run, text, _ := strings.Cut(strings.TrimSpace(value), " ")
	n, err := strconv.Atoi(text)
	if err != nil {
		return "", -1
	}
	return run, n
}
