package queue

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkExpire has messages expire together behind a destination that takes
// no session, with and without a report on each.
func BenchmarkExpire(b *testing.B) {
	for _, from := range []string{"", "s@a.test"} {
		b.Run(fmt.Sprintf("reports=%v", from != ""), func(b *testing.B) {
			w := &world{answer: func(_ *Message, d *Delivery) Outcome {
				if d.Destination != "dead.test" {
					return all(d, Result{State: Delivered})
				}
				return refused(d)
			}}
			s := &sized{}
			s.Queue = open(b, w, func(o *Options) { o.Retry.Lifetime = time.Nanosecond })
			s.from, s.to = path(from), path("r@dead.test")
			s.fill(b, b.N)
			b.ResetTimer()
			stop := running(b, s.Queue)
			for s.store.sum().messages > 0 {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			stop()
		})
	}
}
