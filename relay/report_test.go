package relay

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/dkim"
	"waypost/relay/drop"
	"waypost/relay/smtp"
)

// outside is what a queue needs that only keeps a message.
type outside struct {
	queue.Deliverer
	reporter
}

func (outside) Destination(*queue.Envelope, *queue.Recipient) string { return "b.example" }

func noKeys() *dkim.Set { return nil }

// kept returns a queued message as a reporter is given it.
func kept(t *testing.T, env queue.Envelope, content string) *queue.Message {
	t.Helper()
	given := make(chan *queue.Message, 1)
	o := &outside{reporter: reporter{hostname: "relay.example", keys: noKeys}}
	o.Deliverer = deliverFunc(func(m *queue.Message, d *queue.Delivery) queue.Outcome {
		given <- m // once: it is deferred for longer than the test takes
		return queue.Outcome{Results: []queue.Result{{State: queue.Deferred}}}
	})
	q, err := queue.Open(queue.Options{Dir: t.TempDir(), Deliverer: o, Router: o, Reporter: o})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Run(ctx, time.Second)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	d := q.NewDraft()
	if _, err := io.WriteString(d, content); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(env, []queue.Recipient{{Path: smtp.Path{Local: "r", Domain: "b.example"}}}); err != nil {
		t.Fatal(err)
	}
	return <-given
}

// deliverFunc is a Deliverer.
type deliverFunc func(m *queue.Message, d *queue.Delivery) queue.Outcome

func (f deliverFunc) Deliver(_ context.Context, m *queue.Message, d *queue.Delivery) queue.Outcome {
	return f(m, d)
}

// TestReports: what the queue knows of a message ends up in the fields of the
// report, for each kind of it.
func TestReports(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := queue.Recipient{
		Path: smtp.Path{Local: "r", Domain: "b.example"}, OriginalRecipient: "rfc822;x+40y", LastAttempt: at,
		Last: queue.Result{Reply: smtp.NewReply(451, smtp.EnhancedCode{4, 7, 1}, "try later"), Status: smtp.EnhancedCode{4, 7, 1}, Host: "mx.b.example[192.0.2.1]:25"},
	}
	silent := queue.Recipient{Path: r.Path, LastAttempt: at, Last: queue.Result{Reason: "connect to mx: refused", Status: smtp.EnhancedCode{4, 4, 1}, Host: "mx[192.0.2.1]:25"}}
	handed := r
	handed.Last.Relayed = true
	none, over := queue.DeliverBy{}, queue.DeliverBy{Deadline: at}
	const date = "Deliver-By-Date: Fri, 2 Jan 2026 03:04:05 +0000"
	for _, tc := range []struct {
		name      string
		kind      queue.ReportKind
		recipient queue.Recipient
		state     queue.State
		by        queue.DeliverBy
		ret       string
		has, not  []string
	}{
		{"3464-2.3-a 3464-2.2-a delay", queue.ReportDelay, r, queue.Deferred, none, "FULL",
			[]string{"Action: delayed", "Status: 4.7.1", "Will-Retry-Until: Wed, 7 Jan 2026", "Remote-MTA: dns; mx.b.example\r", "Diagnostic-Code: smtp; 451 4.7.1 try later", "Original-Recipient: rfc822; x@y", "Subject: mine"},
			[]string{"the body"}},
		{"3461-6.2-a failure, whole message", queue.ReportFailure, r, queue.Failed, none, "FULL", []string{"Action: failed", "Original-Envelope-Id: e1", "Received-From-MTA: dns; client ([192.0.2.9])", "the body"}, []string{"Will-Retry-Until"}},
		{"3461-6.2-a failure, header only", queue.ReportFailure, r, queue.Failed, none, "HDRS", []string{"Action: failed", "Subject: mine"}, []string{"the body"}},
		{"8689-c D-09 failure, REQUIRETLS", queue.ReportFailure, r, queue.Failed, none, "FULL", []string{"Action: failed", "Subject: mine"}, []string{"the body", "\r\nTLS-Required: No\r\nMIME-Version"}},
		{"8689-d TLS-Required: No", queue.ReportFailure, r, queue.Failed, none, "HDRS", []string{"\r\nTLS-Required: No\r\nMIME-Version"}, nil},
		{"failure, BINARYMIME", queue.ReportFailure, r, queue.Failed, none, "FULL", []string{"Action: failed", "Subject: mine"}, []string{"the body"}},
		{"3461-5.2.6-a expired", queue.ReportFailure, r, queue.Expired, none, "HDRS", []string{"Action: failed", "Status: 4.4.7", "Diagnostic-Code: smtp; 451"}, nil},
		{"expired, nobody answered", queue.ReportFailure, silent, queue.Expired, none, "HDRS", []string{"Status: 4.4.7", "connect to mx: refused"}, []string{"Remote-MTA", "Diagnostic-Code"}},
		{"relayed", queue.ReportSuccess, r, queue.Delivered, none, "HDRS", []string{"Action: relayed"}, []string{"the body", "Will-Retry-Until", "Deliver-By-Date"}},
		{"time over, still tried", queue.ReportDelay, r, queue.Deferred, over, "HDRS", []string{"Action: delayed", "Status: 4.4.7", "time that was set", date, "451 4.7.1"}, nil},
		{"time over, returned", queue.ReportFailure, r, queue.Expired, queue.DeliverBy{Deadline: at, Return: true}, "HDRS", []string{"Action: failed", "Status: 5.4.7", date, "451 4.7.1"}, nil},
		{"expired before its time", queue.ReportFailure, r, queue.Expired, queue.DeliverBy{Deadline: time.Now().Add(time.Hour), Return: true}, "HDRS", []string{"Status: 4.4.7"}, nil},
		{"time is lost", queue.ReportSuccess, handed, queue.Delivered, over, "HDRS", []string{"Action: relayed", "Status: 2.0.0", date, "Handed on to the host mx.b.example: it may"}, []string{"sends no reports"}},
		{"traced", queue.ReportSuccess, handed, queue.Delivered, queue.DeliverBy{Deadline: at, Trace: true}, "HDRS", []string{"Action: relayed", "hear of each step"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := ""
			if strings.HasSuffix(tc.name, "TLS-Required: No") || strings.HasSuffix(tc.name, "REQUIRETLS") {
				header = "TLS-Required: No\r\n"
			}
			m := kept(t, queue.Envelope{ReversePath: smtp.Path{Local: "s", Domain: "a.example"}, EnvelopeID: "e1", Return: tc.ret, Client: "client ([192.0.2.9])"},
				header+"Subject: mine\r\n\r\nthe body\r\n")
			m.DeliverBy = tc.by
			m.Binary = tc.name == "failure, BINARYMIME"
			m.RequireTLS = strings.HasSuffix(tc.name, "failure, REQUIRETLS")
			tc.recipient.State = tc.state
			if tc.kind == queue.ReportSuccess {
				tc.recipient.Last.Reply, tc.recipient.Last.Status = smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, "ok"), smtp.EnhancedCode{2, 0, 0}
			}
			var b bytes.Buffer
			_, _, err := (&reporter{hostname: "relay.example", keys: noKeys}).Compose(&b, queue.Report{
				Kind: tc.kind, Message: m, Recipients: []queue.Recipient{tc.recipient}, RetryUntil: at.AddDate(0, 0, 5),
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range append(tc.has, "Reporting-MTA: dns; relay.example", "To: <s@a.example>", "Final-Log-ID: "+m.ID.String()) {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %q in\n%s", want, b.String())
				}
			}
			for _, not := range tc.not {
				if strings.Contains(b.String(), not) {
					t.Errorf("%q is in\n%s", not, b.String())
				}
			}
		})
	}
}

// A fault of ours in a report ends that report: the queue hears of an error, and
// tries again later.
func TestFaultInAReport(t *testing.T) {
	m := kept(t, queue.Envelope{ReversePath: smtp.Path{Local: "s", Domain: "a.example"}}, "Subject: x\r\n\r\nx\r\n")
	var told []any
	p := reporter{hostname: "relay.example", keys: func() *dkim.Set { panic("fault") }, panicked: func(id queue.ID, fault any) { told = append(told, id, fault) }}
	_, _, err := p.Compose(io.Discard, queue.Report{Message: m, Recipients: []queue.Recipient{{Path: smtp.Path{Local: "r", Domain: "b.example"}}}})
	if err == nil || len(told) != 2 || told[0] != m.ID || told[1] != "fault" {
		t.Errorf("%v, told of %v", err, told)
	}
}

// With mail of this host it keeps that mail waiting.
func TestFaultInLocalMail(t *testing.T) {
	r := &Relay{log: slog.New(slog.DiscardHandler), metrics: metrics.New(nil)} // without a backend
	if err := (localMail{r}).Take(t.Context(), 0, drop.Envelope{}, strings.NewReader("")); err == nil || (localMail{}).Permanent(err) {
		t.Errorf("taken with %v", err)
	}
	if got := testutil.ToFloat64(r.metrics.SessionPanics); got != 1 {
		t.Errorf("%v faults were counted", got)
	}
}
