package queue

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// In a run of 10,000 messages of which some fail, expire or wait, each is found
// by each of its keys, and the history keeps to its size.
func TestRunIsTraced(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		const messages, writers = 10_000, 20
		w.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			var n int
			fmt.Sscanf(d.Recipients[0].Path.Local, "r%d", &n)
			switch {
			case n%1000 == 1:
				return all(d, deferred("not now"))
			case n%5 == 2:
				return all(d, Result{State: Failed, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")})
			case n%5 == 3 && d.Attempts == 0:
				return all(d, deferred("greylisted"))
			}
			return all(d, Result{State: Delivered, Reply: smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, fmt.Sprintf("Ok: queued as NH%d", n))})
		}
		q := open(t, w, func(o *Options) { o.History = HistoryOptions{Size: 16 << 20} })
		defer running(t, q)()
		ids := make([]ID, messages)
		put := func(n int) {
			d := q.NewDraft()
			fmt.Fprint(d, "x\r\n")
			to := []Recipient{{Path: path(fmt.Sprintf("r%d@d%d.test", n, n%7))}}
			if err := d.Commit(Envelope{ReversePath: path(fmt.Sprintf("s%d@a.test", n)), MessageID: fmt.Sprintf("%d@id.test", n)}, to); err != nil {
				t.Error(err)
			}
			ids[n] = d.ID()
		}
		var writing sync.WaitGroup
		for i := range writers {
			writing.Go(func() {
				for n := i; n < messages; n += writers {
					put(n)
				}
			})
		}
		writing.Wait()
		time.Sleep(24 * time.Hour) // some wait for five days
		synctest.Wait()
		if left := q.Stats().Messages; left != messages/1000 {
			t.Errorf("%d messages wait, want %d", left, messages/1000)
		}
		missed := 0
		for n, id := range ids {
			keys := []string{id.String(), fmt.Sprintf("<%d@id.test>", n), fmt.Sprintf("s%d@a.test", n), fmt.Sprintf("r%d@d%d.test", n, n%7)}
			if n%5 != 2 && n%1000 != 1 {
				keys = append(keys, fmt.Sprintf("NH%d", n))
			}
			for _, key := range keys {
				if found := traced(t, q, key); !slices.Contains(found, id) {
					missed++
					t.Logf("%s does not find %s", key, id)
				}
			}
		}
		if missed > 0 {
			t.Errorf("%d keys do not find their messages", missed)
		}
		if size, _ := q.store.history.state(); size == 0 || size > 16<<20 {
			t.Errorf("the history has %d octets", size)
		}
	})
}
