package smtpclient_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// yes is a host in memory that agrees to everything at once. What it costs is
// next to nothing, so that a benchmark sees the client alone.
type yes struct {
	net.Conn // nil: deadlines and addresses are not asked for
	out      []byte
	content  bool
}

func (y *yes) Read(p []byte) (int, error) {
	n := copy(p, y.out)
	y.out = y.out[n:]
	return n, nil
}

func (y *yes) Write(p []byte) (int, error) {
	y.out = y.out[:0]
	if y.content {
		if bytes.HasSuffix(p, []byte("\r\n.\r\n")) {
			y.out, y.content = append(y.out, "250 2.0.0 taken\r\n"...), false
		}
		return len(p), nil
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(p, []byte("\r\n")), []byte("\r\n")) {
		switch string(line[:4]) {
		case "EHLO":
			y.out = append(y.out, "250-yes.example\r\n250-PIPELINING\r\n250 SIZE\r\n"...)
		case "DATA":
			y.out, y.content = append(y.out, "354 go\r\n"...), true
		default:
			y.out = append(y.out, "250 2.1.0 ok\r\n"...)
		}
	}
	return len(p), nil
}

func (y *yes) SetDeadline(time.Time) error { return nil }
func (y *yes) Close() error                { return nil }

func benchmarkSend(b *testing.B, conn net.Conn, size int) {
	c, err := smtpclient.New(b.Context(), conn, options())
	if err != nil {
		b.Fatal(err)
	}
	content := letter(size)
	tx := message(b, "a@d.example")
	tx.Size = int64(len(content))
	b.SetBytes(tx.Size)
	b.ReportAllocs()
	reader := bytes.NewReader(nil)
	for b.Loop() {
		reader.Reset(content)
		tx.Content = io.Reader(reader)
		res, err := c.Send(b.Context(), tx)
		if err != nil || !res.Recipients[0].Positive() {
			b.Fatal(res, err)
		}
	}
	if err := c.Close(); err != nil {
		b.Error(err)
	}
}

// The client alone: no kernel, no peer.
func BenchmarkSend5KB(b *testing.B) {
	benchmarkSend(b, &yes{out: []byte("220 yes.example\r\n")}, 5000)
}

// The client alone with a large content.
func BenchmarkSend5MB(b *testing.B) {
	benchmarkSend(b, &yes{out: []byte("220 yes.example\r\n")}, 5_000_000)
}

// Both sides and the kernel between them.
func BenchmarkSend5KBLoopback(b *testing.B) {
	s := relaytest.NewSink(b, "127.0.0.5:0", relaytest.WithCounting())
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		b.Fatal(err)
	}
	benchmarkSend(b, conn, 5000)
}
