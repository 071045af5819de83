package queue

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waypost/relay/smtp"
)

// BenchmarkEnqueue measures the store alone: 5 KB messages that become durable,
// by the number of writers that wait for that. It takes turns with two logs that
// only append, which are what the disk allows, whoever else uses it: one whose
// file grows, and one that uses the same blocks again, as the journal does. The
// of- figures are the part of a log's rate that is reached, for as long as writers
// wait and with the time in which the index is brought up to date behind them.
func BenchmarkEnqueue(b *testing.B) {
	for _, writers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { compareEnqueue(b, writers) })
	}
}

func compareEnqueue(b *testing.B, writers int) {
	q := open(b, &world{}, nil)
	defer q.Close()
	logs, tookLog := map[string]*designLoad{}, map[string]time.Duration{}
	for name, open := range map[string]func(*designDisk) (design, error){"growing": openGrowing, "same-blocks": openBare} {
		log, err := open(&designDisk{dir: b.TempDir(), segment: segmentSize, used: true})
		if err != nil {
			b.Fatal(err)
		}
		defer log.close()
		logs[name] = &designLoad{design: log}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var waited, took time.Duration
	const turn = 1000 // messages
	for done := 0; done < b.N; done += turn {
		messages, begun := min(turn, b.N-done), time.Now()
		enqueueMany(b, q, writers, messages)
		waited += time.Since(begun)
		b.StopTimer()
		<-checkpointUnderWay(b, q)
		took += time.Since(begun)
		for name, log := range logs {
			begun = time.Now()
			log.gather(b, writers, messages)
			tookLog[name] += time.Since(begun)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)/waited.Seconds(), "messages/s")
	b.ReportMetric(float64(b.N)/took.Seconds(), "with-index/s")
	for name, t := range tookLog {
		b.ReportMetric(float64(b.N)/t.Seconds(), name+"/s")
		b.ReportMetric(t.Seconds()/waited.Seconds(), "of-"+name)
		b.ReportMetric(t.Seconds()/took.Seconds(), "with-index-of-"+name)
	}
}

// checkpointUnderWay is closed at its end.
func checkpointUnderWay(b *testing.B, q *Queue) (ended <-chan struct{}) {
	b.Helper()
	if err := q.commit(func(batch *batch) error {
		ended = batch.store.checkpoint
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return ended
}

// enqueueMany has writers wait for commits until so many messages are in.
func enqueueMany(b *testing.B, q *Queue, writers, messages int) {
	var left atomic.Int64
	left.Store(int64(messages))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				d := q.NewDraft()
				d.Write(designContent)
				err := d.Commit(Envelope{ReversePath: path("s@a.test"), Arrival: time.Now()}, []Recipient{{Path: path("r@b.test")}})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkRelay measures the store with the schedule: 5 KB messages that become
// durable, are delivered at once, and leave. The history is what differs.
func BenchmarkRelay(b *testing.B) {
	content := []byte(strings.Repeat("x", 5120))
	for _, writers := range []int{1, 20, 100} {
		for _, history := range []int64{0, 256 << 20} {
			b.Run(fmt.Sprintf("writers=%d/history=%dMB", writers, history>>20), func(b *testing.B) {
				reply := smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, "Ok: queued as 4XyZ12abCDz")
				w := &world{answer: func(_ *Message, d *Delivery) Outcome {
					return all(d, Result{State: Delivered, Reply: reply, Status: reply.Status(), Host: "mx.b.test[192.0.2.1]:25"})
				}}
				q := open(b, w, func(o *Options) { o.History.Size = history })
				stop := running(b, q)
				defer stop()
				var left, messages atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				processor := processorTime(b)
				b.ResetTimer()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for {
							n := left.Add(-1)
							if n < 0 {
								return
							}
							d := q.NewDraft()
							d.Write(content)
							err := d.Commit(Envelope{ReversePath: path("sender@a.test"), Arrival: time.Now(), Client: "client.a.test ([192.0.2.9])",
								MessageID: fmt.Sprintf("%d@a.test", n), Protocol: "ESMTP", Listener: "192.0.2.2:25"}, []Recipient{{Path: path("recipient@b.test")}})
							if err != nil {
								b.Error(err)
								return
							}
							messages.Add(1)
						}
					})
				}
				wg.Wait()
				for q.Stats().Messages > 0 {
					time.Sleep(time.Millisecond)
				}
				b.ReportMetric(float64(messages.Load())/b.Elapsed().Seconds(), "messages/s")
				// On a busy machine this says more than the time.
				b.ReportMetric(float64(processorTime(b)-processor)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processorTime returns what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
