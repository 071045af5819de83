package queue

import (
	"context"
	"maps"
	"slices"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// machine is a queue and its model side by side.
type machine struct {
	*rapid.T
	dir      func() string // makes a directory
	disk     *powerDisk
	queue    *Queue
	world    *modelWorld
	stop     func()
	retry    RetryPolicy
	bulk     *RetryPolicy // of the class; nil when the configuration has none
	messages map[ID]*modelMessage
	held     map[string]bool
	freed    map[string]time.Time  // when a hold of a destination ended
	paused   map[string]modelPause // destinations of which no host took a session
	woken    map[string]time.Time  // when an operator's wish last ended such a pause
	ran      time.Time             // when the queue began to run, as time passes
	awake    time.Time             // when the queue last noticed that it is later than it was
	stories  map[ID]string         // of what has left
	due      map[string]bool       // reports that there must have been, by their text
	seen     map[string]bool       // and those that there were
}

func (m *machine) policy(class string) RetryPolicy {
	if class == "bulk" && m.bulk != nil {
		return *m.bulk
	}
	return m.retry
}

// modelPause is since when a destination is left alone. A wish that followed
// another one too soon ends it at a time.
type modelPause struct{ since, wished time.Time }

// pausedUntil is when a destination is tried again for a class; zero when it is
// not paused.
func (m *machine) pausedUntil(d *modelDelivery) time.Time {
	p, is := m.paused[d.Destination]
	if !is {
		return time.Time{}
	}
	until := p.since.Add(m.policy(d.Class).Intervals[0])
	if !p.wished.IsZero() {
		return sooner(until, p.wished)
	}
	return until
}

// settle lets the queue do what there is to do, tells the model of the attempts,
// and compares the two.
func (m *machine) settle() {
	synctest.Wait()
	m.world.mu.Lock()
	events, broken := m.world.events, m.world.broken
	m.world.events = nil
	m.world.mu.Unlock()
	if broken != nil {
		m.Fatalf("a content: %v", broken)
	}
	for len(events) > 0 {
		now := events[0].at
		n := slices.IndexFunc(events, func(e modelEvent) bool { return e.at.After(now) })
		if n < 0 {
			n = len(events)
		}
		m.warn(now.Add(-1))
		m.late(now.Add(-1))
		for _, e := range events[:n] {
			m.attempted(e)
		}
		m.unreached(now, events[:n])
		events = events[n:]
	}
	m.warn(m.now())
	m.late(m.now())
	m.lateAfterHold()
	left := m.leave()
	m.compare()
	for _, id := range left {
		m.told(id)
	}
	m.forget()
}

// warn does what is due by itself up to a time: warnings of delays, but for those
// at the end of a by-time.
func (m *machine) warn(until time.Time) {
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			p := m.policy(d.Class)
			at := d.warnAt(p, d.begin())
			if at.IsZero() || d.warnsAtDeadline() || d.Warned || d.Held || m.held[d.Destination] || d.Open() == 0 || !at.Before(d.Next) {
				continue
			}
			at = later(later(at, m.awake), later(later(at, d.freed), later(m.freed[d.Destination], m.pausedUntil(d))))
			if !at.After(until) && at.Before(d.Next) && !(d.Return && !at.Before(d.Deadline)) {
				m.report(message.conclude(d, p, at, Outcome{Interrupted: true}, false))
			}
		}
	}
}

func (m *machine) report(texts []string) {
	for _, text := range texts {
		if m.due[text] {
			m.Fatalf("to be reported twice: %s", text)
		}
		m.due[text] = true
	}
}

// attempted tells the model of an attempt, which must have been one to make.
func (m *machine) attempted(e modelEvent) {
	message := m.messages[e.message.id]
	if message == nil {
		if message = e.message.clone(); message.env.ReportOn == 0 {
			m.Fatalf("%s was attempted and is not there", message.id)
		}
		m.adopt(message)
	}
	was := e.message.deliveries[0]
	d := message.delivery(was.Index)
	if d != nil && was.Warned && d.warnsAtDeadline() && d.isLate(e.at) {
		m.tooLate(message, d, e.at) // whichever came first
	}
	if d == nil || d.text() != was.text() {
		m.Fatalf("%s was attempted as\n%s, want\n%v", message.id, was.text(), message.text())
	}
	if message.content != e.message.content {
		m.Fatalf("%s was attempted with the content %.60q, want %.60q", message.id, e.message.content, message.content)
	}
	p, paused := m.paused[d.Destination]
	switch {
	case d.Held || m.held[d.Destination]:
		m.Fatalf("%s was attempted on hold: %s", message.id, d.text())
	case d.HoldUntil.After(e.at):
		m.Fatalf("%s was attempted before its release at %v", message.id, d.HoldUntil)
	case d.Return && !e.at.Before(d.Deadline):
		m.Fatalf("%s was attempted at %v, after its by-time: %s", message.id, e.at, d.text())
	case d.Next.After(e.at) && !d.wanted:
		m.Fatalf("%s was attempted too early: %s", message.id, d.text())
	case paused && p.since.Before(e.at) && m.pausedUntil(d).After(e.at):
		m.Fatalf("%s was attempted at a destination that is left alone since %v", message.id, p.since)
	}
	d.wanted = false
	m.report(message.conclude(d, m.policy(d.Class), e.at, e.out, true))
	if !e.out.Unreachable {
		delete(m.paused, d.Destination) // for every class, and at once
	}
}

// unreached notes which destinations the attempts of one moment did not reach, and
// settles what waits behind them.
func (m *machine) unreached(now time.Time, events []modelEvent) {
	for _, e := range events {
		if !e.out.Unreachable {
			continue
		}
		to := e.message.deliveries[0].Destination
		if p, is := m.paused[to]; !is || p.since.Before(now) {
			m.paused[to] = modelPause{since: now}
		}
		for _, message := range m.messages {
			for _, d := range message.deliveries {
				m.behind(message, d, to, now)
			}
		}
	}
}

// behind settles what waits behind a failed attempt and is over its time.
func (m *machine) behind(message *modelMessage, d *modelDelivery, to string, now time.Time) {
	p := m.policy(d.Class)
	expired := !now.Before(d.begin().Add(p.Lifetime))
	if d.Return && d.isLate(now) {
		return // whichever settles it
	}
	at := d.warnAt(p, d.begin())
	warns := !d.Warned && !at.IsZero() && !now.Before(at) && !d.warnsAtDeadline()
	if d.Destination != to || d.Open() == 0 || d.Held || m.held[to] || !expired && !warns || d.Next.After(now) && !warns {
		return
	}
	out := Outcome{Results: slices.Repeat([]Result{{State: Deferred}}, d.Open()), Interrupted: !expired}
	m.report(message.conclude(d, p, now, out, true))
}

// adopt takes a report, which the queue made, into the model.
func (m *machine) adopt(message *modelMessage) {
	if m.seen[message.content] {
		m.Fatalf("reported twice: %s", message.content)
	}
	m.seen[message.content] = true
	m.messages[message.id] = message
}

// compare holds the queue to the model: every message, what it knows of its
// recipients, the totals, the reports, and that nothing waits that should not.
func (m *machine) compare() {
	m.same(m.queue)
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			if d.Open() == 0 || d.Held || m.held[d.Destination] || d.Next.After(m.now()) || d.HoldUntil.After(m.now()) {
				continue
			}
			if !m.pausedUntil(d).After(m.now()) {
				m.Fatalf("%s is due and was not attempted: %s", message.id, d.text())
			}
		}
	}
}

func (m *machine) same(q *Queue) {
	entries, _, err := q.List(Filter{}, 0, 10_000)
	if err != nil {
		m.Fatal(err)
	}
	var sum tally
	for i := range entries {
		e := &entries[i]
		if e.ReportOn != 0 && m.messages[e.ID] == nil {
			report := modelOf(e)
			report.content = m.content(q, e.ID)
			m.adopt(report)
		}
		want := m.messages[e.ID]
		if want == nil {
			m.Fatalf("%s is in the queue and should not: %s", e.ID, modelOf(e).text())
		}
		if got := modelOf(e).text(); got != want.text() {
			m.Fatalf("%s is\n%s, want\n%s", e.ID, got, want.text())
		}
		sum.messages, sum.bytes = sum.messages+1, sum.bytes+int64(len(want.content))
		for _, d := range want.deliveries {
			sum = sum.plus(tallyOf(&d.Delivery))
		}
	}
	if len(entries) != len(m.messages) {
		var want []string
		for _, message := range m.messages {
			want = append(want, message.id.String()+" "+message.text())
		}
		m.Fatalf("%d messages in the queue, want %d: %q", len(entries), len(m.messages), want)
	}
	if total := q.store.sum(); total != sum {
		m.Fatalf("totals %+v, want %+v", total, sum)
	}
	if !maps.Equal(m.seen, m.due) {
		m.Fatalf("reports\n%q, want\n%q", slices.Sorted(maps.Keys(m.seen)), slices.Sorted(maps.Keys(m.due)))
	}
}

func (m *machine) content(q *Queue, id ID) string {
	text := ""
	err := q.store.view(func(v *view) error {
		message, err := q.readMessage(v, id)
		if err == nil {
			text, err = readContent(message)
		}
		return err
	})
	if err != nil {
		m.Fatalf("content of %s: %v", id, err)
	}
	return text
}

// run lets the queue deliver until stop is called.
func (m *machine) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	q := m.queue
	m.ran = time.Now()
	go func() {
		defer close(ended)
		q.Run(ctx, time.Second)
	}()
	m.stop = func() {
		cancel()
		<-ended
		m.stop = func() {}
		m.close(q)
	}
}
