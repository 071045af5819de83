package outbound

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// weightLeg is a host's leg with a weight.
func weightLeg(host string, weight int) route.Leg {
	leg := hostLeg(host)
	leg.Weight = weight
	return leg
}

// outlet is a queue that runs in front of an Outbound.
type outlet struct {
	queue *queue.Queue
	sent  int
}

// newOutlet opens and runs a queue until the test ends.
func newOutlet(t testing.TB, o *Outbound, log io.Writer) *outlet {
	t.Helper()
	q, err := queue.Open(queue.Options{
		Dir: t.TempDir(), Deliverer: o, Router: o, Reporter: silent{}, Metrics: o.Metrics, PerDestination: 1000,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { q.Run(ctx, time.Second) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return &outlet{queue: q}
}

// send enqueues messages, one to each recipient, and waits a while.
func (l *outlet) send(t testing.TB, while time.Duration, messages int) {
	t.Helper()
	for range messages {
		l.sent++
		draft := l.queue.NewDraft()
		if _, err := io.WriteString(draft, short); err != nil {
			t.Fatal(err)
		}
		env := queue.Envelope{ReversePath: path("s@a.example"), MessageID: fmt.Sprintf("%d@a.example", l.sent)}
		if err := draft.Commit(env, []queue.Recipient{{Path: path(fmt.Sprintf("r%d@b.example", l.sent))}}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(while)
}

// three are hosts for the legs a, b and c.
func three(t testing.TB, n *network) (z *zone, sinks [3]*relaytest.Sink) {
	z = &zone{addresses: map[string][]string{}}
	for i, name := range []string{"a", "b", "c"} {
		address := fmt.Sprintf("192.0.2.%d", i+1)
		z.addresses[name] = []string{address}
		sinks[i] = n.sink(t, address)
	}
	return z, sinks
}

func counts(sinks [3]*relaytest.Sink) (all [3]int) {
	for i, s := range sinks {
		all[i] = s.Count()
	}
	return all
}

// TestWeights: messages go to the legs as the weights are. The share of a leg that
// is broken goes to the others at the cost of a few connections, and comes back once
// the leg works; what waits follows changed weights.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := &network{}, &strings.Builder{}
		z, sinks := three(t, n)
		legs := []route.Leg{weightLeg("a", 6), weightLeg("b", 3), weightLeg("c", 1)}
		o := start(t, n, z, via(route.Route{Via: legs}))
		l := newOutlet(t, o, log)
		before := [3]int{}
		// shares compares what came since with percentages.
		shares := func(when string, want [3]int) {
			t.Helper()
			now := counts(sinks)
			total := 0
			for i := range now {
				total += now[i] - before[i]
			}
			for i := range now {
				if got := 100 * (now[i] - before[i]) / total; got < want[i]-6 || got > want[i]+6 {
					t.Errorf("%s: leg %d got %d of %d messages, want %d%%", when, i+1, now[i]-before[i], total, want[i])
				}
			}
			before = now
		}
		l.send(t, time.Minute, 500)
		shares("all work", [3]int{60, 30, 10})

		dialed := len(n.tried())
		n.put("192.0.2.1", nil)
		sinks[0].DropAll()
		time.Sleep(time.Minute) // connections that are open are gone
		l.send(t, time.Second, 500)
		shares("the first is broken", [3]int{0, 75, 25})
		dead := 0
		for _, at := range n.tried()[dialed:] {
			if strings.HasPrefix(at, "192.0.2.1:") {
				dead++
			}
		}
		// As many as the first window of a site lets run beside each other.
		if dead < breakAfter || dead > 5 {
			t.Errorf("%d connections were tried to the broken leg", dead)
		}

		n.put("192.0.2.1", func(context.Context) (net.Conn, error) { return sinks[0].Pipe(), nil })
		time.Sleep(maxBreak)
		l.send(t, time.Minute, 500)
		shares("it works again", [3]int{60, 30, 10})

		for _, s := range sinks {
			s.On("RCPT", relaytest.Action{Reply: "451 4.7.1 later"})
		}
		l.send(t, time.Minute, 300)
		for _, s := range sinks {
			s.Behave()
		}
		legs[0].Weight, legs[1].Weight, legs[2].Weight = 1, 1, 8
		o.SetRoutes(route.NewTable([]route.Route{{To: "*", Via: legs}}), nil)
		time.Sleep(time.Hour)
		shares("other weights", [3]int{10, 10, 80})
		if got := counts(sinks); got[0]+got[1]+got[2] != l.sent {
			t.Errorf("%v messages came, want %d in all", got, l.sent)
		}
		if rerouted := strings.Count(log.String(), "msg=rerouted"); rerouted == 0 || rerouted > 300 {
			t.Errorf("%d messages were rerouted, want those alone whose leg has changed", rerouted)
		}
	})
}

// TestWeightedThenFallback: the leg behind those of equal rank gets mail when none
// of them can be used.
func TestWeightedThenFallback(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		z, sinks := three(t, n)
		o := start(t, n, z, via(route.Route{Via: []route.Leg{weightLeg("a", 1), weightLeg("b", 1), hostLeg("c")}}))
		for _, row := range []struct {
			dead []string
			want [3]bool // may get it
		}{
			{nil, [3]bool{true, true, false}},
			{[]string{"192.0.2.1"}, [3]bool{false, true, false}},
			{[]string{"192.0.2.1", "192.0.2.2"}, [3]bool{false, false, true}},
		} {
			for _, address := range row.dead {
				n.put(address, nil)
			}
			for _, s := range sinks {
				s.DropAll()
			}
			time.Sleep(time.Minute)
			before := counts(sinks)
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
			for i, now := range counts(sinks) {
				if now > before[i] && !row.want[i] {
					t.Errorf("with %v dead leg %d got it", row.dead, i+1)
				}
			}
		}
	})
}

// TestRestingLegIsPassedBy: where a site is left alone because it failed mail of
// other routes, mail that has another leg does not wait for it.
func TestRestingLegIsPassedBy(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		z, sinks := three(t, n)
		r := route.Route{To: "*", Via: []route.Leg{hostLeg("a"), hostLeg("b")}}
		o := start(t, n, z, func(o *Options) {
			o.Routes, o.Pacer = route.NewTable([]route.Route{r}), pace.New(pace.Options{Default: pace.Bounds{MaxConnections: 1}})
		})
		again := func(string) bool { return true }
		other, _ := o.Pacer.Admit("other", 0, again)
		if !other.Move(pace.Hop{Hosts: []string{"a"}, Name: hostLeg("a").String()}) {
			t.Fatal("no place where nobody is")
		}
		o.Pacer.Admit("other", 0, again) // stands in line
		for range 3 {
			time.Sleep(time.Second)
			other.Fail("refused")
			other.Again()
		}
		other.End()
		pass, ok := o.Admit("b.example", 0, again)
		if !ok {
			t.Fatal("not admitted")
		}
		defer pass.End()
		d := &queue.Delivery{ID: m.ID, Destination: "b.example", Recipients: []queue.Recipient{{Path: path("r@b.example")}}}
		out := o.Deliver(queue.WithPass(t.Context(), pass), m, d)
		if out.Waits || sinks[0].Connections() != 0 || sinks[1].Count() != 1 {
			t.Errorf("it waits: %v; %d connections to the leg that rests, %d messages over the other", out.Waits, sinks[0].Connections(), sinks[1].Count())
		}
		pass.End()
		time.Sleep(time.Hour) // what the site that rests was to do has been done
	})
}

// TestDeadLegHoldsNothingUp: mail flows at the pace of the leg that works, however
// the other one fails.
func TestDeadLegHoldsNothingUp(t *testing.T) {
	const messages = 300
	hang := func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, row := range []struct {
		name  string
		dead  func(context.Context) (net.Conn, error)
		after time.Duration
	}{
		{"refuses", nil, time.Second},
		// Found out by those that were tried first, all at once.
		{"silent", hang, 31 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				z, sinks := three(t, n)
				n.put("192.0.2.1", row.dead)
				l := newOutlet(t, start(t, n, z, via(route.Route{Via: []route.Leg{hostLeg("a"), hostLeg("b")}})), io.Discard)
				if l.send(t, row.after, messages); sinks[1].Count() != messages {
					t.Errorf("%d of %d messages came within %v", sinks[1].Count(), messages, row.after)
				}
				// The probe goes to the dead leg; nobody waits for it.
				time.Sleep(firstBreak)
				before := len(n.tried())
				if l.send(t, time.Second, messages); sinks[1].Count() < 2*messages-1 {
					t.Errorf("%d of %d messages came beside the probe", sinks[1].Count()-messages, messages)
				}
				probes := 0
				for _, at := range n.tried()[before:] {
					if strings.HasPrefix(at, "192.0.2.1:") {
						probes++
					}
				}
				if probes != 1 {
					t.Errorf("%d connections to the dead leg, want one", probes)
				}
			})
		})
	}
}
