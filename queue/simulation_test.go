package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// Behaviours of a destination in the simulation, and of how many among a
// hundred.
var behaviours = []struct {
	name  string
	share int
}{
	{"good", 80}, {"dead", 5}, {"silent", 3}, {"tarpit", 2}, {"grey", 4}, {"flapping", 3}, {"full", 2}, {"refuses", 1},
}

// internet is a Deliverer that is what the world is like. What a destination
// does follows from its number, so a run is the same each time.
type internet struct {
	world
	mu        sync.Mutex
	attempts  map[string]int // by behaviour
	delivered int
	latency   map[string][]time.Duration // of first deliveries, by class
	tried     map[ID][]time.Duration     // since arrival, of some messages that never get through
	seen      map[ID]bool                // for greylisting
}

func behaviour(destination string) string {
	n, _ := strconv.Atoi(strings.TrimPrefix(destination, "d"))
	for _, b := range behaviours {
		if n%100 < b.share {
			return b.name
		}
		n -= b.share
	}
	return "good"
}

func (w *internet) Deliver(ctx context.Context, m *Message, d *Delivery) Outcome {
	kind, now := behaviour(d.Destination), time.Now()
	w.note(kind, m, now)
	answer := func(took time.Duration, r Result, reached bool) Outcome {
		if reached {
			Reached(ctx)
		}
		rest(ctx, took)
		out := all(d, r)
		out.Unreachable, out.Interrupted = !reached, ctx.Err() != nil
		if out.Interrupted {
			results := all(d, deferred("cut short")).Results
			return Outcome{Results: results, Interrupted: true}
		}
		if r.State == Delivered {
			w.arrived(m, time.Now())
		}
		return out
	}
	sent := Result{State: Delivered, Reported: true}
	// Most messages are small and some are very large: so are the times.
	size := rand.New(rand.NewPCG(uint64(m.ID), 0)).Float64()
	usual := 100*time.Millisecond + time.Duration(float64(50*time.Millisecond)/(1-min(size, 0.998)))
	switch kind {
	case "dead":
		return answer(time.Millisecond, Result{State: Deferred, Reason: "connection refused"}, false)
	case "silent":
		return answer(30*time.Second, Result{State: Deferred, Reason: "connect: timed out"}, false)
	case "tarpit":
		return answer(3*time.Minute, sent, true)
	case "grey":
		if !w.known(m.ID) {
			return answer(time.Second, deferred("greylisted"), true)
		}
	case "flapping": // six hours there, six hours gone
		if now.Hour()/6%2 == 1 {
			return answer(30*time.Second, Result{State: Deferred, Reason: "connect: timed out"}, false)
		}
	case "full":
		return answer(usual, deferred("mailbox full"), true)
	case "refuses":
		return answer(usual, Result{State: Failed, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")}, true)
	}
	return answer(usual, sent, true)
}

func (w *internet) note(kind string, m *Message, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts[kind]++
	if kind == "full" && !m.ReversePath.IsNull() {
		w.tried[m.ID] = append(w.tried[m.ID], now.Sub(m.Arrival))
	}
}

func (w *internet) known(id ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.seen[id]
	w.seen[id] = true
	return was
}

func (w *internet) arrived(m *Message, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delivered++
	if !m.ReversePath.IsNull() {
		w.latency[m.Class] = append(w.latency[m.Class], now.Sub(m.Arrival))
	}
}

// simulate sends messages over a day, one in ten of them urgent and four bulk,
// and goes on for the five days after which nothing may be left.
func simulate(t *testing.T, messages, destinations int) *internet {
	w := &internet{attempts: map[string]int{}, latency: map[string][]time.Duration{}, tried: map[ID][]time.Duration{}, seen: map[ID]bool{}}
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		q := open(t, &w.world, func(o *Options) {
			o.Deliverer = w
			o.Classes = []Class{{Name: "urgent", Rank: 10, Share: 0.2}, {Name: "bulk", Rank: -10}}
		})
		stop := running(t, q)
		const batches = 24 * 60
		for batch := range batches {
			n := messages*(batch+1)/batches - messages*batch/batches
			var writers sync.WaitGroup
			for range n {
				class := []string{"urgent", "bulk", "bulk", "bulk", "bulk", "", "", "", "", ""}[random.IntN(10)]
				to := fmt.Sprintf("r@d%d", int(float64(destinations)*random.Float64()*random.Float64())) // some are popular
				writers.Go(func() {
					d := q.NewDraft()
					fmt.Fprint(d, "x\r\n")
					if err := d.Commit(Envelope{ReversePath: path("s@d0"), Class: class}, []Recipient{{Path: path(to)}}); err != nil {
						t.Error(err)
					}
				})
			}
			writers.Wait()
			time.Sleep(time.Minute)
		}
		time.Sleep(5*24*time.Hour + 4*time.Hour)
		synctest.Wait()
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("left after six days: %+v", s)
		}
		stop()
	})
	return w
}

// days of mail to a world in which a fifth of the destinations makes trouble:
// everything is delivered, refused or given up at its time, and what gets
// through does so as quickly as its class asks for. WAYPOST_TEST_MESSAGES makes
// it larger, with a tenth as many destinations.
func TestSimulation(t *testing.T) {
	messages := 2_000
	if s := os.Getenv("WAYPOST_TEST_MESSAGES"); s != "" {
		var err error
		if messages, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	w := simulate(t, messages, max(messages/10, 100))
	expired, failed := 0, 0
	for _, r := range w.reported() {
		for i := range r.Recipients {
			switch r.Recipients[i].State {
			case Expired:
				expired++
			case Failed:
				failed++
			}
		}
	}
	first := 0
	for _, all := range w.latency {
		first += len(all)
	}
	t.Logf("%d messages: %d delivered, %d refused, %d given up", messages, first, failed, expired)
	if first+failed+expired != messages {
		t.Errorf("%d messages have come to an end, want %d", first+failed+expired, messages)
	}
	for _, b := range behaviours {
		t.Logf("%-8s %d attempts", b.name, w.attempts[b.name])
	}
	for _, class := range []string{"urgent", "", "bulk"} {
		all := w.latency[class]
		slices.Sort(all)
		p50, p90, p99 := all[len(all)/2], all[len(all)*9/10], all[len(all)*99/100]
		t.Logf("class %-7q %d delivered, after p50 %v, p90 %v, p99 %v", class, len(all), p50, p90, p99)
		if p50 > time.Second {
			t.Errorf("half of class %q took more than a second: %v", class, p50)
		}
	}
	checkSchedule(t, w)
}

// checkSchedule holds the attempts for full mailboxes to RFC 5321 §4.5.4.1.
func checkSchedule(t *testing.T, w *internet) {
	t.Helper()
	const slack = time.Minute
	for id, tried := range w.tried {
		hour := 0
		for i, at := range tried {
			if at < time.Hour+slack {
				hour++
			}
			if i > 0 && at-tried[i-1] < 30*time.Minute && at < 5*24*time.Hour-slack {
				t.Fatalf("%s was tried %v after it had been: %v", id, at-tried[i-1], tried)
			}
			if i > 0 && at-tried[i-1] > 3*time.Hour+slack {
				t.Fatalf("%s was not tried for %v: %v", id, at-tried[i-1], tried)
			}
		}
		if last := tried[len(tried)-1]; hour < 2 || last < 5*24*time.Hour || last > 5*24*time.Hour+3*time.Hour {
			t.Fatalf("%s was tried %d times in the first hour, and last after %v", id, hour, last)
		}
	}
}
