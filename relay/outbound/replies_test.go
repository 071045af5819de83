package outbound

import (
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/relaytest"
)

// TestRetryAfter: what hosts say about the next attempt, as they say it.
func TestRetryAfter(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for _, row := range []struct {
		reply string
		tries int
		wait  time.Duration
	}{
		{"451 4.7.1 Greylisting in action, please come back later", 0, 5 * time.Minute},
		{"450 4.2.0 <r@b.example>: Recipient address rejected: Greylisted, see http://postgrey.example/", 0, 5 * time.Minute},
		{"451 4.7.1 Graylisted, please try again in 180 seconds", 0, 3 * time.Minute},
		{"451 Greylisted, retry in 1 second", 0, time.Minute},
		{"451 Greylisted, retry after 90000 minutes", 0, 4 * time.Hour},
		{"451 4.7.1 Greylisted", 6, 0},
		{"421 4.7.0 Too many connections from your host", 0, 15 * time.Minute},
		{"450 4.7.1 Error: too much mail from 192.0.2.1; too many messages", 0, 15 * time.Minute},
		{"451 4.7.500 Server busy. Please try again later from [192.0.2.1]. Rate limited", 3, 15 * time.Minute},
		{"454 Throttling failure: Maximum sending rate exceeded", 1, 15 * time.Minute},
		{"454 Throttling failure: Daily message quota exceeded", 1, time.Hour},
		{"452 4.2.2 mailbox full", 0, 0},
		{"451 4.3.0 try again in 5 minutes", 0, 0}, // no rule says why
		{"550 5.7.1 Greylisted for ever", 0, 0},
	} {
		t.Run(row.reply, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				n.sink(t, "192.0.2.1").On("RCPT", relaytest.Action{Reply: row.reply})
				o := start(t, n, &zone{mx: map[string][]string{"b.example": {"mx1"}}, addresses: two().addresses}, nil)
				d := &queue.Delivery{ID: m.ID, Attempts: row.tries, Recipients: []queue.Recipient{{Path: path("r@b.example")}, {Path: path("q@b.example")}}}
				d.Destination = o.Destination(&m.Envelope, &d.Recipients[0])
				if got := o.Deliver(t.Context(), m, d).RetryAfter; got != row.wait {
					t.Errorf("wait %v, want %v", got, row.wait)
				}
			})
		})
	}
}

// TestRetryAfterOfAll: one recipient that has to wait as usual has all wait so,
// and one that is done has no say.
func TestRetryAfterOfAll(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		s.OnRcpt("grey@b.example", "451 4.7.1 greylisted")
		s.OnRcpt("never@b.example", "550 5.1.1 no such user")
		s.OnRcpt("full@b.example", "452 4.2.2 mailbox full")
		o := start(t, n, two(), nil)
		if got := deliver(t, t.Context(), o, m, "grey@b.example", "never@b.example", "r@b.example").RetryAfter; got != 5*time.Minute {
			t.Errorf("wait %v", got)
		}
		if got := deliver(t, t.Context(), o, m, "grey@b.example", "full@b.example").RetryAfter; got != 0 {
			t.Errorf("wait %v", got)
		}
	})
}
