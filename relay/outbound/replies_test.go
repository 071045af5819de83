package outbound

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/reply"
	"waypost/relay/route"
)

func one() *zone {
	return &zone{mx: map[string][]string{"b.example": {"mx1"}}, addresses: two().addresses}
}

// TestReplyActions: what the rules make of refusals, at each place where there
// are some.
func TestReplyActions(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	rules := reply.Rules{
		{Name: "deferred", Codes: []string{"550"}, Action: reply.Defer, RetryAfter: time.Minute},
		{Name: "bounced", Codes: []string{"4.4.9"}, Action: reply.Bounce},
		{Name: "paused", Codes: []string{"4.4.8"}, Pause: time.Hour},
		{Name: "other-host", Codes: []string{"4.4.7"}, Hosts: []string{"mx2"}, Action: reply.Bounce},
	}
	for _, row := range []struct {
		at, reply   string
		rule        string
		state       queue.State
		status      string
		wait, pause time.Duration
		unreachable bool
	}{
		{at: "RCPT", reply: "550 5.7.1 not you", rule: "deferred", state: queue.Deferred, status: "4.7.1", wait: time.Minute},
		{at: "MAIL", reply: "550 5.7.1 not you", rule: "deferred", state: queue.Deferred, status: "4.7.1", wait: time.Minute},
		{at: "DOT", reply: "550 5.7.1 not that", rule: "deferred", state: queue.Deferred, status: "4.7.1", wait: time.Minute},
		{at: "RCPT", reply: "450 4.4.9 never", rule: "bounced", state: queue.Failed, status: "5.4.9"},
		{at: "RCPT", reply: "450 4.4.8 later", rule: "paused", state: queue.Deferred, status: "4.4.8", pause: time.Hour},
		{at: "RCPT", reply: "450 4.4.7 later", state: queue.Deferred, status: "4.4.7"},
		{at: "RCPT", reply: "551 5.1.1 nobody", state: queue.Failed, status: "5.1.1"},
		{at: "RCPT", reply: "452 4.2.2 mailbox full", rule: "mailbox-full", state: queue.Deferred, status: "4.2.2"},
		// Instead of a session: an end of it, or a pause as long as it says.
		{at: "CONNECT", reply: "421 4.4.9 never", rule: "bounced", state: queue.Failed, status: "5.4.9"},
		{at: "CONNECT", reply: "421 4.4.8 later", rule: "paused", state: queue.Deferred, status: "4.4.8", pause: time.Hour, unreachable: true},
		{at: "CONNECT", reply: "421 4.3.2 try later", state: queue.Deferred, status: "4.3.2", unreachable: true},
		{at: "CONNECT", reply: "421 4.7.0 Too many connections", rule: "too-many-connections", state: queue.Deferred, status: "4.7.0", wait: 5 * time.Minute, pause: 5 * time.Minute, unreachable: true},
	} {
		t.Run(row.at+" "+row.reply, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, counts := &network{}, metrics.New(nil)
				n.sink(t, "192.0.2.1").On(row.at, relaytest.Action{Reply: row.reply})
				o := start(t, n, one(), func(o *Options) { o.Replies, o.Metrics = rules, counts })
				out := deliver(t, t.Context(), o, m, "r@b.example")
				want(t, out.Results[0], row.state, row.status, "")
				if out.RetryAfter != row.wait || out.Pause != row.pause || out.Unreachable != row.unreachable {
					t.Errorf("wait %v, pause %v, unreachable %v", out.RetryAfter, out.Pause, out.Unreachable)
				}
				if got := testutil.ToFloat64(counts.ReplyRules.WithLabelValues(row.rule)); row.rule != "" && got != 1 {
					t.Errorf("counted %v times", got)
				}
			})
		})
	}
}

// TestReplyLeadsOn: on the last leg the code counts.
func TestReplyLeadsOn(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		first, last := n.sink(t, "192.0.2.1"), n.sink(t, "192.0.2.2")
		first.OnRcpt("r@b.example", "550 5.7.1 blocked")
		z := &zone{addresses: map[string][]string{"a": {"192.0.2.1"}, "z": {"192.0.2.2"}}}
		o := start(t, n, z, func(o *Options) {
			via(route.Route{Via: []route.Leg{hostLeg("a"), hostLeg("z")}})(o)
			o.Replies = reply.Rules{{Name: "blocked", Codes: []string{"5.7.1"}, Action: reply.NextLeg}}
		})
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		last.OnRcpt("r@b.example", "550 5.7.1 blocked here, too")
		want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], queue.Failed, "5.7.1", "here, too")
	})
}

// TestReplyRulesChange: new rules hold for the next attempt.
func TestReplyRulesChange(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		n.sink(t, "192.0.2.1").OnRcpt("r@b.example", "450 4.2.0 greylisted")
		o := start(t, n, one(), nil)
		if got := deliver(t, t.Context(), o, m, "r@b.example").RetryAfter; got != 5*time.Minute {
			t.Errorf("wait %v", got)
		}
		o.SetReplies(reply.Rules{{Name: "as-said", Codes: []string{"450"}}})
		if got := deliver(t, t.Context(), o, m, "r@b.example").RetryAfter; got != 0 {
			t.Errorf("wait %v", got)
		}
	})
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
		s.OnRcpt("full@b.example", "452 4.3.1 disk full")
		o := start(t, n, two(), nil)
		if got := deliver(t, t.Context(), o, m, "grey@b.example", "never@b.example", "r@b.example").RetryAfter; got != 5*time.Minute {
			t.Errorf("wait %v", got)
		}
		if got := deliver(t, t.Context(), o, m, "grey@b.example", "full@b.example").RetryAfter; got != 0 {
			t.Errorf("wait %v", got)
		}
	})
}
