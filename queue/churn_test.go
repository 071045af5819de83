package queue

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What the disk may hold over what is in the queue.
const (
	churnShare = 1.5
	churnRest  = 128 << 20
)

// A week in which mail comes and goes: most leaves at once, one in forty stays
// for up to four days, and twice a next hop is away for hours and its backlog
// leaves in one go. Every ten minutes the directory takes at most one and a half times
// what is in the queue, and 128 MB. WAYPOST_TEST_CHURN=20 has as many times the
// mail.
func TestWeekOfChurn(t *testing.T) {
	scale := 1
	if s := os.Getenv("WAYPOST_TEST_CHURN"); s != "" {
		var err error
		if scale, err = strconv.Atoi(s); err != nil || scale < 1 {
			t.Fatalf("WAYPOST_TEST_CHURN=%q is no number from 1 on", s)
		}
	}
	virtually(t, func(t *testing.T, w *world) {
		begun := time.Now()
		away := func() bool {
			hour := int(time.Since(begun).Hours())
			return hour >= 30 && hour < 40 || hour >= 100 && hour < 118
		}
		w.answer = func(m *Message, d *Delivery) Outcome {
			if stays, ok := strings.CutPrefix(d.Destination, "after-"); ok {
				if hours, _ := strconv.Atoi(stays); time.Since(m.Arrival) < time.Duration(hours)*time.Hour {
					return all(d, deferred("later"))
				}
			}
			time.Sleep(time.Second) // a backlog takes its time to leave
			out := all(d, Result{State: Delivered})
			if d.Destination == "away.test" && away() {
				out = refused(d)
			}
			return out
		}
		q := open(t, w, func(o *Options) { o.History = HistoryOptions{Size: 8 << 20} })
		defer running(t, q)()
		c := churn{T: t, queue: q, random: rand.New(rand.NewPCG(1, 2)), text: strings.Repeat("0123456789abcde\n", 1<<15)}
		told := q.store.compacted
		q.store.compacted = func(done Compacted, err error) {
			c.compactions++
			told(done, err)
		}
		for hour := range 7 * 24 {
			c.hour(scale, away())
			for range 6 {
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				c.measure(hour)
			}
		}
		t.Logf("%d messages, %d MB; at most %d MB in the queue and %d MB on the disk, in the tightest hour %d MB with %d MB in the queue; %d compactions",
			c.messages, c.octets>>20, c.mostLive>>20, c.mostUsed>>20, c.tightUsed>>20, c.tightLive>>20, c.compactions)
		if c.octets < 2*churnRest {
			t.Errorf("%d octets in a week say nothing", c.octets)
		}
	})
}

// churn is the week.
type churn struct {
	*testing.T
	queue                *Queue
	random               *rand.Rand
	text                 string
	messages             int
	octets               int64
	mostLive, mostUsed   int64
	tightLive, tightUsed int64 // when the least was left
	least                int64
	compactions, days    int
}

// hour lets the mail of an hour come in.
func (c *churn) hour(scale int, away bool) {
	var writers sync.WaitGroup
	n := 60 * scale
	if away {
		n *= 3 // what is away is what most mail is for
	}
	for i := range n {
		size := 2_000 + c.random.IntN(10_000)
		switch c.random.IntN(25) {
		case 0:
			size = 100_000 + c.random.IntN(400_000)
		case 1, 2, 3:
			size = 30_000 + c.random.IntN(inlineLimit-30_000)
		}
		to := "r@away.test"
		if !away || i%3 == 0 {
			to = fmt.Sprintf("r@d%d.test", c.random.IntN(50))
		}
		if i%40 == 0 {
			to = fmt.Sprintf("r@after-%d", 1+c.random.IntN(96))
		}
		c.messages, c.octets = c.messages+1, c.octets+int64(size)
		writers.Go(func() { enqueue(c, c.queue, "", c.text[:size], to) })
		if i%50 == 49 {
			writers.Wait()
		}
	}
	writers.Wait()
}

// measure compares what the directory takes with what is in the queue.
func (c *churn) measure(hour int) {
	live, used := c.queue.Stats().Bytes, c.used()
	left := int64(churnShare*float64(live)) + churnRest - used
	if left < 0 {
		c.Errorf("hour %d: %d octets on the disk for %d in the queue", hour, used, live)
	}
	if c.mostUsed == 0 || left < c.least {
		c.least, c.tightLive, c.tightUsed = left, live, used
	}
	c.mostLive, c.mostUsed = max(c.mostLive, live), max(c.mostUsed, used)
	if hour%24 == 23 && hour/24 == c.days {
		c.days++
		c.Logf("day %d: %d MB in the queue, %d MB on the disk", hour/24+1, live>>20, used>>20)
	}
}

// used is what the blocks of all files take.
func (c *churn) used() (sum int64) {
	err := filepath.WalkDir(c.queue.dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has left meanwhile
		}
		if info, err := e.Info(); err == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
	return sum
}
