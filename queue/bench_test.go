package queue

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkEnqueue measures the store alone: 5 KB messages that become durable,
// by the number of writers that wait for that.
func BenchmarkEnqueue(b *testing.B) {
	content := []byte(strings.Repeat("x", 5120))
	for _, writers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			q := open(b, &world{}, nil)
			defer q.Close()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						d := q.NewDraft()
						d.Write(content)
						err := d.Commit(Envelope{ReversePath: path("s@a.test"), Arrival: time.Now()}, []Recipient{{Path: path("r@b.test")}})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
