package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// world is a Deliverer, Router and Reporter that a test scripts.
type world struct {
	mu       sync.Mutex
	attempts map[string][]time.Time // by the first recipient's local part
	reports  []Report
	// answer says what an attempt comes to; nil delivers.
	answer func(m *Message, d *Delivery) Outcome
	route  func(r *Recipient) string
	failTo error // what Compose returns
}

func (w *world) Deliver(_ context.Context, m *Message, d *Delivery) Outcome {
	w.mu.Lock()
	if w.attempts == nil {
		w.attempts = map[string][]time.Time{}
	}
	name := d.Recipients[0].Path.Local
	w.attempts[name] = append(w.attempts[name], time.Now())
	answer := w.answer
	w.mu.Unlock()
	if answer == nil {
		return all(d, Result{State: Delivered, Reply: smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, "ok"), Reported: true})
	}
	return answer(m, d)
}

func (w *world) Destination(_ *Envelope, r *Recipient) string {
	w.mu.Lock()
	route := w.route
	w.mu.Unlock()
	if route != nil {
		return route(r)
	}
	return r.Path.Domain
}

func (w *world) Compose(out io.Writer, r Report) (bool, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failTo != nil {
		return false, false, w.failTo
	}
	w.reports = append(w.reports, r)
	_, err := fmt.Fprintf(out, "Subject: report %d\r\n\r\n", r.Kind)
	return false, false, err
}

func (w *world) reported() []Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Report(nil), w.reports...)
}

func (w *world) tried(name string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.attempts[name]...)
}

// all gives every open recipient the same result.
func all(d *Delivery, r Result) Outcome {
	out := Outcome{}
	for range d.Open() {
		out.Results = append(out.Results, r)
	}
	return out
}

// refused is what comes of an attempt at a destination where nobody listens.
func refused(d *Delivery) Outcome {
	out := all(d, Result{State: Deferred, Reason: "connection refused"})
	out.Unreachable = true
	return out
}

func deferred(text string) Result {
	return Result{State: Deferred, Reply: smtp.NewReply(451, smtp.EnhancedCode{4, 3, 0}, text), Host: "mx.test"}
}

func open(t testing.TB, w *world, edit func(*Options)) *Queue {
	t.Helper()
	o := Options{Dir: t.TempDir(), Deliverer: w, Router: w, Reporter: w}
	if edit != nil {
		edit(&o)
	}
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// running runs the queue until the returned function is called, which also
// closes it.
func running(t testing.TB, q *Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Run(ctx, time.Second)
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-ended
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// virtually runs a test in virtual time.
func virtually(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, &world{}) })
}

func path(s string) smtp.Path {
	local, domain, _ := strings.Cut(s, "@")
	return smtp.Path{Local: local, Domain: domain}
}

func enqueue(t testing.TB, q *Queue, from, content string, to ...string) ID {
	t.Helper()
	d := q.NewDraft()
	if _, err := io.WriteString(d, content); err != nil {
		t.Fatal(err)
	}
	var rcpts []Recipient
	for _, s := range to {
		rcpts = append(rcpts, Recipient{Path: path(s)})
	}
	if err := d.Commit(Envelope{ReversePath: path(from)}, rcpts); err != nil {
		t.Fatal(err)
	}
	return d.ID()
}

func TestDeliversAndForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		q := open(t, w, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "hello\r\n", "r@b.test", "r2@b.test", "q@c.test")
		synctest.Wait()
		if len(w.tried("r")) != 1 || len(w.tried("q")) != 1 {
			t.Errorf("attempts: %v", w.tried("r"))
		}
		if s := q.Stats(); s.Messages != 0 || s.Queued+s.Deferred+s.Held != 0 || s.Bytes != 0 || s.Destinations != 0 {
			t.Errorf("queue not empty: %+v", s)
		}
		if entries, _, err := q.List(Filter{}, 0, 10); err != nil || len(entries) != 0 {
			t.Errorf("listed %v, %v", entries, err)
		}
	})
}

// A recipient that is deferred for five days is tried at the listed times,
// warned about once, reported once, and leaves an empty queue.
//
// 5321-4.5.4.1-a 1123-5.3.1.1-a
func TestFiveDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			return all(d, deferred("not now"))
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		defer running(t, q)()
		start := time.Now()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()

		want := []time.Duration{0, 30 * time.Minute, 90 * time.Minute, 210 * time.Minute}
		for at := want[3] + 3*time.Hour; at < 5*24*time.Hour; at += 3 * time.Hour {
			want = append(want, at)
		}
		want = append(want, 5*24*time.Hour)
		tried := w.tried("r")
		if len(tried) != len(want) {
			t.Fatalf("%d attempts, want %d", len(tried), len(want))
		}
		for i, at := range tried {
			if got := at.Sub(start); got.Round(time.Second) != want[i] {
				t.Errorf("attempt %d after %v, want %v", i+1, got, want[i])
			}
		}
		if len(w.reported()) != 2 || w.reported()[0].Kind != ReportDelay || w.reported()[1].Kind != ReportFailure {
			t.Fatalf("reports: %+v", w.reported())
		}
		if r := w.reported()[1].Recipients[0]; r.State != Expired || r.Last.Reply.Code != 451 {
			t.Errorf("reported as %v after %v", r.State, r.Last)
		}
		if got := len(w.tried("s")); got != 2 {
			t.Errorf("%d reports delivered, want 2", got)
		}
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("queue not empty: %+v", s)
		}
	})
}

// When the clock has gone back, new IDs go on from the old time. A message
// lives as long as it should all the same.
func TestLifetimeAfterTheClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			return all(d, deferred("not now"))
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		defer running(t, q)()
		q.ids.last = ID(time.Now().AddDate(1, 0, 0).UnixMilli()) << counterBits
		start := time.Now()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		tried := w.tried("r")
		if last := tried[len(tried)-1].Sub(start).Round(time.Second); last != 5*24*time.Hour {
			t.Errorf("tried until %v", last)
		}
		if got := w.reported(); len(got) != 2 || got[0].Kind != ReportDelay || got[1].Kind != ReportFailure {
			t.Errorf("reports: %+v", got)
		}
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

func TestWarnsAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			out := all(d, deferred("not now"))
			out.Unreachable = d.Destination == "dead.test"
			return out
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		time.Sleep(4*time.Hour - time.Second)
		synctest.Wait()
		if n := len(w.reported()); n != 0 {
			t.Fatalf("%d reports too early", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(w.reported()); n != 1 {
			t.Fatalf("%d reports after four hours, want 1", n)
		}
	})
}

// However many messages wait for a dead destination, it costs one attempt per
// interval, and when it comes back all of them flow.
//
// 5321-4.5.4.1-b 1123-5.3.1.1-a
func TestDeadDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		dead, total := true, 0
		w.answer = func(m *Message, d *Delivery) Outcome {
			if d.Destination == "dead.test" {
				w.mu.Lock()
				total++
				defer w.mu.Unlock()
				if dead {
					return refused(d)
				}
			}
			return all(d, Result{State: Delivered})
		}
		q := open(t, w, nil)
		defer running(t, q)()
		const messages = 300
		enqueue(t, q, "s@a.test", "x\r\n", "first@dead.test")
		synctest.Wait()
		for i := range messages {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@dead.test", i))
		}
		enqueue(t, q, "s@a.test", "x\r\n", "other@alive.test")
		synctest.Wait()
		if n := len(w.tried("other")); n != 1 {
			t.Errorf("the other destination was tried %d times", n)
		}
		time.Sleep(24*time.Hour + time.Minute)
		synctest.Wait()
		w.mu.Lock()
		if total > 49 {
			t.Errorf("%d attempts in a day, want at most one per half hour", total)
		}
		dead = false
		w.mu.Unlock()
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if s := q.Stats(); s.Messages > 1 { // the first one has its own, later time
			t.Errorf("%d messages left half an hour after the destination came back", s.Messages)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if s := q.Stats(); s.Messages != 0 || s.Destinations != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

// a dead destination that takes its time to show it has one attempt at a time,
// and one in each interval, whatever waits there.
func TestOneProbeAtATime(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		under, probes := 0, 0
		w.answer = func(_ *Message, d *Delivery) Outcome {
			mu.Lock()
			under, probes = under+1, probes+1
			if probes > 20 && under > 1 { // the first ones know nothing yet
				t.Errorf("%d attempts at once", under)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			under--
			mu.Unlock()
			return refused(d)
		}
		q := open(t, w, nil)
		defer running(t, q)()
		for i := range 100 {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@dead.test", i))
		}
		time.Sleep(24 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if probes < 40 || probes > 20+48 {
			t.Errorf("%d attempts in a day, want one for each half hour, and up to 20 at first", probes)
		}
	})
}

// What waits behind a dead destination still expires and is warned about.
func TestExpiresBehindDeadDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			return refused(d)
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		defer running(t, q)()
		for i := range 50 {
			enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r%d@dead.test", i))
		}
		time.Sleep(5*24*time.Hour + time.Hour)
		synctest.Wait()
		kinds := map[ReportKind]int{}
		for _, r := range w.reported() {
			kinds[r.Kind]++
		}
		if kinds[ReportDelay] != 50 || kinds[ReportFailure] != 50 {
			t.Errorf("reports by kind: %v, want 50 of each", kinds)
		}
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

func TestFailureIsReportedToTheSender(t *testing.T) {
	refused := Result{State: Failed, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")}
	for _, tc := range []struct {
		name, from string
		notify     smtp.Notify
		result     Result
		want       []ReportKind
	}{
		{"3461-5.2.6-a 5321-3.6.3-a nothing said", "s@a.test", 0, refused, []ReportKind{ReportFailure}},
		{"D-07 3461-5.2.6-a never", "s@a.test", smtp.NotifyNever, refused, nil},
		{"D-07 3461-5.2.6-a only delays", "s@a.test", smtp.NotifyDelay, refused, nil},
		{"D-01 3461-5.2-a 5321-4.5.5-a null sender", "", 0, refused, nil},
		{"3461-5.2.2-a success, next hop without DSN", "s@a.test", smtp.NotifySuccess, Result{State: Delivered}, []ReportKind{ReportSuccess}},
		{"3461-5.2.2-a success, next hop with DSN", "s@a.test", smtp.NotifySuccess, Result{State: Delivered, Reported: true}, nil},
		{"3461-5.2.2-a success not asked for", "s@a.test", smtp.NotifyFailure, Result{State: Delivered}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				w.answer = func(m *Message, d *Delivery) Outcome {
					if d.Destination == "b.test" {
						return all(d, tc.result)
					}
					return all(d, Result{State: Delivered})
				}
				q := open(t, w, nil)
				defer running(t, q)()
				d := q.NewDraft()
				if err := d.Commit(Envelope{ReversePath: path(tc.from)}, []Recipient{{Path: path("r@b.test"), Notify: tc.notify}}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				var got []ReportKind
				for _, r := range w.reported() {
					got = append(got, r.Kind)
				}
				if fmt.Sprint(got) != fmt.Sprint(tc.want) {
					t.Errorf("reports %v, want %v", got, tc.want)
				}
				if n := len(w.tried("s")); n != len(tc.want) {
					t.Errorf("%d reports delivered", n)
				}
				if s := q.Stats(); s.Messages != 0 {
					t.Errorf("left: %+v", s)
				}
			})
		})
	}
}

// A report that cannot be written must not let its failure become final.
func TestFailureWaitsForItsReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{failTo: errors.New("no ink")}
		w.answer = func(m *Message, d *Delivery) Outcome {
			if d.Destination == "b.test" {
				return all(d, Result{State: Failed})
			}
			return all(d, Result{State: Delivered})
		}
		q := open(t, w, nil)
		defer running(t, q)()
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		if s := q.Stats(); s.Messages != 1 || s.Deferred != 1 {
			t.Fatalf("after a failed report: %+v", s)
		}
		w.mu.Lock()
		w.failTo = nil
		w.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(w.reported()) != 1 || q.Stats().Messages != 0 {
			t.Errorf("%d reports, %+v", len(w.reported()), q.Stats())
		}
	})
}

// TestRecipientsOfOneMessageEndApart: each recipient ends once, and is reported
// once at most.
//
// 3464-3-a
func TestRecipientsOfOneMessageEndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			out := Outcome{}
			for _, r := range d.Recipients {
				switch {
				case !r.State.Open():
				case r.Path.Local == "bad":
					out.Results = append(out.Results, Result{State: Failed})
				case r.Path.Local == "later" && d.Attempts == 0:
					out.Results = append(out.Results, deferred("wait"))
				default:
					out.Results = append(out.Results, Result{State: Delivered})
				}
			}
			return out
		}
		q := open(t, w, nil)
		defer running(t, q)()
		id := enqueue(t, q, "s@a.test", "x\r\n", "good@b.test", "bad@b.test", "later@b.test", "good@c.test")
		synctest.Wait()
		e, err := q.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		var states []string
		for _, d := range e.Deliveries {
			for _, r := range d.Recipients {
				states = append(states, r.Path.Local+" "+r.State.String())
			}
		}
		if got := strings.Join(states, ", "); got != "good delivered, bad failed, later deferred, good delivered" {
			t.Errorf("states: %s", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := q.Show(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("still there: %v", err)
		}
		if len(w.reported()) != 1 || len(w.reported()[0].Recipients) != 1 {
			t.Errorf("reports: %+v", w.reported())
		}
	})
}

func TestSurvivesReopening(t *testing.T) {
	big := strings.Repeat("0123456789abcdef\r\n", 10_000)
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("wait")) }}
		dir := t.TempDir()
		q := open(t, w, func(o *Options) { o.Dir = dir })
		stop := running(t, q)
		d := q.NewDraft()
		io.WriteString(d, big)
		env := Envelope{ReversePath: path("s@a.test"), EnvelopeID: "e1", Return: "HDRS", UTF8: true, EightBit: true, Client: "c [127.0.0.1]"}
		rcpt := Recipient{Path: path("r@b.test"), Notify: smtp.NotifyDelay, OriginalRecipient: "rfc822;r+40b.test"}
		if err := d.Commit(env, []Recipient{rcpt}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before, err := q.Show(d.ID())
		if err != nil {
			t.Fatal(err)
		}
		stop()

		got := make(chan string, 1)
		w.answer = func(m *Message, d *Delivery) Outcome {
			r, err := m.Content()
			if err != nil {
				t.Error(err)
				return all(d, deferred("unreadable"))
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err != nil {
				t.Error(err)
			}
			got <- string(b)
			return all(d, Result{State: Delivered, Reported: true})
		}
		q = open(t, w, func(o *Options) { o.Dir = dir })
		defer running(t, q)()
		after, err := q.Show(d.ID())
		if err != nil || fmt.Sprintf("%+v", after.Envelope) != fmt.Sprintf("%+v", before.Envelope) ||
			fmt.Sprintf("%+v", *after.Deliveries[0]) != fmt.Sprintf("%+v", *before.Deliveries[0]) {
			t.Errorf("reopened as %+v (%v), was %+v", after, err, before)
		}
		if s := q.Stats(); s.Messages != 1 || s.Deferred != 1 || s.Bytes != int64(len(big)) {
			t.Errorf("stats after reopening: %+v", s)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if content := <-got; content != big {
			t.Errorf("content of %d octets, want %d", len(content), len(big))
		}
		if s := q.Stats(); s.Messages != 0 || s.Bytes != 0 {
			t.Errorf("left: %+v", s)
		}
		if files, _ := os.ReadDir(q.contentDir()); len(files) != 0 {
			t.Errorf("content files left: %v", files)
		}
	})
}
