package queue

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// fate is the world of a run that a number decides (see TestSeeds).
type fate struct {
	seed uint64
	modelWorld

	trace     []happening
	ended     map[string]time.Time // when the last attempt did, by name
	delivered map[string]int       // by name and recipient
	reports   map[string]ID        // those that were attempted, or outlasted a crash, by their text
	failed    map[string]bool      // what they say, by message and recipient
	excused   map[string]int       // attempts that a crash may have left without a trace
}

// life is the world of one process, until its power goes.
type life struct {
	*fate
	over bool
}

func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
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
	var b strings.Builder
	for _, h := range f.trace {
		fmt.Fprintf(&b, "%s %s: %s\n", h.at.UTC().Format("02 15:04:05.000000000"), h.kind, h.what)
	}
	return b.String()
}

// draw returns a source that depends on what it is for, and on nothing else.
func (f *fate) draw(what string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, what)
	return rand.New(rand.NewPCG(f.seed, h.Sum64()))
}

// turn lets what is due together begin within a millisecond, one after the other.
func (f *fate) turn(by string, key deliveryKey) {
	time.Sleep(1 + time.Duration(f.draw(fmt.Sprint("turn", by, key)).Int64N(999_998)))
}

// begin notes an attempt, unless the power is gone.
func (l *life) begin(m *Message, d *Delivery) (name string, begun bool) {
	name, err := nameOf(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return "", false
	}
	l.broken = errors.Join(l.broken, err)
	if m.ReportOn != 0 {
		l.told(m.ID, name)
	}
	name = fmt.Sprintf("%s/%d", name, d.Index)
	l.note("attempt", "%s at %s, number %d", name, d.Destination, d.Attempts+1)
	return name, true
}

// Deliver makes an attempt. Its time and its outcome follow from its name.
func (l *life) Deliver(ctx context.Context, m *Message, d *Delivery) Outcome {
	name, begun := l.begin(m, d)
	if !begun {
		return Outcome{Interrupted: true}
	}
	random := l.draw(fmt.Sprint(name, d.Attempts, l.ahead.Load()))
	took := []time.Duration{time.Millisecond, 200 * time.Millisecond, 2 * time.Second, 40 * time.Second}[random.IntN(4)]
	took += time.Duration(random.Int64N(int64(took))) + time.Duration(random.Int64N(1e6))
	hours := l.now().Unix() / 7200
	away := l.draw(fmt.Sprint(d.Destination, hours)).IntN(4) == 0 // for two hours
	if !away {
		Reached(ctx)
	}
	rest(ctx, took)
	if ctx.Err() != nil {
		l.turn("cut short", d.key()) // all together
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return Outcome{Interrupted: true}
	}
	l.ended[name] = time.Now()
	out := Outcome{Unreachable: away, Interrupted: ctx.Err() != nil}
	for i := range d.Recipients {
		if r := &d.Recipients[i]; r.State.Open() {
			result := Result{State: Deferred, Reason: "later"}
			switch n := random.IntN(8); {
			case away || out.Interrupted || n < 4:
			case n < 7:
				result.State = Delivered
				l.delivered[name+" "+r.Path.Local]++
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
		l.note("outcome", "%s: unreachable %v, %v", name, out.Unreachable, out.Results)
	}
	return out
}

// Compose writes the name of a report, which says what it reports on.
func (l *life) Compose(out io.Writer, r Report) (bool, bool, error) {
	of, err := nameOf(r.Message)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false, false, errPower
	}
	text := fmt.Sprintf("%s of %s:", r.Kind, of)
	for i := range r.Recipients {
		text += " " + r.Recipients[i].Path.Local
	}
	l.note("report", "%s", text)
	_, werr := io.WriteString(out, text)
	return false, false, errors.Join(err, werr)
}

// told notes whose failures a report is about that is durable. The caller holds the
// lock.
func (f *fate) told(id ID, report string) {
	if was := f.reports[report]; was != 0 && was != id {
		f.broken = errors.Join(f.broken, fmt.Errorf("%s: reported twice", report))
	}
	f.reports[report] = id
	if of, is := strings.CutPrefix(report, "failure of "); is {
		message, recipients, _ := strings.Cut(of, ":")
		for _, local := range strings.Fields(recipients) {
			f.failed[message+" "+local] = true
		}
	}
}

// nameOf is the first line of a content.
func nameOf(m *Message) (string, error) {
	text, err := readContent(m)
	name, _, _ := strings.Cut(text, "\n")
	return name, err
}
