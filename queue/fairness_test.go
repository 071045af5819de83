package queue

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// town is a Deliverer with many destinations, of which some cost time. Their
// names say what they do.
type town struct {
	world
	mu       sync.Mutex
	healthy  int // messages delivered to healthy destinations
	expected int
	finished time.Time // when that was all
	running  int
	most     int
}

func (w *town) Deliver(ctx context.Context, _ *Message, d *Delivery) Outcome {
	w.mu.Lock()
	w.running++
	w.most = max(w.most, w.running)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.running--
		w.mu.Unlock()
	}()
	kind, _, _ := strings.Cut(d.Destination, "-")
	unreachable := func(reason string) Outcome {
		out := all(d, Result{State: Deferred, Reason: reason})
		out.Unreachable, out.Interrupted = true, ctx.Err() != nil
		return out
	}
	switch kind {
	case "refused":
		return unreachable("connection refused")
	case "silent": // a connection that is never made
		rest(ctx, 30*time.Second)
		return unreachable("connect: timed out")
	case "tarpit": // a minute for each reply, and the fifth is bad
		rest(ctx, time.Minute)
		if ctx.Err() != nil {
			return unreachable("cut short")
		}
		Reached(ctx)
		rest(ctx, 4*time.Minute)
		out := all(d, deferred("come back later"))
		out.Interrupted = ctx.Err() != nil
		return out
	}
	Reached(ctx)
	rest(ctx, 200*time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.healthy++; w.healthy == w.expected {
		w.finished = time.Now()
	}
	return all(d, Result{State: Delivered, Reported: true})
}

// rest sleeps until it is over, or ctx is.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// drain returns how long it takes from a cold start until everything for the
// healthy destinations is delivered, with others beside them or not.
func drain(t *testing.T, destinations, each int, others bool) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := &town{expected: destinations / 2 * each}
		workers := min(destinations/100, 500)
		q := open(t, &w.world, func(o *Options) {
			o.Deliverer, o.Workers, o.SlowWorkers = w, workers, 4*workers
		})
		kinds := []string{"refused", "silent", "tarpit"}
		var writers sync.WaitGroup
		next := make(chan string)
		for range 100 {
			writers.Go(func() {
				for to := range next {
					enqueue(t, q, "", "x\r\n", to)
				}
			})
		}
		for range each {
			for i := range destinations / 2 {
				next <- fmt.Sprintf("r@healthy-%d", i)
				if others {
					next <- fmt.Sprintf("r@%s-%d", kinds[i%len(kinds)], i)
				}
			}
		}
		close(next)
		writers.Wait()
		start := time.Now()
		stop := running(t, q)
		for left := true; left; {
			time.Sleep(time.Second)
			w.mu.Lock()
			left = w.finished.IsZero()
			w.mu.Unlock()
		}
		took = w.finished.Sub(start)
		stop()
		if limit := 5 * workers; w.most > limit {
			t.Errorf("%d attempts at once, want at most %d", w.most, limit)
		}
	})
	return took
}

// With as many destinations beside them that refuse, time out or hold us up,
// those that answer get at least nine tenths of the throughput that they have
// alone, although nothing is known of any of them when it begins.
func TestHealthyHalfLosesNothing(t *testing.T) {
	destinations, each := 1200, 8
	if s := os.Getenv("WAYPOST_TEST_DESTINATIONS"); s != "" { // 100000 takes three minutes
		var err error
		if destinations, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	alone := drain(t, destinations, each, false)
	among := drain(t, destinations, each, true)
	t.Logf("%d messages for %d healthy destinations: %v alone, %v among as many others", destinations/2*each, destinations/2, alone, among)
	if ratio := alone.Seconds() / among.Seconds(); ratio < 0.9 {
		t.Errorf("throughput falls to %.2f, want at least 0.9", ratio)
	}
}

// An attempt that reaches nobody gives way to others after slowAfter, and is
// then made again with all its time. It counts once.
func TestPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &town{expected: 1}
		q := open(t, &w.world, func(o *Options) { o.Deliverer, o.Workers, o.SlowWorkers = w, 1, 1 })
		silent := enqueue(t, q, "", "x\r\n", "r@silent-0")
		enqueue(t, q, "", "x\r\n", "r@healthy-0")
		start := time.Now()
		defer running(t, q)()
		time.Sleep(slowAfter + time.Second)
		synctest.Wait()
		if took := w.finished.Sub(start); took != slowAfter+200*time.Millisecond {
			t.Errorf("the other destination was served after %v", took)
		}
		if e, err := q.Show(silent); err != nil || e.Deliveries[0].Attempts != 0 {
			t.Errorf("an attempt that was put off counts: %+v, %v", e.Deliveries, err)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if e, err := q.Show(silent); err != nil || e.Deliveries[0].Attempts != 1 || e.Deliveries[0].Recipients[0].Last.Reason != "connect: timed out" {
			t.Errorf("after its time: %+v, %v", e.Deliveries, err)
		}
	})
}

// Once a host has taken a session, an attempt is left to its end.
func TestNotPutOffInASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		w := &town{expected: 1}
		q := open(t, &w.world, func(o *Options) {
			o.Workers, o.SlowWorkers = 1, 1
			o.Deliverer = delivererFunc(func(ctx context.Context, m *Message, d *Delivery) Outcome {
				if d.Destination != "long" {
					return w.Deliver(ctx, m, d)
				}
				attempts++
				Reached(ctx)
				rest(ctx, time.Minute)
				return all(d, Result{State: Delivered})
			})
		})
		enqueue(t, q, "", "x\r\n", "r@long")
		enqueue(t, q, "", "x\r\n", "r@healthy-0")
		start := time.Now()
		defer running(t, q)()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if took := w.finished.Sub(start); attempts != 1 || took != time.Minute+200*time.Millisecond || q.Stats().Messages != 0 {
			t.Errorf("%d attempts, the other destination was served after %v, left %+v", attempts, took, q.Stats())
		}
	})
}

type delivererFunc func(context.Context, *Message, *Delivery) Outcome

func (f delivererFunc) Deliver(ctx context.Context, m *Message, d *Delivery) Outcome {
	return f(ctx, m, d)
}

// A proven destination never waits for the others, even when they fill the slow
// lane: it has the fast one. What becomes slow there leaves it.
func TestProvenDestinationsHaveTheirLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &town{expected: 1}
		q := open(t, &w.world, func(o *Options) { o.Deliverer, o.Workers, o.SlowWorkers = w, 2, 20 })
		defer running(t, q)()
		enqueue(t, q, "", "x\r\n", "r@healthy-0")
		time.Sleep(time.Second)
		for i := range 100 {
			enqueue(t, q, "", "x\r\n", fmt.Sprintf("r@tarpit-%d", i))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := q.Stats(); s.SlowAttempts == 0 || s.FastAttempts != 0 {
			t.Errorf("%d fast and %d slow attempts", s.FastAttempts, s.SlowAttempts)
		}
		w.mu.Lock()
		w.healthy, w.expected, w.finished = 0, 10, time.Time{}
		w.mu.Unlock()
		start := time.Now()
		for i := range 10 {
			enqueue(t, q, "", "x\r\n", fmt.Sprintf("r%d@healthy-0", i))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if took := w.finished.Sub(start); took != time.Second {
			t.Errorf("ten messages over two connections took %v, want a second", took)
		}
	})
}

// however much waits for a dead destination, it costs one attempt per interval
// and no write; and when it is back, everything flows at once over as many
// connections as it may have.
//
// WAYPOST_TEST_BACKLOG=1000000 makes it as many messages.
func TestBacklogOfADeadDestination(t *testing.T) {
	messages := 20_000
	if s := os.Getenv("WAYPOST_TEST_BACKLOG"); s != "" {
		var err error
		if messages, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		const perDest = 20
		var mu sync.Mutex
		dead, attempts, running_, most := true, 0, 0, 0
		w := &world{}
		q := open(t, w, func(o *Options) {
			o.PerDestination = perDest
			o.Deliverer = delivererFunc(func(ctx context.Context, _ *Message, d *Delivery) Outcome {
				mu.Lock()
				defer mu.Unlock()
				attempts++
				if dead {
					return refused(d)
				}
				Reached(ctx)
				running_++
				most = max(most, running_)
				mu.Unlock()
				rest(ctx, 100*time.Millisecond)
				mu.Lock()
				running_--
				return all(d, Result{State: Delivered, Reported: true})
			})
		})
		defer running(t, q)()
		enqueue(t, q, "", "x\r\n", "first@d0.test")
		synctest.Wait()
		fill(t, q, messages, "", 0, 1)
		written := journalOffset(t, q)
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		mu.Lock()
		if attempts < 12 || attempts > 25 {
			t.Errorf("%d attempts in twelve hours, want one for each half hour at most", attempts)
		}
		perAttempt := (journalOffset(t, q) - written) / int64(attempts)
		if perAttempt > 2048 {
			t.Errorf("%d octets written for each attempt", perAttempt)
		}
		dead, attempts = false, 0
		mu.Unlock()
		tried := func() int {
			mu.Lock()
			defer mu.Unlock()
			return attempts
		}
		for back := time.Now(); tried() == 0; time.Sleep(time.Second) {
			if time.Since(back) > 31*time.Minute {
				t.Fatal("it is not tried again")
			}
		}
		// One attempt finds that it is back, then there are twenty at a time.
		time.Sleep(time.Duration(messages/perDest)*100*time.Millisecond + 2*time.Second)
		synctest.Wait()
		if s := q.Stats(); s.Messages > 1 || most != perDest { // the first one has its own, later time
			t.Errorf("%d messages left, %d connections at most", s.Messages, most)
		}
	})
}

// journalOffset asks the committer, whose journal it is.
func journalOffset(t *testing.T, q *Queue) (offset int64) {
	t.Helper()
	err := q.commit(func(*batch) error {
		offset = q.store.journal.offset
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return offset
}
