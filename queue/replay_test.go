package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
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
// two outcomes fall on the same one: what an attempt comes to, and how long it takes
// to the nanosecond, follow from what is attempted, and not from the order in which
// somebody asks. Beginnings may fall on one moment, and are noted in the order of
// their names; so nothing has to wait for a place, which anybody might get. What
// begins at the moment of a crash may as well not have begun.

// fate is the world of such a run.
type fate struct {
	seed uint64
	modelWorld

	trace     []happening
	inFlight  map[string]int       // attempts by name
	ended     map[string]time.Time // when the last one did
	delivered map[string]int       // by name and recipient
	reported  map[string]bool      // the same, as failures
	excused   map[string]int       // attempts that a crash may have left without a trace
}

// happening is what happened at one moment.
type happening struct {
	at   time.Time
	kind string
	what string
}

// note adds to the trace. The caller holds the lock.
func (f *fate) note(kind, format string, args ...any) {
	f.trace = append(f.trace, happening{time.Now(), kind, fmt.Sprintf(format, args...)})
}

// text is the trace.
func (f *fate) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.trace, func(a, b happening) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.kind, b.kind), strings.Compare(a.what, b.what))
	})
	crashes := map[time.Time]bool{}
	for _, h := range f.trace {
		crashes[h.at] = crashes[h.at] || h.kind == "crash"
	}
	var b strings.Builder
	for _, h := range f.trace {
		if h.kind != "attempt" || !crashes[h.at] {
			fmt.Fprintf(&b, "%s %s: %s\n", h.at.UTC().Format("02 15:04:05.000000000"), h.kind, h.what)
		}
	}
	return b.String()
}

// draw returns a source that depends on what it is for, and on nothing else.
func (f *fate) draw(what string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, what)
	return rand.New(rand.NewPCG(f.seed, h.Sum64()))
}

// Deliver makes an attempt. Its time and its outcome follow from its name.
func (f *fate) Deliver(ctx context.Context, m *Message, d *Delivery) Outcome {
	name, err := nameOf(m)
	f.mu.Lock()
	f.broken = errors.Join(f.broken, err)
	name = fmt.Sprintf("%s/%d", name, d.Index)
	f.inFlight[name]++
	f.note("attempt", "%s at %s, number %d", name, d.Destination, d.Attempts+1)
	f.mu.Unlock()

	random := f.draw(fmt.Sprint(name, d.Attempts, f.ahead.Load()))
	took := []time.Duration{time.Millisecond, 200 * time.Millisecond, 2 * time.Second, 40 * time.Second}[random.IntN(4)]
	took += time.Duration(random.Int64N(int64(took))) + time.Duration(random.Int64N(1e6))
	hours := f.now().Unix() / 7200
	away := f.draw(fmt.Sprint(d.Destination, hours)).IntN(4) == 0 // for two hours
	if !away {
		Reached(ctx)
	}
	rest(ctx, took)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight[name]--
	f.ended[name] = time.Now()
	out := Outcome{Unreachable: away, Interrupted: ctx.Err() != nil}
	for i := range d.Recipients {
		if r := &d.Recipients[i]; r.State.Open() {
			result := Result{State: Deferred, Reason: "later"}
			switch n := random.IntN(8); {
			case away || out.Interrupted || n < 4:
			case n < 7:
				result.State = Delivered
				f.delivered[name+" "+r.Path.Local]++
			default:
				result.State = Failed
			}
			out.Results = append(out.Results, result)
		}
	}
	if random.IntN(8) == 0 {
		out.RetryAfter = 5*time.Minute + time.Duration(random.Int64N(1e9))
	}
	if !out.Interrupted {
		f.note("outcome", "%s: unreachable %v, %v", name, out.Unreachable, out.Results)
	}
	return out
}

// Compose writes the name of a report, which says what it reports on.
func (f *fate) Compose(out io.Writer, r Report) (bool, bool, error) {
	of, err := nameOf(r.Message)
	f.mu.Lock()
	defer f.mu.Unlock()
	text := fmt.Sprintf("%s of %s", r.Kind, of)
	for i := range r.Recipients {
		text += " " + r.Recipients[i].Path.Local
		if r.Kind == ReportFailure {
			f.reported[fmt.Sprintf("%s %s", of, r.Recipients[i].Path.Local)] = true
		}
	}
	f.note("report", "%s", text)
	_, werr := io.WriteString(out, text)
	return false, false, errors.Join(err, werr)
}

// nameOf is the first line of a content.
func nameOf(m *Message) (string, error) {
	text, err := readContent(m)
	name, _, _ := strings.Cut(text, "\n")
	return name, err
}

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
		seed: seed, inFlight: map[string]int{}, ended: map[string]time.Time{}, delivered: map[string]int{}, reported: map[string]bool{}, excused: map[string]int{},
	}
	synctest.Test(t, func(t *testing.T) {
		r := &replayed{T: t, fate: f, random: f.draw("driver"), sent: map[string][]string{}}
		r.open(files{})
		for range 12 {
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
	q, err := Open(Options{
		Dir: r.disk.dir, Deliverer: r.fate, Router: r.fate, Reporter: r.fate, segment: 8192, disk: r.disk, now: r.now,
		Retry:   RetryPolicy{Lifetime: 24 * time.Hour, WarnAfter: 4 * time.Hour},
		Classes: []Class{{Name: "bulk", Rank: -1}}, PerDestination: 100,
		Rand: func() float64 { return 0 },
	})
	if err != nil {
		r.Fatalf("seed %d: %v", r.seed, err)
	}
	<-q.loaded
	r.queue, r.stop = q, running(r.T, q)
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

// crashed notes which attempts may have left no trace.
func (r *replayed) crashed(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("crash", "%s", what)
	for name := range namesOf(r.inFlight, r.ended) {
		if r.inFlight[name] > 0 || r.ended[name].Equal(time.Now()) {
			r.excused[name]++
		}
	}
}

func namesOf(a map[string]int, b map[string]time.Time) map[string]bool {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

// powerCut lets the power go at a moment when nothing is written, in the middle of
// attempts.
func (r *replayed) powerCut() {
	synctest.Wait()
	left, err := r.disk.off()
	if err != nil {
		r.Fatal(err)
	}
	r.crashed("power cut")
	r.stop()
	r.setClock()
	r.open(left)
}

// powerCutAtWork lets it go at one of the next syncs: of a message that comes, or of
// whatever is written next.
func (r *replayed) powerCutAtWork() {
	synctest.Wait()
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
	left, err := r.disk.off()
	if err != nil {
		r.Fatal(err)
	}
	r.crashed("power cut at work")
	r.stop()
	r.setClock()
	r.open(left)
}

// restart stops the queue and starts it again.
func (r *replayed) restart() {
	synctest.Wait()
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
		r.Errorf("seed %d: a content: %v", r.seed, r.broken)
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
			if key := name + " " + local; arrived[key] == 0 && !r.reported[key] {
				r.Errorf("seed %d: %s was acknowledged, and neither delivered nor reported on", r.seed, key)
			}
		}
	}
}

// whatever next hops, the disk, the power and the clock do, each recipient
// comes to an end that its sender hears of, and what a number decides happens again
// in the same way. WAYPOST_TEST_SEEDS says how many runs to make, from
// WAYPOST_TEST_SEED on; of one alone the trace is printed.
func TestSeeds(t *testing.T) {
	seeds, first := 10, rand.Uint64N(1<<40)
	if s := os.Getenv("WAYPOST_TEST_SEEDS"); s != "" {
		seeds = mustNumber(t, s)
	}
	if s := os.Getenv("WAYPOST_TEST_SEED"); s != "" {
		first = uint64(mustNumber(t, s))
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
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

func mustNumber(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
