package relay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"waypost/configs"
	"waypost/relay/dkim"
	"waypost/relay/relaytest"
)

const (
	benchSessions = 20
	benchSize     = 5120
)

// benchStart runs a relay whose every message goes to via, and that signs with
// the keys.
func benchStart(b *testing.B, via string, log io.Writer, keys ...configs.DKIM) *service {
	b.Helper()
	return startLogged(b, 1, func(c *configs.Config) {
		c.Routes = []configs.Route{{To: "*", Via: configs.Legs(via), TLS: configs.TLSNone}}
		c.Log.Level = configs.LevelInfo
		c.DKIM = keys
	}, slog.New(slog.NewJSONHandler(log, nil)))
}

// discard takes the log, and counts the messages that were signed.
type discard struct{ signed atomic.Int64 }

func (d *discard) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"signed":`)) {
		d.signed.Add(1)
	}
	return len(p), nil
}

// benchSend sends b.N messages over sessions that stay open, one command at a
// time as most clients do, and returns when all are acknowledged.
func benchSend(b *testing.B, address string) {
	body := "From: <s@a.example>\r\nSubject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", benchSize/80) + ".\r\n"
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
	s := benchStart(b, "smtp://127.0.0.1:1", &discard{})
	b.ReportAllocs()
	b.ResetTimer()
	benchSend(b, s.SMTPAddrs()[0].String())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkAcceptSigned measures what signatures cost of BenchmarkAccept.
func BenchmarkAcceptSigned(b *testing.B) {
	key := func(b *testing.B, a dkim.Algorithm) configs.DKIM {
		file, _ := newKey(b, a)
		return configs.DKIM{Domain: "a.example", Selector: string(a), KeyFile: file}
	}
	for _, with := range [][]dkim.Algorithm{{}, {dkim.Ed25519}, {dkim.RSA}, {dkim.Ed25519, dkim.RSA}} {
		b.Run(fmt.Sprint(with), func(b *testing.B) {
			var keys []configs.DKIM
			for _, a := range with {
				keys = append(keys, key(b, a))
			}
			var log discard
			s := benchStart(b, "smtp://127.0.0.1:1", &log, keys...)
			b.ResetTimer()
			benchSend(b, s.SMTPAddrs()[0].String())
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			if signed := log.signed.Load(); len(with) > 0 && signed != int64(b.N) {
				b.Errorf("%d of %d messages were signed", signed, b.N)
			}
		})
	}
}

// BenchmarkEndToEnd measures the same messages through the queue to a sink.
func BenchmarkEndToEnd(b *testing.B) {
	sink := relaytest.NewSink(b, "127.0.0.1:0", relaytest.WithCounting(), relaytest.WithLeniency())
	s := benchStart(b, "smtp://"+sink.Address(), &discard{})
	b.ReportAllocs()
	b.ResetTimer()
	benchSend(b, s.SMTPAddrs()[0].String())
	sink.Wait(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
