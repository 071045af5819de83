package smtpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// sink is a backend that takes everything and keeps nothing.
type sink struct{}

func (sink) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return sinkSession{}, nil }
func (sink) BeginSession(Conn) (gosmtp.Session, error)       { return sinkSession{}, nil }

type sinkSession struct{}

func (sinkSession) Reset()                                 {}
func (sinkSession) Logout() error                          { return nil }
func (sinkSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (sinkSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }

func (sinkSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// servers are the two engines in front of the same backend.
func servers() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{"own": serveOwn, "go-smtp": serveStock}
}

func serveOwn(t testing.TB) string {
	ln := listen(t)
	s := New(Options{Hostname: "relay.example", Backend: sink{}, Connections: NewConnections(ConnectionLimits{Total: 100_000, PerAddress: 100_000})})
	go s.Serve(ln)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return ln.Addr().String()
}

func serveStock(t testing.TB) string {
	ln := listen(t)
	s := gosmtp.NewServer(sink{})
	s.Domain = "relay.example"
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func listen(t testing.TB) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// talker is a client that costs little.
type talker struct {
	net.Conn
	r *bufio.Reader
}

func talk(t testing.TB, address string) *talker {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &talker{nc, bufio.NewReader(nc)}
	c.wait(t, 1)
	return c
}

func (c *talker) ask(t testing.TB, commands string, replies int) {
	if _, err := io.WriteString(c.Conn, commands); err != nil {
		t.Fatal(err)
	}
	c.wait(t, replies)
}

// wait reads so many replies.
func (c *talker) wait(t testing.TB, replies int) {
	for replies > 0 {
		line, err := c.r.ReadSlice('\n')
		if err != nil || line[0] > '3' {
			t.Fatalf("%q, %v", line, err)
		}
		if line[3] == ' ' {
			replies--
		}
	}
}

// BenchmarkConnection: a connection with its greeting, EHLO and QUIT.
func BenchmarkConnection(b *testing.B) {
	for name, serve := range servers() {
		b.Run(name, func(b *testing.B) {
			address := serve(b)
			for b.Loop() {
				c := talk(b, address)
				c.ask(b, "EHLO c.example\r\n", 1)
				c.ask(b, "QUIT\r\n", 1)
				c.Close()
			}
		})
	}
}

// BenchmarkTransaction: messages of 5 kB on one connection, each with three
// writes of a client that pipelines.
func BenchmarkTransaction(b *testing.B) {
	message := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 70) + ".\r\n"
	for name, serve := range servers() {
		b.Run(name, func(b *testing.B) {
			c := talk(b, serve(b))
			defer c.Close()
			c.ask(b, "EHLO c.example\r\n", 1)
			b.SetBytes(int64(len(message)))
			for b.Loop() {
				c.ask(b, envelope+"DATA\r\n", 3)
				c.ask(b, message, 1)
			}
		})
	}
}

// BenchmarkLargeMessage: 50 MB over loopback, by DATA and BDAT, and a plain copy
// of the same octets through the kernel to compare with.
func BenchmarkLargeMessage(b *testing.B) {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 50_000_000/72)
	b.Run("plain copy", func(b *testing.B) {
		ln := listen(b)
		defer ln.Close()
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			buf := make([]byte, contentBuffer)
			for left := len(body); ; {
				n, err := nc.Read(buf)
				if err != nil {
					return
				}
				if left -= n; left == 0 {
					left = len(body)
					nc.Write([]byte("250 OK\r\n"))
				}
			}
		}()
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		c := &talker{nc, bufio.NewReader(nc)}
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			c.ask(b, body, 1)
		}
	})
	for name, serve := range servers() {
		b.Run("DATA "+name, func(b *testing.B) {
			c := talk(b, serve(b))
			defer c.Close()
			c.ask(b, "EHLO c.example\r\n", 1)
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				c.ask(b, envelope+"DATA\r\n", 3)
				io.WriteString(c.Conn, body)
				c.ask(b, ".\r\n", 1)
			}
		})
	}
	b.Run("BDAT own", func(b *testing.B) {
		c := talk(b, serveOwn(b))
		defer c.Close()
		c.ask(b, "EHLO c.example\r\n", 1)
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			c.ask(b, envelope+"BDAT 50000000 LAST\r\n", 2)
			io.WriteString(c.Conn, body)
			c.ask(b, strings.Repeat("y", 50_000_000-len(body)), 1)
		}
	})
}

// idleMemory opens sessions that have said EHLO and returns what each of them
// takes of our memory, the client's connection included.
func idleMemory(t testing.TB, n int, secure bool) float64 {
	certificates := certificate(t)
	ln := listen(t)
	o := Options{Hostname: "relay.example", Backend: sink{}, Connections: NewConnections(ConnectionLimits{Total: n, PerAddress: n})}
	if secure {
		o.TLSMode, o.TLS = TLSImplicit, &tls.Config{Certificates: []tls.Certificate{certificates}}
	}
	s := New(o)
	go s.Serve(ln)
	defer s.Shutdown(context.Background())
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // twice, for what is pooled
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	conns := make([]net.Conn, n)
	defer func() {
		for _, nc := range conns {
			nc.Close()
		}
	}()
	before := used()
	for i := range conns {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = nc
		rw := nc
		if secure {
			rw = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		c := &talker{rw, bufio.NewReader(rw)}
		c.wait(t, 1)
		c.ask(t, "EHLO c.example\r\n", 1)
	}
	return float64(used()-before) / float64(n)
}

// A session that does nothing takes little.
func TestIdleSessionsAreSmall(t *testing.T) {
	for _, tc := range []struct {
		name   string
		secure bool
		most   float64
	}{{"in clear", false, 16 << 10}, {"under TLS", true, 40 << 10}} {
		t.Run(tc.name, func(t *testing.T) {
			got := idleMemory(t, 300, tc.secure)
			t.Logf("%.0f octets for each session", got)
			if got > tc.most && !raceDetector {
				t.Errorf("%.0f octets for each session, want at most %.0f", got, tc.most)
			}
		})
	}
}
