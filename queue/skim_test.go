package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// assorted is a queue with 200 messages: half of them in the index, tried, with all
// kinds of results, and some of them on hold; the others in the journal.
func assorted(t *testing.T) *Queue {
	w := &world{answer: func(_ *Message, d *Delivery) Outcome {
		out := Outcome{}
		for i := range d.Open() {
			r := deferred(fmt.Sprintf("not now, %d", i))
			r.Reply.Lines = append(r.Reply.Lines, make([]string, i%3)...)
			if r.TLS = "TLSv1.3"; i%4 == 3 {
				r = Result{State: Delivered, Reported: true}
			}
			out.Results = append(out.Results, r)
		}
		return out
	}}
	q := open(t, w, func(o *Options) { o.Classes = []Class{{Name: "bulk"}} })
	random := rand.New(rand.NewPCG(1, 2))
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			var all []Recipient
			for j := range 1 + random.IntN(7) {
				all = append(all, Recipient{Path: path(fmt.Sprintf("r%d@d%d.test", j, random.IntN(3)))})
			}
			d := q.NewDraft()
			fmt.Fprintf(d, "%d\r\n", i)
			if err := d.Commit(Envelope{ReversePath: path(fmt.Sprintf("s@a%d.test", i%3)), Class: [...]string{"", "bulk"}[i%2]}, all); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0, 100)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Run(ctx, time.Minute)
	}()
	for q.Stats().Queued > 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-ended
	if err := q.checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Hold(Filter{ToDomain: "d1.test"}); err != nil {
		t.Fatal(err)
	}
	fill(100, 200)
	return q
}

// What Skim tells of a message is what Scan does, but for the envelope where that is
// not wanted: what it reads into the same memory does not mix.
func TestSkimIsScan(t *testing.T) {
	q := assorted(t)
	for _, f := range []Filter{{}, {From: "a1.test"}, {Class: "bulk"}, {State: "held"}, {State: "deferred", ToDomain: "d2.test"}, {Reply: "NOW, 2"}, {SmallerThan: 4}, {OlderThan: time.Hour}} {
		for _, whole := range []bool{false, true} {
			var want, got []string
			note := func(to *[]string) func(*Entry) bool {
				return func(e *Entry) bool {
					s := fmt.Sprint(e.ID, e.Size, e.Class, e.Damaged)
					if whole {
						s += fmt.Sprintf("%+v", e.Envelope)
					}
					for _, d := range e.Deliveries {
						s += fmt.Sprintf("%+v", *d)
					}
					*to = append(*to, s)
					return true
				}
			}
			if _, err := q.Scan(t.Context(), f, 0, 1000, note(&want)); err != nil {
				t.Fatal(err)
			}
			if _, err := q.Skim(t.Context(), f, 0, 1000, whole, note(&got)); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) || (len(got) == 0) != (f.OlderThan > 0) {
				t.Errorf("%+v, whole %v: skimmed %d, scanned %d:\n%.2000s\n%.2000s", f, whole, len(got), len(want), got, want)
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
