package queue

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A run of a queue that a number decides: what comes, what next hops do with it and
// how long they take, when the power goes, what the disk has kept then, and how the
// clock is set. The same number gives the same run, so a failure can be looked at
// again.
//
// What happens at one moment happens in no order that anybody could repeat. So no
// two things happen at the same one. The driver does nothing before the queue has
// done all that there was to do; what is due together begins one after the other, in
// an order that the number decides; and what an attempt comes to, and how long it
// takes to the nanosecond, follow from what is attempted. Of a process whose power is
// gone the world sees no more.

// replayed is one such run.
type replayed struct {
	*testing.T
	*fate
	random *rand.Rand
	disk   *powerDisk
	queue  *Queue
	stop   func()
	sent   map[string][]string // what was acknowledged: recipients by name
	number int
}

func rerun(t *testing.T, seed uint64) (trace string) {
	f := &fate{
		seed: seed, ended: map[string]time.Time{}, delivered: map[string]int{}, failed: map[string]bool{}, reports: map[string]ID{}, excused: map[string]int{},
	}
	synctest.Test(t, func(t *testing.T) {
		r := &replayed{T: t, fate: f, random: f.draw("driver"), sent: map[string][]string{}}
		r.open(files{})
		for range 12 {
			synctest.Wait()
			[]func(){r.send, r.send, r.send, r.sleep, r.sleep, r.powerCut, r.powerCutAtWork, r.restart, r.holdSome}[r.random.IntN(9)]()
		}
		r.finish()
		r.disk.close()
	})
	return f.text()
}

func (r *replayed) open(f files) {
	dir := r.TempDir()
	if err := f.write(dir); err != nil {
		r.Fatal(err)
	}
	if r.disk != nil {
		r.disk.close()
	}
	r.disk = newPowerDisk(dir, r.random.Uint64())
	if err := r.disk.adopt(f); err != nil {
		r.Fatal(err)
	}
	r.run()
}

func (r *replayed) run() {
	world := &life{fate: r.fate}
	r.disk.gone = world.end
	q, err := Open(Options{
		Dir: r.disk.dir, Deliverer: world, Router: world, Reporter: world, segment: 8192, disk: r.disk, now: r.now, turn: r.turn,
		Retry:   RetryPolicy{Lifetime: 24 * time.Hour, WarnAfter: 4 * time.Hour},
		Classes: []Class{{Name: "bulk", Rank: -1}}, PerDestination: 100,
		Rand: func() float64 { return 0 },
	})
	if err != nil {
		r.Fatalf("seed %d: %v", r.seed, err)
	}
	<-q.loaded
	r.queue = q
	r.reportsThere()
	r.stop = running(r.T, q)
}

// reportsThere finds the reports that a crash has left.
func (r *replayed) reportsThere() {
	entries, _, err := r.queue.List(Filter{}, 0, 10_000)
	if err != nil {
		r.Fatalf("seed %d: %v", r.seed, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range entries {
		if entries[i].ReportOn == 0 {
			continue
		}
		content, err := r.queue.Content(entries[i].ID)
		if err != nil {
			r.Fatalf("seed %d: %v", r.seed, err)
		}
		report, err := io.ReadAll(content)
		r.broken = errors.Join(r.broken, err, content.Close())
		r.told(entries[i].ID, string(report))
	}
}

// send takes some messages, each at a moment of its own.
func (r *replayed) send() {
	for range 1 + r.random.IntN(4) {
		more := 0
		if r.random.IntN(5) == 0 {
			more = inlineLimit
		}
		if err := r.enqueue(more); err != nil {
			r.Fatalf("seed %d: %v", r.seed, err)
		}
		time.Sleep(time.Duration(1+r.random.IntN(5000))*time.Millisecond + time.Duration(r.random.IntN(1e6)))
	}
}

// enqueue adds a message whose content is its name, and some octets more.
func (r *replayed) enqueue(more int) error {
	r.number++
	name := fmt.Sprintf("message %d", r.number)
	d := r.queue.NewDraft()
	defer d.Discard()
	if _, err := io.WriteString(d, name+"\n"+strings.Repeat("x", more)); err != nil {
		return err
	}
	env := Envelope{ReversePath: path(fmt.Sprintf("s@from%d.test", r.random.IntN(3)))}
	if r.random.IntN(3) == 0 {
		env.Class = "bulk"
	}
	if r.random.IntN(6) == 0 {
		env.DeliverBy = DeliverBy{Deadline: r.now().Add(3*time.Hour + time.Duration(r.random.Int64N(1e9))), Return: true}
	}
	var to []Recipient
	var locals []string
	for i := range 1 + r.random.IntN(3) {
		p := path(fmt.Sprintf("r%d@d%d.test", i, r.random.IntN(5)))
		to, locals = append(to, Recipient{Path: p}), append(locals, p.Local)
	}
	err := d.Commit(env, to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("sent", "%s to %d: %v", name, len(to), err == nil)
	if err == nil {
		r.sent[name] = locals
	}
	return err
}

// sleep lets time pass.
func (r *replayed) sleep() {
	time.Sleep(time.Duration(r.random.Int64N(int64(3*time.Hour))) + time.Duration(r.random.IntN(1e6)))
	synctest.Wait()
}

// holdSome puts what is there on hold, for a while.
func (r *replayed) holdSome() {
	_, err := r.queue.Hold(Filter{ToDomain: "d1.test"})
	r.sleep()
	_, again := r.queue.Release(Filter{})
	if err := errors.Join(err, again); err != nil {
		r.Fatalf("seed %d: %v", r.seed, err)
	}
}

// crash goes on with what is on the disk when the power is gone. The attempt that
// ended at that moment may have left no trace.
func (r *replayed) crash(what string) {
	left, err := r.disk.off()
	if err != nil {
		r.Fatal(err)
	}
	r.mu.Lock()
	r.note("crash", "%s", what)
	for name, at := range r.ended {
		if at.Equal(time.Now()) {
			r.excused[name]++
		}
	}
	r.mu.Unlock()
	r.queue.fail(errPower)
	r.stop()
	r.setClock()
	r.open(left)
}

// powerCut lets the power go at a moment when nothing is written, in the middle of
// attempts.
func (r *replayed) powerCut() { r.crash("power cut") }

// powerCutAtWork lets it go at one of the next syncs: of a message that comes, or of
// whatever is written next.
func (r *replayed) powerCutAtWork() {
	if r.random.IntN(2) == 0 {
		more, syncs := 0, 0
		if r.random.IntN(2) == 0 {
			more, syncs = inlineLimit, r.random.IntN(3)
		}
		r.disk.goAt(syncs)
		if err := r.enqueue(more); err != nil && !errors.Is(err, ErrStore) {
			r.Fatalf("seed %d: %v", r.seed, err)
		}
	} else {
		r.disk.goAt(0)
	}
	select {
	case <-r.queue.Failed():
	case <-time.After(12*time.Hour + time.Duration(r.random.IntN(1e9))):
		r.disk.goAt(-1)
		return // nothing was written
	}
	r.crash("power cut at work")
}

// restart stops the queue and starts it again.
func (r *replayed) restart() {
	r.stop()
	r.mu.Lock()
	r.note("stop", "")
	r.mu.Unlock()
	r.setClock()
	time.Sleep(time.Duration(r.random.Int64N(1e9)))
	r.run()
}

// setClock sets the clock while nobody looks.
func (r *replayed) setClock() {
	r.ahead.Add(int64([]time.Duration{0, 0, -5 * time.Hour, time.Hour, 30 * time.Hour}[r.random.IntN(5)]))
}

// finish waits for the end of everything, and looks at what has become of it.
func (r *replayed) finish() {
	for range 20 {
		if r.queue.Stats().Messages == 0 {
			break
		}
		time.Sleep(12 * time.Hour)
	}
	synctest.Wait()
	if s := r.queue.Stats(); s.Messages != 0 {
		r.Errorf("seed %d: left after ten days: %+v", r.seed, s)
	}
	r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		r.Errorf("seed %d: %v", r.seed, r.broken)
	}
	arrived := map[string]int{}
	for name, n := range r.delivered {
		message, local, _ := strings.Cut(name, "/")
		_, local, _ = strings.Cut(local, " ")
		arrived[message+" "+local] += n
		if spare := name[:strings.LastIndex(name, " ")]; n > 1+r.excused[spare] {
			r.Errorf("seed %d: %s was delivered %d times, of which %d crashes excuse", r.seed, name, n, r.excused[spare])
		}
	}
	for name, locals := range r.sent {
		for _, local := range locals {
			if key := name + " " + local; arrived[key] == 0 && !r.failed[key] {
				r.Errorf("seed %d: %s was acknowledged, and neither delivered nor reported on", r.seed, key)
			}
		}
	}
}

// whatever next hops, the disk, the power and the clock do, each recipient
// comes to an end that its sender hears of, once. WAYPOST_TEST_SEEDS says how many
// runs to make, from WAYPOST_TEST_SEED on; of one alone the trace is printed.
func TestSeeds(t *testing.T) {
	first, seeds := seedsFor(t, 10)
	for i := range seeds {
		seed := first + uint64(i)
		if trace := rerun(t, seed); t.Failed() || seeds == 1 {
			t.Logf("trace of seed %d:\n%s", seed, trace)
		}
		if t.Failed() {
			t.Fatalf("WAYPOST_TEST_SEED=%d WAYPOST_TEST_SEEDS=1 does it again", seed)
		}
	}
	t.Logf("%d seeds from %d on", seeds, first)
}

// the same number gives the same run, to the nanosecond, on however many
// processors.
func TestSeedsReplay(t *testing.T) {
	first, seeds := seedsFor(t, 3)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i := range seeds {
		seed, traces := first+uint64(i), map[string]int{}
		for _, processors := range []int{1, 2, 4} {
			runtime.GOMAXPROCS(processors)
			traces[rerun(t, seed)] = processors
		}
		if len(traces) == 1 {
			continue
		}
		for trace, processors := range traces {
			t.Logf("trace of seed %d with %d processors:\n%s", seed, processors, trace)
		}
		t.Fatalf("seed %d ran in %d ways", seed, len(traces))
	}
}

// seedsFor returns the first number of some runs, and how many to make.
func seedsFor(t *testing.T, usually int) (first uint64, seeds int) {
	first, seeds = rand.Uint64N(1<<40), usually
	if s := os.Getenv("WAYPOST_TEST_SEEDS"); s != "" {
		seeds = mustNumber(t, s)
	}
	if s := os.Getenv("WAYPOST_TEST_SEED"); s != "" {
		first = uint64(mustNumber(t, s))
	}
	return first, seeds
}

func mustNumber(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
