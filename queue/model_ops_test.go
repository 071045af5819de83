package queue

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"waypost/relay/smtp"
)

// whatever clients, operators, next hops, the clock and the power do: the queue
// has what the model has, attempts what the model would, and reports on it.
func TestQueueModel(t *testing.T) {
	fewChecks(t, "40")
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			m := newMachine(rt, t)
			defer m.end()
			rt.Repeat(map[string]func(*rapid.T){
				"enqueue": m.enqueue, "enqueue more": m.enqueue, "weather": m.weather, "time": m.time, "long time": m.longTime, "reroute": m.reroute,
				"hold": m.hold, "release": m.release, "remove": m.remove, "bounce": m.bounce, "retry": m.retryNow,
				"hold destination": m.holdDestination, "release destination": m.releaseDestination, "retry destination": m.retryDestination,
				"compact": m.compact, "backup": m.backup, "restore": m.restore, "move": m.move, "clock": m.clock,
				"reopen": m.reopen, "crash": m.crash, "crash while it works": m.crashAtWork,
			})
		})
	})
}

func newMachine(rt *rapid.T, t *testing.T) *machine {
	m := &machine{
		T: rt, dir: t.TempDir, world: &modelWorld{weather: map[string]string{}, routes: map[string]string{}}, stop: func() {},
		retry:    RetryPolicy{Intervals: []time.Duration{30 * time.Minute, time.Hour, 3 * time.Hour}, Lifetime: 48 * time.Hour, WarnAfter: 4 * time.Hour},
		messages: map[ID]*modelMessage{}, held: map[string]bool{}, freed: map[string]time.Time{}, paused: map[string]modelPause{}, woken: map[string]time.Time{},
		due: map[string]bool{}, seen: map[string]bool{}, stories: map[ID]string{},
	}
	m.open(files{})
	m.run()
	return m
}

// end closes everything, also after a failure.
func (m *machine) end() {
	m.stop()
	m.disk.close()
}

// open opens the queue on the files.
func (m *machine) open(f files) {
	dir := m.dir()
	if err := f.write(dir); err != nil {
		m.Fatal(err)
	}
	if m.disk != nil {
		m.disk.close()
	}
	m.disk = newPowerDisk(dir, rapid.Uint64().Draw(m.T, "seed"))
	if err := m.disk.adopt(f); err != nil {
		m.Fatal(err)
	}
	m.use(dir)
}

// use opens the queue, which stop closes.
func (m *machine) use(dir string) {
	q := m.opened(dir)
	m.queue, m.stop = q, func() {
		m.stop = func() {}
		m.close(q)
	}
}

func (m *machine) opened(dir string) *Queue {
	o := Options{
		Dir: dir, Deliverer: m.world, Router: m.world, Reporter: m.world, Retry: m.retry, segment: 8192, now: m.world.now,
		History: HistoryOptions{Size: 64 << 20},
	}
	if dir == m.disk.dir {
		o.disk = m.disk
	}
	if m.bulk != nil {
		o.Classes = []Class{{Name: "bulk", Rank: -1, Retry: *m.bulk}}
	}
	q, err := Open(o)
	if err != nil {
		m.Fatalf("open: %v", err)
	}
	<-q.loaded
	return q
}

var modelDomains = []string{"a.test", "b.test", "c.test"}

func (m *machine) destination() string {
	return rapid.SampledFrom(append([]string{"smtp://hub.test:25", "from.test"}, modelDomains...)).Draw(m.T, "destination")
}

// draft is a message that nobody has acknowledged yet, and that may have a
// by-time.
func (m *machine) draft(byTime bool) (d *Draft, message *modelMessage) {
	d = m.queue.NewDraft()
	m.reused(d.ID())
	message = &modelMessage{id: d.ID(), content: strings.Repeat("x", rapid.SampledFrom([]int{1, 100, 3000, inlineLimit + 1}).Draw(m.T, "size"))}
	message.env = Envelope{Class: rapid.SampledFrom([]string{"", "", "bulk"}).Draw(m.T, "class"), Priority: int8(rapid.IntRange(-1, 1).Draw(m.T, "priority"))}
	message.env.Arrival = m.now()
	if rapid.IntRange(0, 4).Draw(m.T, "sender") > 0 {
		message.env.ReversePath = path("s@from.test")
	}
	if rapid.IntRange(0, 9).Draw(m.T, "later") == 9 {
		message.env.HoldUntil = m.now().Add(5 * time.Hour)
	}
	if byTime && rapid.IntRange(0, 4).Draw(m.T, "by-time") == 4 {
		message.env.DeliverBy = m.byTime()
	}
	var recipients []Recipient
	for i := range rapid.IntRange(1, 4).Draw(m.T, "recipients") {
		local := fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.T, "local part"), i)
		notify := rapid.SampledFrom([]smtp.Notify{0, smtp.NotifyNever, smtp.NotifyFailure, smtp.NotifySuccess | smtp.NotifyDelay}).Draw(m.T, "notify")
		recipients = append(recipients, Recipient{Path: smtp.Path{Local: local, Domain: rapid.SampledFrom(modelDomains).Draw(m.T, "domain")}, Notify: notify})
	}
	message.deliveries = sortModel(m.world, message, recipients)
	if _, err := io.WriteString(d, message.content); err != nil {
		m.Fatal(err)
	}
	return d, message
}

// reused forgets the reports on a message of that ID that has left: a queue that is
// opened in the same millisecond of the clock gives it again.
func (m *machine) reused(id ID) {
	for _, texts := range []map[string]bool{m.due, m.seen} {
		maps.DeleteFunc(texts, func(text string, _ bool) bool { return strings.HasPrefix(text, id.String()+" ") })
	}
}

func (message *modelMessage) commit(d *Draft) error {
	var all []Recipient
	for _, d := range message.deliveries {
		all = append(all, d.Recipients...)
	}
	defer d.Discard()
	return d.Commit(message.env, all)
}

func (m *machine) enqueue(*rapid.T) {
	d, message := m.draft(true)
	m.messages[message.id] = message
	if err := message.commit(d); err != nil {
		m.Fatal(err)
	}
	m.settle()
}

func (m *machine) weather(*rapid.T) {
	to := m.destination()
	weather := rapid.SampledFrom([]string{"fine", "full", "later", "refuses", "mixed", "dead", "dead"}).Draw(m.T, "weather")
	m.world.mu.Lock()
	m.world.weather[to] = weather
	m.world.mu.Unlock()
}

func (m *machine) time(*rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Minute, 10 * time.Minute, 31 * time.Minute}).Draw(m.T, "for"))
	m.settle()
}

func (m *machine) longTime(*rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{time.Hour, 5 * time.Hour, 20 * time.Hour, 50 * time.Hour}).Draw(m.T, "for"))
	m.settle()
}

// reroute changes a route, and has what waits follow it.
func (m *machine) reroute(*rapid.T) {
	m.freeAll()
	domain := rapid.SampledFrom(modelDomains).Draw(m.T, "domain")
	m.world.mu.Lock()
	m.world.routes[domain] = rapid.SampledFrom([]string{"", "smtp://hub.test:25"}).Draw(m.T, "to")
	m.world.mu.Unlock()
	want := 0
	for _, message := range m.messages {
		changed := false
		for _, d := range slices.Clone(message.deliveries) {
			changed = m.resort(message, d) || changed
		}
		if changed {
			want++
		}
	}
	if n, err := m.queue.Reroute(Filter{}); n != want || err != nil {
		m.Fatalf("reroute: %d, %v; want %d", n, err, want)
	}
	m.settle()
}

// resort sorts the open recipients of a delivery anew where a route has changed.
func (m *machine) resort(message *modelMessage, d *modelDelivery) (changed bool) {
	var open, final []Recipient
	for _, r := range d.Recipients {
		if r.State.Open() {
			open = append(open, r)
			changed = changed || m.world.Destination(nil, &r) != d.Destination
		} else {
			final = append(final, r)
		}
	}
	if !changed {
		return false
	}
	last := message.deliveries[len(message.deliveries)-1].Index
	for i, part := range sortModel(m.world, message, open) {
		part.Attempts, part.Warned, part.Next, part.freed = d.Attempts, d.Warned, later(m.now(), d.HoldUntil), m.now()
		if i == 0 {
			part.Index, part.Recipients = d.Index, append(part.Recipients, final...)
			message.deliveries[slices.Index(message.deliveries, d)] = part
			continue
		}
		last++
		part.Index = last
		message.deliveries = append(message.deliveries, part)
	}
	return true
}

// compact copies the index.
func (m *machine) compact(*rapid.T) {
	if _, err := m.queue.Compact(m.Context()); err != nil {
		m.Fatal(err)
	}
	m.settle()
}

// reopen stops the queue and opens it again, perhaps with other classes, and
// perhaps by another clock.
func (m *machine) reopen(*rapid.T) {
	m.stop()
	m.step()
	m.bulk = rapid.SampledFrom([]*RetryPolicy{nil, {Intervals: []time.Duration{10 * time.Minute}, Lifetime: 24 * time.Hour}}).Draw(m.T, "class bulk")
	m.use(m.disk.dir)
	m.begin()
}

// crash lets the power go while nothing is under way.
func (m *machine) crash(*rapid.T) {
	rest, err := m.disk.off()
	if err != nil {
		m.Fatal(err)
	}
	m.stop()
	m.step()
	m.open(rest)
	m.begin()
}

// begin compares a queue that was opened with the model, and runs it. What the
// schedule knew is forgotten, and what is due too late for today's classes is
// not any more.
func (m *machine) begin() {
	clear(m.paused)
	clear(m.woken)
	for _, message := range m.messages {
		for _, d := range message.deliveries {
			d.wanted = false
		}
	}
	m.bound()
	m.awake = m.now()
	held := map[string]bool{}
	for _, h := range m.queue.HeldDestinations() {
		held[h.Name] = true
	}
	if !maps.Equal(held, m.held) {
		m.Fatalf("on hold are %v, want %v", held, m.held)
	}
	m.same(m.queue)
	m.run()
	m.settle()
}

// crashAtWork lets the power go while messages come and are attempted. Those
// that were acknowledged are there; an attempt may have left a trace or none,
// and it has left its reports if and only if it has.
func (m *machine) crashAtWork(*rapid.T) {
	m.disk.goAt(rapid.IntRange(0, 12).Draw(m.T, "syncs"))
	var mu sync.Mutex
	acknowledged := map[ID]bool{}
	drafts := map[ID]*modelMessage{}
	for range 3 {
		d, message := m.draft(false)
		drafts[message.id] = message
		go func() {
			err := message.commit(d)
			mu.Lock()
			defer mu.Unlock()
			if acknowledged[message.id] = err == nil; err != nil && !errors.Is(err, ErrStore) {
				m.Errorf("enqueue: %v", err)
			}
		}()
	}
	synctest.Wait()
	if m.queue.Err() == nil {
		m.disk.goAt(-1)
		maps.Copy(m.messages, drafts)
		m.settle()
		return
	}
	rest, err := m.disk.off()
	if err != nil {
		m.Fatal(err)
	}
	m.stop()
	events := map[deliveryKey]modelEvent{}
	for _, e := range m.world.events {
		events[e.message.deliveries[0].key()] = e
	}
	m.world.events = nil
	m.open(rest)
	for id, message := range drafts {
		m.reconcile(message, acknowledged[id], events)
	}
	m.reconcileReports(events)
	for _, id := range m.leave() {
		m.told(id)
	}
	m.begin()
}

// reconcile finds out which of the attempts of a message have left a trace.
func (m *machine) reconcile(message *modelMessage, acknowledged bool, events map[deliveryKey]modelEvent) {
	e, err := m.queue.Show(message.id)
	if err != nil && !errors.Is(err, ErrUnknown) {
		m.Fatal(err)
	}
	if err != nil && !acknowledged {
		return
	}
	var reports []string
	for i, d := range message.deliveries {
		attempt, attempted := events[deliveryKey{message.id, d.Index}]
		after := message.clone()
		var texts []string
		if attempted {
			texts = after.conclude(after.deliveries[i], m.policy(d.Class), attempt.at, attempt.out, true)
		}
		switch {
		case err != nil && attempted && after.deliveries[i].Open() == 0, // it has left
			err == nil && attempted && modelOf(&e).delivery(d.Index).text() == after.deliveries[i].text():
			*d, reports = *after.deliveries[i], append(reports, texts...)
		case err != nil:
			m.Fatalf("%s was acknowledged and is not there", message.id)
		case modelOf(&e).delivery(d.Index).text() != d.text():
			m.Fatalf("%s is\n%s, want\n%s, or\n%s", message.id, modelOf(&e).text(), message.text(), after.text())
		}
	}
	m.report(reports)
	m.messages[message.id] = message
}

// reconcileReports takes in the reports that were made before the crash, of
// which some may have left again.
func (m *machine) reconcileReports(events map[deliveryKey]modelEvent) {
	entries, _, err := m.queue.List(Filter{}, 0, 10_000)
	if err != nil {
		m.Fatal(err)
	}
	for i := range entries {
		if e := &entries[i]; e.ReportOn != 0 && m.messages[e.ID] == nil {
			report := modelOf(e)
			report.content = m.content(m.queue, e.ID)
			m.adopt(report)
		}
	}
	for _, e := range events {
		if e.message.env.ReportOn != 0 && m.messages[e.message.id] == nil {
			after := e.message.clone()
			d := after.deliveries[0]
			m.report(after.conclude(d, m.policy(d.Class), e.at, e.out, true))
			if d.Open() > 0 {
				m.Fatalf("the report %s was attempted, and is not there", after.id)
			}
			m.seen[after.content] = true
		}
	}
}
