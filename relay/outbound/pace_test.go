package outbound

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/relay/tlspolicy"
)

// silent reports nothing.
type silent struct{}

func (silent) Compose(io.Writer, queue.Report) (bool, bool, error) {
	return false, false, fmt.Errorf("no report is due here")
}

// fill opens a queue in front of o with messages to some domains, each so many.
// The function runs it until it is called again.
func fill(t testing.TB, o *Outbound, domains, each int) (run func() (stop func())) {
	t.Helper()
	q, err := queue.Open(queue.Options{Dir: t.TempDir(), Deliverer: o, Router: o, Reporter: silent{}, Metrics: o.Metrics, PerDestination: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range domains {
		for range each {
			draft := q.NewDraft()
			if _, err := io.WriteString(draft, short); err != nil {
				t.Fatal(err)
			}
			to := []queue.Recipient{{Path: smtp.Path{Local: "r", Domain: fmt.Sprintf("d%d.example", i)}}}
			if err := draft.Commit(queue.Envelope{ReversePath: path("s@a.example")}, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	return func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx, time.Second) })
		return func() {
			cancel()
			running.Wait()
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// crowd is a zone of many domains with the same mail host.
func crowd(domains int) *zone {
	z := &zone{mx: map[string][]string{}, addresses: map[string][]string{"mx.provider.example": {"192.0.2.1"}}}
	for i := range domains {
		z.mx[fmt.Sprintf("d%d.example", i)] = []string{"mx.provider.example"}
	}
	return z
}

// capped puts a sink at an address that takes so many connections, and refuses
// more. It returns how many of those there were.
func (n *network) capped(t testing.TB, address string, most int, took time.Duration) (s *relaytest.Sink, refused func() int) {
	s = n.sink(t, address)
	s.On("DOT", relaytest.Action{Reply: "250 2.0.0 taken", Delay: took})
	over := relaytest.NewSink(t, "")
	over.On("CONNECT", relaytest.Action{Reply: "421 4.7.0 Too many connections from your host", Drop: true})
	n.put(address, func(context.Context) (net.Conn, error) {
		if s.Open() >= most {
			return over.Pipe(), nil
		}
		return s.Pipe(), nil
	})
	return s, over.Connections
}

// TestSiteKeptFull: many domains at one provider share as many connections as it
// lets us have, and none of these is ever unused while there is mail for it.
func TestSiteKeptFull(t *testing.T) {
	const domains, each, most = 20, 15, 3
	for name, rule := range map[string]*pace.Rule{
		"by rule": {Name: "provider", Hosts: []string{".provider.example"}, Bounds: pace.Bounds{MaxConnections: most, MinConnections: most}},
		// Without one the window is found out, by refusals that are no attempts.
		"learnt": {Name: "other", Hosts: []string{".other.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, m := &network{}, metrics.New(nil)
				s, refused := n.capped(t, "192.0.2.1", most, time.Second)
				o := start(t, n, crowd(domains), func(o *Options) {
					o.Metrics, o.Pacer = m, pace.New(pace.Options{Rules: []*pace.Rule{rule}, Metrics: m})
				})
				run := fill(t, o, domains, each)
				begin := time.Now()
				stop := run()
				least := time.Duration(domains*each/most) * time.Second
				for time.Since(begin) < 2*least && s.Count() < domains*each {
					time.Sleep(10 * time.Millisecond)
				}
				took := time.Since(begin)
				time.Sleep(2 * time.Second) // the last ones are answered
				stop()
				if s.Count() != domains*each || took > least+3*time.Second {
					t.Errorf("%d messages in %v, want %d in %v", s.Count(), took, domains*each, least)
				}
				if name == "by rule" && refused() > 0 || refused() > 2 {
					t.Errorf("%d connections too many", refused())
				}
				if s.Connections() > 3*most {
					t.Errorf("%d connections for what %d carry", s.Connections(), most)
				}
				if got := testutil.ToFloat64(m.Attempts.WithLabelValues(metrics.AttemptSent)); got != domains*each {
					t.Errorf("%v attempts were counted as sent", got)
				}
				if got := testutil.ToFloat64(m.RecipientsDeferred); got != 0 {
					t.Errorf("%v deferrals", got)
				}
			})
		})
	}
}

// TestRateIsKept: what waits for a rate is not attempted, and goes when it may.
func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := &network{}, metrics.New(nil)
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, crowd(5), func(o *Options) {
			o.Metrics, o.Pacer = m, pace.New(pace.Options{Default: pace.Bounds{Messages: []pace.Rate{{Max: 10, Per: time.Minute}}}, Metrics: m})
		})
		run := fill(t, o, 5, 8)
		stop := run()
		defer stop()
		for minute, want := range []int{10, 20, 30, 40} {
			if time.Sleep(5 * time.Second); s.Count() != want {
				t.Errorf("%d messages after %d minutes, want %d", s.Count(), minute, want)
			}
			time.Sleep(time.Minute)
		}
		if got := testutil.ToFloat64(m.RecipientsDeferred); got != 0 {
			t.Errorf("%v deferrals", got)
		}
	})
}

// TestBoundsOfASite: connections and transactions are cut to what it takes.
//
// 5321-4.5.4.1-e
func TestBoundsOfASite(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		o := start(t, n, one(), func(o *Options) {
			o.Pacer = pace.New(pace.Options{Default: pace.Bounds{MessagesPerConnection: 4, RecipientsPerMessage: 2}})
		})
		pass, ok := o.Admit("b.example", 0, func(string) bool { return true })
		if !ok {
			t.Fatal("not admitted")
		}
		defer pass.End()
		d := &queue.Delivery{ID: m.ID, Destination: "b.example"}
		for i := range 11 {
			d.Recipients = append(d.Recipients, queue.Recipient{Path: path(fmt.Sprintf("r%d@b.example", i))})
		}
		ctx := queue.WithPass(t.Context(), pass)
		delivered(t, o.Deliver(ctx, m, d))
		var sizes []string
		for _, got := range s.Messages() {
			sizes = append(sizes, fmt.Sprint(len(got.RcptLines)))
		}
		if got := strings.Join(sizes, " "); got != "2 2 2 2 2 1" || s.Connections() != 2 {
			t.Errorf("transactions of %s recipients over %d connections", got, s.Connections())
		}
	})
}

// TestNotShared: mail that asks for more than any host's TLS does not travel on the
// connection of other mail, nor does that of other hosts.
func TestNotShared(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1")
		z := crowd(4)
		secured := &strictFor{domain: "d2.example"}
		o := start(t, n, z, func(o *Options) { o.Security = secured })
		send := func(domain string) {
			t.Helper()
			pass, ok := o.Admit(domain, 0, func(string) bool { return true })
			if !ok {
				t.Fatal("not admitted")
			}
			defer pass.End()
			d := &queue.Delivery{ID: m.ID, Destination: domain, Recipients: []queue.Recipient{{Path: path("r@" + domain)}}}
			o.Deliver(queue.WithPass(t.Context(), pass), m, d)
		}
		send("d0.example")
		send("d1.example")
		if s.Connections() != 1 || s.Count() != 2 {
			t.Errorf("%d messages over %d connections, want 2 over one", s.Count(), s.Connections())
		}
		send("d2.example")
		if s.Connections() != 2 || s.Count() != 2 {
			t.Errorf("%d messages over %d connections, want another one, which fails", s.Count(), s.Connections())
		}
		z.mx["d3.example"] = []string{"other.provider.example"}
		z.addresses["other.provider.example"] = []string{"192.0.2.1"}
		send("d3.example")
		if s.Connections() != 3 || s.Count() != 3 {
			t.Errorf("%d messages over %d connections, want another one", s.Count(), s.Connections())
		}
	})
}

// strictFor is a policy that asks for a verified host for one domain.
type strictFor struct{ domain string }

func (s *strictFor) Promised(context.Context, string) bool { return false }

func (s *strictFor) Host(_ context.Context, h tlspolicy.Host) (tlspolicy.Protection, error) {
	p := tlspolicy.Protection{Level: h.Level, ServerName: h.Name}
	if h.Domain == s.domain {
		p.Level, p.Label = route.Verified, "verified"
	}
	return p, nil
}

// BenchmarkSite drains what many domains at one provider have, over as many
// connections as it takes, with and without room for more.
func BenchmarkSite(b *testing.B) {
	for _, most := range []int{1, 3, 20} {
		b.Run(fmt.Sprintf("%d connections", most), func(b *testing.B) {
			const domains = 20
			s := relaytest.NewSink(b, "127.0.0.5:0", relaytest.WithCounting(), relaytest.WithExtensions("PIPELINING", "CHUNKING"))
			n, m := &network{}, metrics.New(nil)
			n.put("192.0.2.1", dialSink(s))
			o := start(b, n, crowd(domains), func(o *Options) {
				o.Metrics, o.Pacer = m, pace.New(pace.Options{Default: pace.Bounds{MaxConnections: most}, Metrics: m})
			})
			each := b.N/domains + 1
			run := fill(b, o, domains, each)
			b.ResetTimer()
			stop := run()
			s.Wait(domains * each)
			b.StopTimer()
			b.ReportMetric(float64(domains*each)/b.Elapsed().Seconds(), "messages/s")
			stop()
		})
	}
}
