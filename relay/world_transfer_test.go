package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/relaytest"
)

// one starts a world with b.example, whose mail hosts are 5 and then 6.
func one(t *testing.T, block string, options ...relaytest.SinkOption) (w *world, first, second *relaytest.Sink) {
	t.Helper()
	w = newWorld(t, block, 0, nil)
	w.zone("b.example MX 10 mx1.b.example", "b.example MX 20 mx2.b.example", "mx1.b.example A $5", "mx2.b.example A $6")
	return w, w.sink(t, 5, options...), w.sink(t, 6)
}

// TestWorldRecipients: the recipients of a domain go in one transaction, and
// each has its own end.
//
// 5321-4.4-c 5321-4.5.4.1-d
func TestWorldRecipients(t *testing.T) {
	t.Parallel()
	w, s, next := one(t, "127.7.10")
	s.OnRcpt("never@b.example", "550 5.1.1 no such user")
	s.OnRcpt("later@b.example", "450 4.2.1 busy")
	s.OnRcpt("full@b.example", "552 5.2.2 mailbox full")
	id := w.send("s@home.example", hello, "never@b.example", "yes@b.example", "later@b.example", "full@b.example", "too@B.example")
	w.settled(id, "never@b.example", "bounced")
	w.settled(id, "full@b.example", "bounced")
	w.settled(id, "yes@b.example", "sent")
	w.settled(id, "too@B.example", "sent")
	w.deferred(id, "later@b.example", "4.2.1", "450 4.2.1 busy")
	if m := s.Messages(); len(m) != 1 || !slices.Equal(m[0].To, []string{"yes@b.example", "too@B.example"}) || count(s, "MAIL") != 1 {
		t.Errorf("%d transactions: %+v", count(s, "MAIL"), m)
	}
	r := readReport(t, arrived(t, w.home, "s@home.example"))
	r.check(t, "failed", "never@b.example", "5.1.1", "550 5.1.1 no such user")
	r.check(t, "failed", "full@b.example", "5.2.2", "552 5.2.2 mailbox full")
	for _, other := range []string{"yes@b.example", "later@b.example", "too@B.example"} {
		if text := strings.Join(append(r.status, r.human), "\n"); strings.Contains(text, other) {
			t.Errorf("the report tells of %s", other)
		}
	}
	if w.home.Count() != 1 || next.Connections() != 0 {
		t.Errorf("%d reports, %d connections to the next host", w.home.Count(), next.Connections())
	}
}

// TestWorldManyRecipients: no transaction has more recipients than every
// server has to take (RFC 5321 §4.5.3.1.8), and each recipient is in one.
//
// 5321-4.5.3.1.8-b
func TestWorldManyRecipients(t *testing.T) {
	t.Parallel()
	w, s, _ := one(t, "127.7.11")
	var all []string
	for i := range 250 {
		all = append(all, fmt.Sprintf("r%03d@b.example", i))
	}
	id := w.send("s@home.example", hello, all...)
	for _, rcpt := range all {
		w.settled(id, rcpt, "sent")
	}
	w.gone(id)
	var got []string
	for _, m := range s.Messages() {
		if len(m.To) > 100 {
			t.Errorf("%d recipients in one transaction", len(m.To))
		}
		got = append(got, m.To...)
	}
	slices.Sort(got)
	if !slices.Equal(got, all) || s.Count() != 3 {
		t.Errorf("%d recipients in %d transactions", len(got), s.Count())
	}
}

// TestWorldReuse: messages for one destination follow each other on one
// connection, and a connection that died in between does no harm.
func TestWorldReuse(t *testing.T) {
	t.Parallel()
	w, s, next := one(t, "127.7.12")
	send := func() {
		t.Helper()
		id := w.send("s@home.example", hello, "r@b.example")
		w.settled(id, "r@b.example", "sent")
	}
	for range 5 {
		send()
	}
	if s.Connections() != 1 || s.Count() != 5 {
		t.Fatalf("%d messages over %d connections", s.Count(), s.Connections())
	}
	s.DropAll()
	s.WaitIdle()
	send()
	// A host that is tired of waiting says so when it is spoken to.
	s.OnNth("MAIL", 1, relaytest.Action{Reply: "421 4.4.2 idle too long", Drop: true})
	send()
	if s.Connections() != 3 || s.Count() != 7 || next.Connections() != 0 || w.log.has("status=deferred") {
		t.Errorf("%d messages over %d connections, %d to the next host", s.Count(), s.Connections(), next.Connections())
	}
}

// TestWorldReports: what the sender asked for is passed on where the next hop
// can do it; where not, we do what we can (RFC 3461 §5.2.2).
//
// 3461-5.2.1-a 3461-5.2.2-a
func TestWorldReports(t *testing.T) {
	t.Parallel()
	w, s, _ := one(t, "127.7.13")
	const mail = "s@home.example> RET=HDRS ENVID=QQ314+2B1"
	const rcpt = "r@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2Bone@c.example"
	id := w.submit(hello, mail, rcpt)
	w.settled(id, "r@b.example", "sent")
	m := arrived(t, s, "r@b.example")
	if !strings.HasSuffix(m.MailLine, " RET=HDRS ENVID=QQ314+2B1") || m.RcptLines[0] != "RCPT TO:<"+rcpt {
		t.Errorf("passed on as %s, %s", m.MailLine, m.RcptLines)
	}
	if n := w.reports(metrics.ReportSuccess); n != 0 {
		t.Errorf("%d reports of success where the next hop has that duty", n)
	}

	w.zone("c.example MX 10 mx.c.example", "mx.c.example A $7")
	plain := w.sink(t, 7, relaytest.WithExtensions("PIPELINING", "8BITMIME"))
	id = w.submit(hello, mail, "r@c.example> NOTIFY=SUCCESS ORCPT=rfc822;first@c.example", "quiet@c.example> NOTIFY=NEVER")
	w.settled(id, "r@c.example", "sent")
	w.gone(id)
	m = arrived(t, plain, "r@c.example")
	if m.MailLine != "MAIL FROM:<s@home.example>" || m.RcptLines[0] != "RCPT TO:<r@c.example>" || len(m.To) != 2 {
		t.Errorf("passed on as %s, %s", m.MailLine, m.RcptLines)
	}
	r := readReport(t, arrived(t, w.home, "s@home.example"))
	r.check(t, "relayed", "r@c.example", "2.0.0", "mx.c.example, which sends no reports of its own")
	for _, field := range []string{"Original-Envelope-Id: QQ314+1", "Original-Recipient: rfc822; first@c.example"} {
		if !slices.Contains(r.status, field) {
			t.Errorf("no %q in the report: %q", field, r.status)
		}
	}
	if strings.Contains(r.returned, "Hello.") || strings.Contains(strings.Join(r.status, "\n"), "quiet@") {
		t.Errorf("the report tells too much: %q, %q", r.status, r.returned)
	}

	plain.On("RCPT", relaytest.Action{Reply: "550 5.1.1 no such user"})
	id = w.submit(hello, "s@home.example>", "quiet@c.example> NOTIFY=NEVER", "eager@c.example> NOTIFY=SUCCESS")
	w.settled(id, "quiet@c.example", "bounced")
	w.gone(id)
	if n := w.reports(metrics.ReportFailure); n != 0 {
		t.Errorf("%d reports of failure that nobody asked for", n)
	}
}

// TestWorldExtensions: what a message needs is not sent to a host that lacks
// it. Another one may have it; else the sender hears why.
func TestWorldExtensions(t *testing.T) {
	t.Parallel()
	large := hello + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 100)
	for i, row := range []struct {
		name    string
		offer   []string
		mail    string
		rcpt    string
		content string
		status  string
		text    string
	}{
		{"6531-c SMTPUTF8", []string{"8BITMIME"}, "s@home.example> SMTPUTF8", "r@b.example", strings.Replace(hello, "Subject: hello", "Subject: hello, Gr\u00fc\u00dfe", 1), "5.6.7", "SMTPUTF8"},
		{"UTF-8 mailbox", []string{"8BITMIME"}, "s@home.example> SMTPUTF8", "gr\u00fc\u00dfe@b.example", hello, "5.6.7", "SMTPUTF8"},
		{"1870-c size", []string{"SIZE 2000"}, "s@home.example>", "r@b.example", large, "5.3.4", "larger than the 2000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, first, second := one(t, fmt.Sprintf("127.7.%d", 20+i), relaytest.WithExtensions(row.offer...))
			id := w.submit(row.content, row.mail, row.rcpt+">")
			w.settled(id, row.rcpt, "sent")
			if got := below(t, arrived(t, second, row.rcpt).Content); got != row.content {
				t.Errorf("content changed to %q", got)
			}
			// The pool has a connection to the second host now.
			second.DropAll()
			second.WaitIdle()
			second.Offer(row.offer...)
			id = w.submit(row.content, row.mail, row.rcpt+">")
			w.settled(id, row.rcpt, "bounced")
			w.gone(id)
			readReport(t, arrived(t, w.home, "s@home.example")).check(t, "failed", row.rcpt, row.status, row.text)
			if n := count(first, "MAIL"); n != 0 || count(second, "MAIL") != 1 || w.log.has("status=deferred") {
				t.Errorf("MAIL was sent %d times to the first host, %d times to the second", n, count(second, "MAIL"))
			}
		})
	}
}

// TestWorldGreylisted: who puts off strangers is tried again after minutes, and
// others as usual.
func TestWorldGreylisted(t *testing.T) {
	t.Parallel()
	w, s, _ := one(t, "127.7.35")
	s.OnRcpt("grey@b.example", "451 4.7.1 Greylisted, please try again in 240 seconds")
	id := w.send("s@home.example", hello, "grey@b.example")
	w.settled(id, "grey@b.example", "deferred")
	e, err := w.queue.Show(id)
	if err != nil {
		t.Fatal(err)
	}
	if wait := time.Until(e.Deliveries[0].Next); wait < 3*time.Minute || wait > 5*time.Minute {
		t.Errorf("the next attempt is in %v", wait)
	}
	s.Behave()
	s.OnRcpt("busy@b.example", "451 4.3.0 come back later")
	w.deferred(w.send("s@home.example", hello, "busy@b.example"), "busy@b.example", "4.3.0", "later")
}

// TestWorldConverted: what a host cannot take as it is arrives in a form that
// it takes.
//
// 6152-b 6531-c 6531-e
func TestWorldConverted(t *testing.T) {
	t.Parallel()
	eight := strings.Replace(hello, "Hello.", "Gr\u00fc\u00dfe.", 1)
	for i, mail := range []string{"s@home.example> BODY=8BITMIME", "s@home.example>", "s@home.example> SMTPUTF8"} {
		w, first, second := one(t, fmt.Sprintf("127.7.%d", 30+i), relaytest.WithExtensions("PIPELINING"))
		w.zone("xn--bcher-kva.example MX 10 mx1.b.example")
		rcpt := "r@b.example"
		if strings.Contains(mail, "SMTPUTF8") {
			rcpt = "r@b\u00fccher.example"
		}
		id := w.submit(eight, mail, rcpt+">")
		w.settled(id, rcpt, "sent")
		m := first.Wait(1)[0]
		if got := string(m.Content); !strings.Contains(got, "Gr=C3=BC=C3=9Fe.") || !strings.Contains(got, "Content-Transfer-Encoding: quoted-printable") {
			t.Errorf("converted to %q", got)
		}
		if want := strings.Replace(rcpt, "b\u00fccher", "xn--bcher-kva", 1); m.To[0] != want || second.Connections() != 0 {
			t.Errorf("sent to %s, %d connections to the second host", m.To, second.Connections())
		}
	}
}

// TestWorldLosses: what becomes of a message when a host refuses or goes away
// in the middle of a transaction.
func TestWorldLosses(t *testing.T) {
	t.Parallel()
	for i, row := range []struct {
		name      string
		rule      relaytest.Rule
		status    string // how the attempt ends, as in the log
		code      string
		text      string
		ambiguous float64
	}{
		{name: "5321-4.2.5-b 5yz to MAIL", rule: relaytest.Rule{Verb: "MAIL", Action: relaytest.Action{Reply: "550 5.7.1 not from you"}},
			status: "bounced", code: "5.7.1", text: "550 5.7.1 not from you"},
		{name: "5321-4.2.5-b 5yz to DATA", rule: relaytest.Rule{Verb: "DATA", Action: relaytest.Action{Reply: "554 5.3.0 no"}},
			status: "bounced", code: "5.3.0", text: "554 5.3.0 no"},
		{name: "5321-4.2.5-b 5yz to the dot", rule: relaytest.Rule{Verb: "DOT", Action: relaytest.Action{Reply: "554 5.7.1 spam"}},
			status: "bounced", code: "5.7.1", text: "554 5.7.1 spam"},
		{name: "4yz to MAIL", rule: relaytest.Rule{Verb: "MAIL", Action: relaytest.Action{Reply: "451 4.7.1 later"}},
			status: "deferred", code: "4.7.1", text: "451 4.7.1 later"},
		{name: "4yz to the dot", rule: relaytest.Rule{Verb: "DOT", Action: relaytest.Action{Reply: "452 4.3.1 disk full"}},
			status: "deferred", code: "4.3.1", text: "452 4.3.1 disk full"},
		{name: "1047-a 5321-3.8-c lost after the dot", rule: relaytest.Rule{Verb: "DOT", Action: relaytest.Action{Silent: true, Store: true, Drop: true}},
			status: "deferred", code: "4.4.2", text: "dot", ambiguous: 1},
		{name: "no reply to the dot", rule: relaytest.Rule{Verb: "DOT", Action: relaytest.Action{Raw: "\x00garbage\r\n", Store: true, Drop: true}},
			status: "deferred", code: "4.5.0", text: "dot", ambiguous: 1},
		{name: "5321-3.8-c lost at MAIL", rule: relaytest.Rule{Verb: "MAIL", Action: relaytest.Action{Silent: true, Drop: true}}, status: "sent"},
		{name: "lost at RCPT", rule: relaytest.Rule{Verb: "RCPT", Action: relaytest.Action{Silent: true, Reset: true}}, status: "sent"},
		{name: "lost at DATA", rule: relaytest.Rule{Verb: "DATA", Action: relaytest.Action{Silent: true, Drop: true}}, status: "sent"},
		{name: "421 at MAIL", rule: relaytest.Rule{Verb: "MAIL", Action: relaytest.Action{Reply: "421 4.3.2 closing", Drop: true}}, status: "sent"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, first, second := one(t, fmt.Sprintf("127.7.%d", 30+i))
			first.Add(row.rule)
			id := w.send("s@home.example", hello, "r@b.example")
			switch row.status {
			case "sent":
				w.settled(id, "r@b.example", "sent")
				if got := below(t, arrived(t, second, "r@b.example").Content); got != hello {
					t.Errorf("content changed to %q", got)
				}
			case "deferred":
				w.deferred(id, "r@b.example", row.code, row.text)
			default:
				w.settled(id, "r@b.example", "bounced")
				readReport(t, arrived(t, w.home, "s@home.example")).check(t, "failed", "r@b.example", row.code, row.text)
			}
			if row.status != "sent" && second.Connections() != 0 {
				t.Errorf("%d connections to the next host", second.Connections())
			}
			if n := testutil.ToFloat64(w.metrics.AmbiguousEnds); n != row.ambiguous {
				t.Errorf("%v ambiguous ends", n)
			}
			if left := w.queue.Stats().Deferred; (left == 1) != (row.status == "deferred") {
				t.Errorf("%d recipients deferred", left)
			}
		})
	}
}

// TestWorldUnreachableCostsOneAttempt: what waits behind a host that is down
// is not tried one by one.
//
// 5321-4.5.4.1-b
func TestWorldUnreachableCostsOneAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.14", 0, nil)
	w.zone("b.example MX 10 mx.b.example", "mx.b.example A $5")
	s := w.sink(t, 5)
	s.On("CONNECT", relaytest.Action{Reply: "421 4.3.2 not now", Drop: true})
	first := w.send("s@home.example", hello, "r@b.example")
	w.deferred(first, "r@b.example", "4.3.2", "421")
	var ids []queue.ID
	for range 5 {
		ids = append(ids, w.send("s@home.example", hello, "r@b.example"))
	}
	// A message for another destination overtakes them all.
	w.zone("c.example MX 10 mx.c.example", "mx.c.example A $6")
	w.sink(t, 6)
	w.settled(w.send("s@home.example", hello, "r@c.example"), "r@c.example", "sent")
	for _, id := range ids {
		e, err := w.queue.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		if r := e.Deliveries[0].Recipients[0]; r.State != queue.Queued {
			t.Errorf("%v, want queued", r.State)
		}
	}
	if s.Connections() != 1 {
		t.Errorf("%d connections", s.Connections())
	}
}
