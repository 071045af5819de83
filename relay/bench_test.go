package relay

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

const (
	benchSessions = 20
	benchSize     = 5120
)

// benchStart runs a relay whose every message goes to via.
func benchStart(b *testing.B, via string) *service {
	b.Helper()
	return startLogged(b, 1, func(c *configs.Config) {
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs(via), TLS: configs.TLSNone}}
		c.Log.Level = configs.LevelInfo
	}, slog.New(slog.NewJSONHandler(discard{}, nil)))
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// benchSend sends b.N messages over sessions that stay open, one command at a
// time as most clients do, and returns when all are acknowledged.
func benchSend(b *testing.B, address string) {
	body := "Subject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", benchSize/80) + ".\r\n"
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for i := range benchSessions {
		wg.Go(func() {
			nc, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer nc.Close()
			r := bufio.NewReader(nc)
			say := func(s, want string) bool {
				if s != "" {
					nc.Write([]byte(s))
				}
				for {
					line, err := r.ReadSlice('\n')
					if err != nil || !strings.HasPrefix(string(line), want) {
						b.Errorf("%.20q: %q, %v", s, line, err)
						return false
					}
					if line[3] == ' ' {
						return true
					}
				}
			}
			ok := say("", "220") && say("EHLO bench.example\r\n", "250")
			mail := fmt.Sprintf("MAIL FROM:<s%d@a.example>\r\n", i)
			for ok && left.Add(-1) >= 0 {
				ok = say(mail, "250") && say("RCPT TO:<r@b.example>\r\n", "250") && say("DATA\r\n", "354") && say(body, "250")
			}
			say("QUIT\r\n", "221")
		})
	}
	wg.Wait()
}

// BenchmarkAccept measures durable acceptance: 5 KB messages, 20 sessions kept
// open, next hop down.
func BenchmarkAccept(b *testing.B) {
	s := benchStart(b, "smtp://127.0.0.1:1")
	b.ReportAllocs()
	b.ResetTimer()
	benchSend(b, s.SMTPAddrs()[0].String())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkEndToEnd measures the same messages through the queue to a sink.
func BenchmarkEndToEnd(b *testing.B) {
	sink := relaytest.NewSink(b, "127.0.0.1:0", relaytest.WithCounting(), relaytest.WithLeniency())
	s := benchStart(b, "smtp://"+sink.Address())
	b.ReportAllocs()
	b.ResetTimer()
	benchSend(b, s.SMTPAddrs()[0].String())
	sink.Wait(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
