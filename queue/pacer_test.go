package queue

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pacedWorld is a world whose attempts need passes, of which there are few.
type pacedWorld struct {
	world
	mu      sync.Mutex
	passes  int
	keep    bool // each pass is for any number of attempts
	line    []string
	again   func(string) bool
	ended   int
	refused int

	urgencies []int // with which it was asked in vain
}

func (w *pacedWorld) Admit(name string, urgency int, again func(string) bool) (Pass, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = again
	if w.passes == 0 {
		w.refused++
		w.urgencies = append(w.urgencies, urgency)
		w.line = append(w.line, name)
		return nil, false
	}
	w.passes--
	return &onePass{w: w, again: w.keep}, true
}

func (w *pacedWorld) Why(name string) string { return "limit reached for " + name }

// give makes more passes, and calls who waits.
func (w *pacedWorld) give(n int) {
	w.mu.Lock()
	line, again := w.line, w.again
	w.passes, w.line = w.passes+n, nil
	w.mu.Unlock()
	for _, name := range line {
		again(name)
	}
}

// onePass is for one attempt, or for as many as there are.
type onePass struct {
	w     *pacedWorld
	again bool
	once  sync.Once
}

func (p *onePass) Again() bool { return p.again }

func (p *onePass) End() {
	p.once.Do(func() {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		if p.w.ended++; p.again {
			go p.w.give(1) // from another goroutine, as Pacer says
		}
	})
}

// TestPassesAreAskedFor: no attempt is made without one, each is ended, and what
// waits is asked for once and not over and over.
func TestPassesAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &pacedWorld{}
		q, err := Open(Options{Dir: t.TempDir(), Deliverer: w, Router: w, Reporter: w})
		if err != nil {
			t.Fatal(err)
		}
		defer running(t, q)()
		const messages = 30
		for i := range messages {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@d%d.test", i, i%3))
		}
		tried := func() (n int) {
			for i := range messages {
				n += len(w.tried(fmt.Sprintf("r%d", i)))
			}
			return n
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if tried() != 0 || w.refused != 3 {
			t.Fatalf("%d attempts, asked %d times for 3 destinations", tried(), w.refused)
		}
		for got := 0; got < messages; got += 5 {
			w.give(5)
			time.Sleep(time.Second)
			synctest.Wait()
			if tried() != got+5 || w.ended != got+5 {
				t.Fatalf("%d attempts, %d passes ended after %d were given", tried(), w.ended, got+5)
			}
		}
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("%d messages left", s.Messages)
		}
	})
}

// TestWaitingForAPassEnds: senders hear of the delay and of the end as if it had
// been tried, without an attempt, and held mail stays where it is.
func TestWaitingForAPassEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &pacedWorld{}
		q, err := Open(Options{Dir: t.TempDir(), Deliverer: w, Router: w, Reporter: w, Retry: RetryPolicy{WarnAfter: 4 * time.Hour, Lifetime: 24 * time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		defer running(t, q)()
		begin := time.Now()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		time.Sleep(4*time.Hour + reviewAfter)
		synctest.Wait()
		reports := w.reported()
		if len(reports) != 1 || reports[0].Kind != ReportDelay || reports[0].Recipients[0].Last.Reason != "limit reached for b.test" {
			t.Fatalf("reports: %+v", reports)
		}
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		if reports = w.reported(); len(reports) != 2 || reports[1].Kind != ReportFailure || reports[1].Recipients[0].State != Expired {
			t.Fatalf("reports: %+v", reports)
		}
		if len(w.tried("r")) != 0 || time.Since(begin) < 24*time.Hour {
			t.Errorf("%d attempts", len(w.tried("r")))
		}
	})
}

// TestAttemptThatWaits: one that finds no place where it leads leaves no trace, and
// is made later.
func TestAttemptThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &pacedWorld{passes: 1}
		w.answer = func(_ *Message, d *Delivery) Outcome {
			if len(w.tried("r")) == 1 {
				return Outcome{Results: make([]Result, d.Open()), Waits: true}
			}
			return all(d, deferred("not now"))
		}
		q, err := Open(Options{Dir: t.TempDir(), Deliverer: w, Router: w, Reporter: w})
		if err != nil {
			t.Fatal(err)
		}
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		time.Sleep(time.Minute)
		synctest.Wait()
		e, err := q.Show(id)
		if err != nil || len(w.tried("r")) != 1 || e.Deliveries[0].Attempts != 0 || len(e.Attempts) != 0 {
			t.Fatalf("%d attempts noted, %v", e.Deliveries[0].Attempts, err)
		}
		w.give(1)
		synctest.Wait()
		if e, err = q.Show(id); err != nil || e.Deliveries[0].Attempts != 1 {
			t.Errorf("%d attempts noted, %v", e.Deliveries[0].Attempts, err)
		}
	})
}

// Where a destination gets no more passes, the ones that it has go to what is urgent
// before they go on with what they began with.
func TestPassGoesToHigherClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &pacedWorld{passes: 2, keep: true}
		var served []string
		w.answer = func(m *Message, d *Delivery) Outcome {
			time.Sleep(time.Second)
			w.mu.Lock()
			defer w.mu.Unlock()
			served = append(served, fmt.Sprint(m.Class, m.Priority))
			return all(d, Result{State: Delivered, Reported: true})
		}
		q := open(t, &w.world, func(o *Options) {
			o.Deliverer, o.Classes = w, []Class{{Name: "bulk", Rank: -10}, {Name: "otp", Rank: 10}}
		})
		fill(t, q, 100, "bulk", 0, 1)
		stop := running(t, q)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		fill(t, q, 1, "bulk", 5, 1)
		fill(t, q, 1, "otp", 0, 1)
		time.Sleep(2 * time.Second)
		stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		// Two were under way, and the next two are these.
		if len(served) < 24 || !slices.Contains(served[22:24], "otp0") || !slices.Contains(served[22:24], "bulk5") {
			t.Errorf("served, in order: %v", served)
		}
	})
}

// A destination that waits for a pass asks anew when something more urgent comes, and
// that has the pass when there is one.
func TestUrgentMailAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &pacedWorld{}
		var served []string
		w.answer = func(m *Message, d *Delivery) Outcome {
			w.mu.Lock()
			defer w.mu.Unlock()
			served = append(served, m.Class)
			return all(d, Result{State: Delivered, Reported: true})
		}
		q := open(t, &w.world, func(o *Options) {
			o.Deliverer, o.Classes = w, []Class{{Name: "bulk", Rank: -10}, {Name: "otp", Rank: 10}}
		})
		fill(t, q, 100, "bulk", 0, 1)
		stop := running(t, q)
		synctest.Wait()
		fill(t, q, 1, "otp", 0, 1)
		fill(t, q, 1, "otp", 0, 1) // no more urgent than the one before
		fill(t, q, 1, "", 0, 1)
		synctest.Wait()
		if !slices.Equal(w.urgencies, []int{-190, 190}) {
			t.Errorf("asked with %v", w.urgencies)
		}
		w.line = w.line[:1] // it is one destination
		for _, want := range []string{"otp", "otp", "", "bulk"} {
			served = nil
			w.give(1)
			synctest.Wait()
			if !slices.Equal(served, []string{want}) {
				t.Errorf("a pass went to %q, want %q", served, want)
			}
		}
		stop()
	})
}
