package control

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waypost/queue"
	"waypost/relay/smtp"
)

// greylisting defers everything, with a reply that is another one for each message.
type greylisting struct {
	idle
	left *sync.WaitGroup
}

// Deliver says that the next hop does not want the message yet.
func (g greylisting) Deliver(_ context.Context, m *queue.Message, d *queue.Delivery) queue.Outcome {
	defer g.left.Done()
	out := queue.Outcome{}
	for range d.Open() {
		out.Results = append(out.Results, queue.Result{State: queue.Deferred, Host: "mx." + d.Destination, Reply: smtp.Reply{
			Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 1},
			Lines: []string{fmt.Sprintf("<%s>: Recipient address rejected: Greylisted for 300 seconds, see http://grey.test/%s", d.Recipients[0].Path, m.ID)},
		}})
	}
	return out
}

// BenchmarkLooks measures what goes through the whole queue, for each message in it: 1
// KB each for one destination in ten, tried and deferred. WAYPOST_BENCH_LOOKS says how
// many messages wait.
func BenchmarkLooks(b *testing.B) {
	size := 20_000
	if text := os.Getenv("WAYPOST_BENCH_LOOKS"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	var left sync.WaitGroup
	left.Add(size)
	d := greylisting{left: &left}
	q, err := queue.Open(queue.Options{Dir: b.TempDir(), Deliverer: d, Router: d, Reporter: d})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = q.Close() }() // the directory goes
	fillQueue(b, q, size)
	c := Local(q)
	defer c.Close()
	each := looker(b, size)
	shape := func(by string) func() error {
		return func() error {
			shape, err := c.Shape(b.Context(), ShapeRequest{By: by}, nil)
			if err == nil && shape.Total.Recipients != int64(size) {
				err = fmt.Errorf("%d recipients", shape.Total.Recipients)
			}
			return err
		}
	}
	each("shape=untried", shape("destination"))
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Run(ctx, time.Minute)
	}()
	left.Wait()
	stop()
	<-ended
	for _, by := range Groupings() {
		each("shape="+by, shape(by))
	}
	each("count", func() error { _, err := c.Count(b.Context(), Selection{From: "nobody@a.test"}, nil); return err })
	each("list", func() error {
		for _, err := range c.List(b.Context(), Selection{ToDomain: "nowhere.test"}, 0) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	each("sort", func() error { _, err := c.Sort(b.Context(), SortRequest{By: "size"}, nil); return err })
}

// looker measures one look after the other.
func looker(b *testing.B, size int) func(name string, look func() error) {
	return func(name string, look func() error) {
		b.Run(name, func(b *testing.B) {
			before := processorTime(b)
			for b.Loop() {
				if err := look(); err != nil {
					b.Fatal(err)
				}
			}
			messages := float64(b.N * size)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/messages, "ns/message")
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/messages, "cpu-ns/message")
		})
	}
}

// processorTime is what the process has used. It says more than the clock on a busy
// machine.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// fillQueue puts n messages in, over many writers.
func fillQueue(b *testing.B, q *queue.Queue, n int) {
	content := bytes.Repeat([]byte("x"), 1000)
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 100 {
		writers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				d := q.NewDraft()
				if _, err := d.Write(content); err != nil {
					b.Error(err)
				}
				to := smtp.Path{Local: fmt.Sprintf("r%d", i), Domain: fmt.Sprintf("d%d.test", i%(int64(n)/10))}
				if err := d.Commit(queue.Envelope{ReversePath: smtp.Path{Local: "s", Domain: "a.test"}}, []queue.Recipient{{Path: to}}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	writers.Wait()
}
