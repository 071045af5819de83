package queue

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waypost/relay/smtp"
)

// The model is a queue as README.md describes it, in the simplest form: no disk,
// no schedule, no concurrency. It is told what was done and which attempts were
// made, and says what must be there.

type modelMessage struct {
	id         ID
	env        Envelope
	content    string
	deliveries []*modelDelivery
}

type modelDelivery struct {
	Delivery           // Destination, Index, Attempts, Next, Held, Warned, Recipients
	freed    time.Time // when it last came from a hold, or from another destination
	wanted   bool      // an operator had its destination tried, and it may be attempted early
}

// modelEvent is an attempt that the queue made.
type modelEvent struct {
	at      time.Time
	message *modelMessage // as it was before
	out     Outcome
}

// modelWorld is what the queue meets: each destination has its weather, and each
// domain its route. It writes down what it is asked.
type modelWorld struct {
	ahead   atomic.Int64 // of the time that passes, in nanoseconds
	mu      sync.Mutex
	weather map[string]string // by destination
	routes  map[string]string // destinations by domain, where they differ
	events  []modelEvent
	broken  error // of a content
}

// now is what the clock says.
func (w *modelWorld) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())).Round(0) }

// Deliver does as the weather says, and notes it.
func (w *modelWorld) Deliver(_ context.Context, m *Message, d *Delivery) Outcome {
	content, err := readContent(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = cmp.Or(w.broken, err)
	before := &modelDelivery{Delivery: *d}
	before.Recipients = slices.Clone(d.Recipients)
	out := w.outcome(d)
	w.events = append(w.events, modelEvent{w.now(), &modelMessage{m.ID, m.Envelope, content, []*modelDelivery{before}}, out})
	return out
}

func readContent(m *Message) (string, error) {
	r, err := m.Content()
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func (w *modelWorld) outcome(d *Delivery) (out Outcome) {
	weather := w.weather[d.Destination]
	out.Unreachable = weather == "dead"
	if weather == "later" {
		out.RetryAfter = 10 * time.Minute
	}
	for i := range d.Recipients {
		if r := &d.Recipients[i]; r.State.Open() {
			out.Results = append(out.Results, Result{State: modelResult(weather, r.Path.Local), Reason: weather})
		}
	}
	return out
}

func modelResult(weather, local string) State {
	switch {
	case weather == "fine", weather == "mixed" && local[0] == 'a':
		return Delivered
	case weather == "refuses", weather == "mixed" && local[0] == 'c':
		return Failed
	}
	return Deferred // also when it is full, away for a while, or dead
}

// Destination follows the routes.
func (w *modelWorld) Destination(_ *Envelope, r *Recipient) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.routes[r.Path.Domain], r.Path.Domain)
}

// Compose writes whom it reports on.
func (w *modelWorld) Compose(out io.Writer, r Report) (bool, bool, error) {
	_, err := io.WriteString(out, reportText(r.Message.ID, r.Kind, r.Recipients))
	return false, false, err
}

func reportText(id ID, kind ReportKind, recipients []Recipient) string {
	text := fmt.Sprintf("%s %s", id, kind)
	for i := range recipients {
		text += fmt.Sprintf(" %s=%s", recipients[i].Path, recipients[i].State)
	}
	return text
}

// text is what must be the same in the queue and in the model.
func (m *modelMessage) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "from %s class %q", m.env.ReversePath, m.env.Class)
	for _, d := range m.deliveries {
		fmt.Fprintf(&b, "; %s", d.text())
	}
	return b.String()
}

func (d *modelDelivery) text() string {
	text := fmt.Sprintf("%d to %s, attempts %d, next %s", d.Index, d.Destination, d.Attempts, d.Next.UTC().Format("02 15:04:05.000"))
	for _, flag := range []struct {
		is   bool
		text string
	}{{d.Held, ", held"}, {d.Warned, ", warned"}} {
		if flag.is {
			text += flag.text
		}
	}
	for i := range d.Recipients {
		text += fmt.Sprintf(" %s=%s", d.Recipients[i].Path, d.Recipients[i].State)
	}
	return text
}

// modelOf is a message of the queue as the model would have it.
func modelOf(e *Entry) *modelMessage {
	m := &modelMessage{id: e.ID, env: e.Envelope}
	for _, d := range e.Deliveries {
		m.deliveries = append(m.deliveries, &modelDelivery{Delivery: *d})
	}
	return m
}

func (m *modelMessage) open() (n int) {
	for _, d := range m.deliveries {
		n += d.Open()
	}
	return n
}

func (m *modelMessage) delivery(index uint16) *modelDelivery {
	for _, d := range m.deliveries {
		if d.Index == index {
			return d
		}
	}
	return nil
}

// clone returns a copy that changes alone.
func (m *modelMessage) clone() *modelMessage {
	c := *m
	c.deliveries = nil
	for _, d := range m.deliveries {
		other := *d
		other.Recipients = slices.Clone(d.Recipients)
		c.deliveries = append(c.deliveries, &other)
	}
	return &c
}

// sortModel gives recipients that go together one delivery.
func sortModel(w *modelWorld, m *modelMessage, recipients []Recipient) (all []*modelDelivery) {
	for _, r := range recipients {
		to := w.Destination(nil, &r)
		at := slices.IndexFunc(all, func(d *modelDelivery) bool { return d.Destination == to })
		if at < 0 {
			at = len(all)
			d := &modelDelivery{}
			d.ID, d.Index, d.Destination, d.Class, d.HoldUntil = m.id, uint16(at), to, m.env.Class, m.env.HoldUntil
			d.Next, d.Warned = m.env.begin(), m.env.ReversePath.IsNull()
			if by := m.env.DeliverBy; by.Return || by.Deadline.After(m.env.Arrival) {
				d.Deadline, d.Return = by.Deadline, by.Return
			}
			all = append(all, d)
		}
		all[at].Recipients = append(all[at].Recipients, r)
	}
	return all
}

// conclude is what results mean for the open recipients of a delivery; those
// without one, or deferred by an interrupted attempt, were not tried. It returns
// the reports.
func (m *modelMessage) conclude(d *modelDelivery, p RetryPolicy, now time.Time, out Outcome, attempt bool) (reports []string) {
	expires := !now.Before(m.env.begin().Add(p.Lifetime)) || d.Return && !now.Before(d.Deadline)
	var failed, relayed, delayed []Recipient
	tried, results := false, out.Results
	for i := range d.Recipients {
		r := &d.Recipients[i]
		if !r.State.Open() {
			continue
		}
		result := Result{State: Deferred}
		if len(results) > 0 {
			result, results = results[0], results[1:]
		}
		if out.Interrupted && result.State == Deferred {
			continue
		}
		tried, r.LastAttempt = true, now
		if r.State = result.State; r.State == Deferred && expires {
			r.State = Expired
		}
		if (r.State == Failed || r.State == Expired) && r.Notify.Failure() {
			failed = append(failed, *r)
		}
		if r.State == Delivered && r.Notify.Success() {
			relayed = append(relayed, *r)
		}
	}
	if tried && attempt {
		d.Attempts++
		wait := p.Intervals[min(d.Attempts, len(p.Intervals))-1]
		if out.RetryAfter > 0 {
			wait = out.RetryAfter
		}
		end := m.env.begin().Add(p.Lifetime)
		if d.Next = now.Add(wait); d.Next.After(end) && now.Before(end) {
			d.Next = end
		}
		if half := now.Add(max(d.Deadline.Sub(now)/2, 5*time.Minute)); d.Return && d.Next.After(half) {
			d.Next = half.Truncate(time.Millisecond)
		}
	}
	if at := d.warnAt(p, m.env.begin()); !d.Warned && !at.IsZero() && !now.Before(at) {
		d.Warned = true
		for _, r := range d.Recipients {
			if r.State.Open() && r.Notify.Delay() {
				delayed = append(delayed, r)
			}
		}
	}
	if m.env.ReversePath == (smtp.Path{}) {
		return nil
	}
	for kind, of := range map[ReportKind][]Recipient{ReportFailure: failed, ReportDelay: delayed, ReportSuccess: relayed} {
		if len(of) > 0 {
			reports = append(reports, reportText(m.id, kind, of))
		}
	}
	return reports
}
