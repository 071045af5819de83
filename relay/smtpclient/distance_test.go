package smtpclient_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/relaytest"
	"waypost/relay/smtpclient"
)

// ways are what a host can offer, and the round trips that a small message for
// two recipients then takes.
var ways = []struct {
	name   string
	offers []string
	trips  int
}{
	{"one by one", []string{"8BITMIME"}, 5},
	{"pipelining", []string{"PIPELINING"}, 2},
	{"chunking", []string{"CHUNKING"}, 5}, // nothing is won by it alone
	{"pipelining and chunking", []string{"PIPELINING", "CHUNKING"}, 1},
}

// TestRoundTrips counts them by the time that they take.
func TestRoundTrips(t *testing.T) {
	const rtt = 50 * time.Millisecond
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := relaytest.NewSink(t, "", relaytest.WithExtensions(way.offers...))
				c, err := smtpclient.New(t.Context(), relaytest.Distant(s.Pipe(), rtt), options())
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					began := time.Now()
					sent(t, c, message(t, "a@d.example", "b@d.example"), "250 250")
					if took := time.Since(began); took != time.Duration(way.trips)*rtt {
						t.Errorf("took %v, want %d round trips of %v", took, way.trips, rtt)
					}
				}
				c.Quit()
				synctest.Wait()
			})
		})
	}
}

// BenchmarkDistance sends 5 KB messages over one connection, to hosts that are
// near and far.
func BenchmarkDistance(b *testing.B) {
	content := letter(5000)
	for _, rtt := range []time.Duration{0, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("%v/%s", rtt, way.name), func(b *testing.B) {
				s := relaytest.NewSink(b, "127.0.0.5:0", relaytest.WithExtensions(way.offers...), relaytest.WithCounting())
				conn, err := net.Dial("tcp", s.Address())
				if err != nil {
					b.Fatal(err)
				}
				if rtt > 0 {
					conn = relaytest.Distant(conn, rtt)
				}
				c, err := smtpclient.New(b.Context(), conn, options())
				if err != nil {
					b.Fatal(err)
				}
				tx := message(b, "a@d.example")
				tx.Size = int64(len(content))
				reader := bytes.NewReader(content)
				tx.Content = reader
				b.ResetTimer()
				for range b.N {
					_, _ = reader.Seek(0, io.SeekStart)
					if _, err := c.Send(b.Context(), tx); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				c.Quit()
			})
		}
	}
}
