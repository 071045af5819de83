package queue

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/relay/smtp"
)

// defaultSizes are the sizes of the queue in BenchmarkSize, in messages;
// WAYPOST_BENCH_SIZES="1000 100000 1000000" sets others. A million takes 3 GB
// of disk and some minutes to put in.
const defaultSizes = "1000 100000"

// BenchmarkSize measures what work on a queue costs, by how much is in it: 1 KB
// messages for one destination, all due, one in a thousand of them for
// another domain. The queue is filled once for each size.
func BenchmarkSize(b *testing.B) {
	sizes := os.Getenv("WAYPOST_BENCH_SIZES")
	if sizes == "" {
		sizes = defaultSizes
	}
	for word := range strings.FieldsSeq(sizes) {
		size, err := strconv.Atoi(word)
		if err != nil || size < batchSize {
			b.Fatalf("WAYPOST_BENCH_SIZES: %q is no number from %d on", word, batchSize)
		}
		b.Run("messages="+word, func(b *testing.B) { benchmarkSize(b, size) })
	}
}

// batchSize is how many messages are put in together, and how many attempts
// are waited for.
const batchSize = 1000

// sized is a queue with a number of messages.
type sized struct {
	*Queue
	size    int
	from    smtp.Path // of what is put in
	to      smtp.Path // where it is all for one domain
	options func(*Options)
	world   *batches
	settled chan struct{} // a token for each line about a delivery
}

func benchmarkSize(b *testing.B, size int) {
	s := &sized{size: size, from: path("s@a.test"), world: &batches{}, settled: make(chan struct{}, 100*batchSize)}
	dir := b.TempDir()
	s.options = func(o *Options) {
		o.Dir, o.Deliverer, o.Workers, o.PerDestination = dir, s.world, 100, 20
		o.Log = slog.New(&tokens{Handler: slog.DiscardHandler, of: s.settled})
	}
	s.Queue = open(b, &world{}, s.options)
	defer func() { _ = s.Close() }() // the directory goes
	s.fill(b, size)
	b.Run("start", s.start)
	b.Run("enqueue", s.enqueue)
	b.Run("claim and settle", s.attempts)
	b.Run("list=first", func(b *testing.B) { s.list(b, Filter{}, 0) })
	middle, _, err := s.List(Filter{}, 0, size/2)
	if err != nil || len(middle) == 0 {
		b.Fatal(err)
	}
	b.Run("list=middle", func(b *testing.B) { s.list(b, Filter{}, middle[len(middle)-1].ID) })
	b.Run("list=filtered", func(b *testing.B) { s.list(b, Filter{ToDomain: "rare.test"}, 0) })
	b.Run("stats", func(b *testing.B) {
		for b.Loop() {
			if s.Stats().Messages < int64(size) {
				b.Fatal("messages are missing")
			}
		}
	})
	b.Run("hold", s.hold)
}

// fill puts n messages in, over many writers.
func (s *sized) fill(b *testing.B, n int) {
	b.Helper()
	content := []byte(strings.Repeat("x", 1000))
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 100 {
		writers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				to := s.to
				switch {
				case to != smtp.Path{}:
				case i%1000 == 0:
					to = path("r@rare.test")
				default:
					to = path("r@b.test")
				}
				d := s.NewDraft()
				if _, err := d.Write(content); err != nil {
					b.Error(err)
				}
				if err := d.Commit(Envelope{ReversePath: s.from}, []Recipient{{Path: to}}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	writers.Wait()
}

// start measures from the opening of the directory until messages are taken,
// and until all are scheduled.
func (s *sized) start(b *testing.B) {
	var accepting, loaded time.Duration
	for b.Loop() {
		a, l := s.reopen(b)
		accepting, loaded = accepting+a, loaded+l
	}
	b.ReportMetric(float64(accepting.Microseconds())/1000/float64(b.N), "ms-accepting/op")
	b.ReportMetric(float64(loaded.Microseconds())/1000/float64(b.N), "ms-loaded/op")
}

// reopen closes the queue and opens it again.
func (s *sized) reopen(b *testing.B) (accepting, loaded time.Duration) {
	b.Helper()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	s.Queue = open(b, &world{}, s.options)
	accepting = time.Since(begun)
	<-s.loaded
	return accepting, time.Since(begun)
}

func (s *sized) enqueue(b *testing.B) {
	for b.Loop() {
		s.fill(b, batchSize)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batchSize), "µs/message")
}

// attempts measures what it takes to claim messages that are due and to settle
// that they were delivered.
func (s *sized) attempts(b *testing.B) {
	var attempting time.Duration
	made := 0
	for b.Loop() {
		s.reopen(b) // a queue runs once
		before := s.world.made.Load()
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		begun := time.Now()
		go func() {
			defer close(ended)
			s.Run(ctx, time.Minute)
		}()
		for range batchSize {
			<-s.settled
		}
		stop()
		<-ended
		attempting += time.Since(begun)
		n := int(s.world.made.Load() - before) // some began before the end
		for len(s.settled) > 0 {
			<-s.settled
		}
		made += n
		s.fill(b, n)
	}
	b.ReportMetric(float64(attempting.Microseconds())/float64(made), "µs/message")
}

func (s *sized) list(b *testing.B, f Filter, after ID) {
	for b.Loop() {
		if entries, _, err := s.List(f, after, 100); err != nil || len(entries) == 0 {
			b.Fatalf("%d entries: %v", len(entries), err)
		}
	}
}

// hold puts all messages for a domain on hold, and releases them.
func (s *sized) hold(b *testing.B) {
	f := Filter{ToDomain: "b.test"}
	for b.Loop() {
		if _, err := s.Hold(f); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := s.Release(f); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// batches delivers everything at once, and counts.
type batches struct{ made atomic.Int64 }

// Deliver says that all were delivered.
func (w *batches) Deliver(_ context.Context, _ *Message, d *Delivery) Outcome {
	w.made.Add(1)
	return all(d, Result{State: Delivered})
}

// tokens gives one for each line that tells of a delivery.
type tokens struct {
	slog.Handler
	of chan<- struct{}
}

func (*tokens) Enabled(context.Context, slog.Level) bool { return true }

func (h *tokens) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "delivery" {
		select {
		case h.of <- struct{}{}:
		default: // nobody counts so many
		}
	}
	return nil
}
