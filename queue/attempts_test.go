package queue

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

func sampleAttempt() *Attempt {
	at := time.UnixMilli(1_700_000_000_123)
	same := Result{State: Delivered, Reply: smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"queued as X", ""}},
		Status: smtp.EnhancedCode{2, 0, 0}, Host: "mx[127.0.0.1]:25", Reported: true, TLS: "TLS 1.3 X", Duration: time.Second}
	return &Attempt{Index: 7, Number: 3, Time: at, Destination: "b.test",
		Results: []Tried{
			{path("a@b.test"), Delivered, same}, {path("b@b.test"), Delivered, same},
			{path("c@b.test"), Expired, Result{State: Deferred, Reason: "why"}}, {path("d@b.test"), Delivered, same},
		},
		Reports: []SentReport{{ReportDelay, 17}, {ReportFailure, 18}},
	}
}

func TestAttemptsRoundTrip(t *testing.T) {
	a := sampleAttempt()
	key := attemptKey{deliveryKey{9, a.Index}, a.Number}
	record := encodeAttempt(key.id, a)
	if got, err := decodeAttempt(key, record); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("came back as %+v (%v), was %+v", got, err, a)
	}
	for i := range len(record) * 8 {
		record[i/8] ^= 1 << (i % 8)
		if _, err := decodeAttempt(key, record); err == nil {
			t.Errorf("bit %d flipped, and nobody noticed", i)
		}
		record[i/8] ^= 1 << (i % 8)
	}
	checkFlippedKey(t, key.bytes(), record)
}

func FuzzAttempt(f *testing.F) {
	f.Add(encodeAttempt(0, sampleAttempt()))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, record := range [][]byte{b, appendSum(bytes.Clone(b)), appendKeyedSum(bytes.Clone(b), attemptKey{}.bytes())} {
			a, err := decodeAttempt(attemptKey{}, record)
			if err != nil {
				continue
			}
			if again, err := decodeAttempt(attemptKey{}, encodeAttempt(0, a)); err != nil || len(again.Results) != len(a.Results) {
				t.Errorf("%+v does not come back: %v", a, err)
			}
		}
	})
}

// Each attempt is kept as it went, over a stop and a crash, with the reports
// that it called for; and goes with the message.
func TestAttemptsAreKept(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		n := 0
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, deferred("later"))
			}
			n++
			out := Outcome{}
			for _, r := range d.Recipients {
				switch {
				case !r.State.Open():
				case r.Path.Local == "gone":
					out.Results = append(out.Results, Result{State: Failed, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no")})
				default:
					out.Results = append(out.Results, deferred(fmt.Sprintf("attempt %d", n)))
				}
			}
			return out
		}
		q := open(t, w, func(o *Options) { o.Retry.WarnAfter = 4 * time.Hour })
		start := time.Now()
		stop := running(t, q)
		draft := q.NewDraft()
		id := draft.ID()
		if err := draft.Commit(Envelope{ReversePath: path("s@a.test"), RequireTLS: true, Priority: -4},
			[]Recipient{{Path: path("r@b.test")}, {Path: path("gone@b.test")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		check := func(what string, q *Queue) {
			t.Helper()
			e, err := q.Show(id)
			if err != nil || len(e.Attempts) != 5 {
				t.Fatalf("%s: %+v, %v", what, e.Attempts, err)
			}
			a := e.Attempts
			for i, after := range []time.Duration{0, 30 * time.Minute, 90 * time.Minute, 210 * time.Minute, 4 * time.Hour} {
				if got := a[i].Time.Sub(start); got != after {
					t.Errorf("%s: attempt %d after %v, want %v", what, i+1, got, after)
				}
			}
			if len(a[0].Results) != 2 || a[0].Results[1].Path != path("gone@b.test") || a[0].Results[1].State != Failed ||
				len(a[0].Reports) != 1 || a[0].Reports[0].Kind != ReportFailure {
				t.Errorf("%s: the first: %+v", what, a[0])
			}
			if len(a[3].Results) != 1 || a[3].Results[0].Text() != "451 4.3.0 attempt 4" || a[3].Results[0].Host != "mx.test" || len(a[3].Reports) != 0 {
				t.Errorf("%s: the fourth: %+v", what, a[3])
			}
			// The warning was due between two attempts.
			if len(a[4].Results) != 0 || len(a[4].Reports) != 1 || a[4].Reports[0].Kind != ReportDelay {
				t.Errorf("%s: the warning: %+v", what, a[4])
			}
			for _, report := range []SentReport{a[0].Reports[0], a[4].Reports[0]} {
				if e, err := q.Show(report.ID); err != nil || e.ReportOn != id || !e.RequireTLS || e.Priority != -4 {
					t.Errorf("%s: report %+v, %v", what, e, err)
				}
			}
		}
		check("live", q)
		again, _ := crash(t, q)
		check("after a crash", again)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		stop()
		q = open(t, w, func(o *Options) { o.Dir = q.dir })
		check("after a stop", q)
		if n, err := q.Remove(Filter{IDs: []ID{id}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		q = open(t, w, func(o *Options) { o.Dir = q.dir })
		defer q.Close()
		q.store.view(func(v *view) error {
			if left := v.attempts(id); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			return nil
		})
	})
}

// Of many attempts the first is kept, and the newest.
func TestAttemptsAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	numbers := func() (all []uint32) {
		s.view(func(v *view) error {
			for _, a := range v.attempts(1) {
				if a.index == 4 {
					all = append(all, a.number)
				}
			}
			return nil
		})
		return all
	}
	insertOne(t, s, 1, "x")
	must(t, s, func(b *batch) { b.attempt(1, attemptRow{5, 1, []byte("another delivery")}) })
	for n := range uint32(250) {
		must(t, s, func(b *batch) { b.attempt(1, attemptRow{4, n + 1, []byte(fmt.Sprintf("attempt %d", n+1))}) })
		if n%60 == 59 {
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			s = openTestStore(t, dir)
		}
		got := numbers()
		if want := min(n+1, 100); uint32(len(got)) != want || got[0] != 1 || got[len(got)-1] != n+1 {
			t.Fatalf("after %d: %v", n+1, got)
		}
	}
	if got := numbers(); got[1] != 152 {
		t.Errorf("the oldest of the newest is %d", got[1])
	}
	must(t, s, func(b *batch) { b.remove(1) })
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	s = openTestStore(t, dir)
	if got := numbers(); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	s.close()
}

// What waits behind a dead destination costs no write.
func TestWaitingCostsNoAttempt(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(_ *Message, d *Delivery) Outcome { return refused(d) }
		q := open(t, w, nil)
		defer running(t, q)()
		ids := []ID{enqueue(t, q, "s@a.test", "x\r\n", "r@dead.test")}
		synctest.Wait() // until then nothing tells that it is dead, and what comes is tried beside it
		for range 19 {
			ids = append(ids, enqueue(t, q, "s@a.test", "x\r\n", "r@dead.test"))
		}
		synctest.Wait()
		sum := 0
		for _, id := range ids {
			e, err := q.Show(id)
			if err != nil {
				t.Fatal(err)
			}
			sum += len(e.Attempts)
		}
		if tried := len(w.tried("r")); sum != tried || tried != 1 {
			t.Errorf("%d attempts kept, %d made", sum, tried)
		}
	})
}
