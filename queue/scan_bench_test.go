package queue

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkScans has mail come, in turns alone and while listings and changes by
// an operator go through the whole queue again and again, and statistics are asked for
// a hundred times a second, and reports how much is left of the first rate. WAYPOST_BENCH_SCANS says how many messages wait.
func BenchmarkScans(b *testing.B) {
	size := 20_000
	if text := os.Getenv("WAYPOST_BENCH_SCANS"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	s := &sized{size: size, from: path("s@a.test")}
	s.Queue = open(b, &world{}, nil)
	defer func() { _ = s.Close() }() // the directory goes
	s.fill(b, size)
	if err := s.checkpoint(nil); err != nil {
		b.Fatal(err)
	}
	const each = 20_000
	rate := func() float64 {
		begun := time.Now()
		s.fill(b, each)
		return each / time.Since(begun).Seconds()
	}
	var alone, among float64
	var scans atomic.Int64
	for b.Loop() {
		a := rate()
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for _, scan := range []func() error{
			func() error { _, _, err := s.List(Filter{ToDomain: "nowhere.test"}, 0, 100); return err },
			func() error { _ = s.Stats(); time.Sleep(10 * time.Millisecond); return nil },
			func() error { _, err := s.Hold(Filter{ToDomain: "rare.test"}); return err },
			func() error { _, err := s.Release(Filter{ToDomain: "rare.test"}); return err },
			func() error { _, err := s.Bounce(Filter{From: "nobody@nowhere.test"}, "x"); return err },
		} {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := scan(); err != nil {
						b.Error(err)
						return
					}
					scans.Add(1)
				}
			})
		}
		with := rate()
		close(stop)
		readers.Wait()
		alone, among = alone+a, among+with
		b.Logf("%.0f messages a second alone, %.0f among scans: %.2f", a, with, with/a)
	}
	b.ReportMetric(among/alone, "ratio")
	b.ReportMetric(float64(scans.Load()), "scans")
}
