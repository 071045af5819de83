package pace

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"waypost/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// callers notes who was called.
type callers struct {
	mu  sync.Mutex
	all []string
}

func (c *callers) again(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, name)
	return !strings.HasPrefix(name, "gone")
}

func (c *callers) called() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

func at(host string) Hop { return Hop{Domain: "d.example", Hosts: []string{host}, Name: host} }

// admitted admits a destination and moves it.
func admitted(t *testing.T, p *Pacer, name string, h Hop) *Pass {
	t.Helper()
	pass, ok := p.Admit(name, 0, func(string) bool { return true })
	if !ok || !pass.Move(h) {
		t.Fatalf("%s was not admitted", name)
	}
	return pass
}

// TestWindowGrowsAndShrinks: by one for each success until something fails, by
// half for each failure of those that began after the last, and then slowly.
func TestWindowGrowsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Default: Bounds{MaxConnections: 10}})
		window := func() int { return p.State(at("mx")).Window }
		var all []*Pass
		for range firstWindow {
			all = append(all, admitted(t, p, "d", at("mx")))
		}
		if _, ok := p.Admit("d", 0, func(string) bool { return true }); ok || window() != firstWindow {
			t.Fatalf("window %d", window())
		}
		for range 20 {
			all[0].Succeed()
			for {
				pass, ok := p.Admit("d", 0, func(string) bool { return true })
				if !ok {
					break
				}
				all = append(all, pass)
			}
		}
		if len(all) != 10 || window() != 10 {
			t.Errorf("%d run in a window of %d, want 10", len(all), window())
		}
		for _, pass := range all {
			time.Sleep(time.Second)
			pass.Fail("refused")
		}
		if window() != 5 {
			t.Errorf("window %d after failures beside each other, want 5", window())
		}
		for range 5 {
			time.Sleep(time.Second)
			all[0].End()
			if all[0].Again() {
				t.Error("a pass that has ended goes on")
			}
			all = all[1:]
		}
		for want := 2; want > 0; want /= 2 {
			for _, pass := range all {
				pass.End()
			}
			time.Sleep(inviteFor)
			synctest.Wait()
			all = []*Pass{admitted(t, p, "d", at("mx"))}
			time.Sleep(time.Second)
			all[0].Fail("refused")
			if window() != want {
				t.Errorf("window %d, want %d", window(), want)
			}
		}
		all[0].Succeed()
		if window() != 2 || p.State(at("mx")).Trouble != "" {
			t.Errorf("window %d after a success", window())
		}
		all[0].End()
	})
}

// TestTooMuch: below what was used when a host had enough, and not above for a
// while.
func TestTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Default: Bounds{MaxConnections: 10}})
		var all []*Pass
		for range 4 {
			all = append(all, admitted(t, p, "d", at("mx")))
		}
		time.Sleep(time.Second)
		all[3].Slow("421 too many")
		all[3].End()
		for range 50 {
			all[0].Succeed()
		}
		if s := p.State(at("mx")); s.Window != 3 || s.Used != 3 {
			t.Errorf("window %d, used %d, want 3", s.Window, s.Used)
		}
		time.Sleep(ceilingFor)
		for range 4 {
			all[0].Succeed()
		}
		if s := p.State(at("mx")); s.Window != 4 {
			t.Errorf("window %d after its time, want 4", s.Window)
		}
		for _, pass := range all {
			pass.End()
		}
	})
}

// TestLine: who waits is called in turn, and nobody who comes later goes before.
func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(nil)
		p := New(Options{Rules: []*Rule{{Name: "one", Hosts: []string{"mx"}, Bounds: Bounds{MaxConnections: 1}}}, Metrics: m})
		var c callers
		first := admitted(t, p, "a", at("mx"))
		// join finds out where it leads, and that there is no place.
		join := func(name string) {
			t.Helper()
			pass, ok := p.Admit(name, 0, c.again)
			if !ok || pass.Move(at("mx")) {
				t.Fatalf("%s got the place of another", name)
			}
			if _, ok := p.Admit(name, 0, c.again); ok {
				t.Fatalf("%s got the place of another", name)
			}
		}
		for _, name := range []string{"b", "c", "d"} {
			join(name)
		}
		if first.Again() {
			t.Error("it may go on although others wait")
		}
		if got := testutil.ToFloat64(m.PaceWaiting); got != 3 {
			t.Errorf("%v wait", got)
		}
		if why := p.Why("c"); why != "limit of connections reached at one" {
			t.Errorf("why: %q", why)
		}
		for _, want := range []string{"b", "c", "d"} {
			first.End()
			first.End()
			if got := c.called(); len(got) != 1 || got[0] != want {
				t.Fatalf("called %v, want %s", got, want)
			}
			join("late " + want)
			pass, ok := p.Admit(want, 0, c.again)
			if !ok {
				t.Fatalf("%s was called for nothing", want)
			}
			first = pass
		}
		first.End()
		// Who does not come loses the place.
		for _, want := range []string{"late b", "late c", "late d"} {
			if got := c.called(); len(got) != 1 || got[0] != want {
				t.Fatalf("called %v, want %s", got, want)
			}
			time.Sleep(inviteFor)
		}
		if got := testutil.ToFloat64(m.PaceWaiting); got != 0 {
			t.Errorf("%v wait", got)
		}
	})
}

// TestElsewhere: a destination that has found another way does not wait in the line
// of a site that it has left, however long that is left alone.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(nil)
		p := New(Options{Default: Bounds{MaxConnections: 1}, Metrics: m})
		var c callers
		pass := admitted(t, p, "d", at("dead"))
		if _, ok := p.Admit("d", 0, c.again); ok {
			t.Fatal("admitted beyond the limit")
		}
		for range 3 {
			time.Sleep(time.Second)
			pass.Fail("refused")
			pass.Again()
		}
		if !pass.Rests(at("dead")) || pass.Rests(at("alive")) {
			t.Errorf("dead rests: %v, alive rests: %v", pass.Rests(at("dead")), pass.Rests(at("alive")))
		}
		if !pass.Move(at("alive")) {
			t.Fatal("no place where nobody is")
		}
		if got := c.called(); len(got) != 1 || got[0] != "d" {
			t.Errorf("called %v, want d", got)
		}
		if got := testutil.ToFloat64(m.PaceWaiting); got != 0 {
			t.Errorf("%v wait", got)
		}
		pass.End()
		next, ok := p.Admit("d", 0, c.again)
		if !ok {
			t.Fatal("not admitted where it was last")
		}
		next.End()
		time.Sleep(time.Hour) // what the site that rests was to do has been done
	})
}

// TestGone: the place of who has nothing to do any more goes to the next at once.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Default: Bounds{MaxConnections: 1}})
		var c callers
		first := admitted(t, p, "a", at("mx"))
		for _, name := range []string{"gone 1", "gone 2", "b"} {
			pass, ok := p.Admit(name, 0, c.again)
			if !ok || pass.Move(at("mx")) {
				t.Fatalf("%s got the place of another", name)
			}
			if _, ok := p.Admit(name, 0, c.again); ok {
				t.Fatalf("%s got the place of another", name)
			}
		}
		first.End()
		if got := c.called(); len(got) != 3 || got[2] != "b" {
			t.Errorf("called %v at once, want all of them", got)
		}
		if pass, ok := p.Admit("b", 0, c.again); !ok {
			t.Error("b was called for nothing")
		} else {
			pass.End()
		}
	})
}

// TestAgain: alone, a destination keeps its place from message to message.
func TestAgain(t *testing.T) {
	p := New(Options{Default: Bounds{MaxConnections: 1, Messages: []Rate{{3, time.Hour}}}})
	pass := admitted(t, p, "a", at("mx"))
	for i := range 3 {
		pass.Sent(1)
		if got, want := pass.Again(), i < 2; got != want {
			t.Errorf("message %d: %v", i+2, got)
		}
	}
	pass.End()
}

// TestRates: none is ever exceeded, whenever its time begins, and what is not sent
// is not counted.
func TestRates(t *testing.T) {
	for _, rate := range []Rate{{1, time.Second}, {30, time.Minute}, {1000, time.Hour}, {7, 11 * time.Second}} {
		t.Run(fmt.Sprintf("%d in %v", rate.Max, rate.Per), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Options{Default: Bounds{MaxConnections: 3, Messages: []Rate{rate}}})
				ready := make(chan string, 10)
				var sent []time.Time
				begin := time.Now()
				for len(sent) < 3*int(rate.Max)+1 {
					pass, ok := p.Admit("a", 0, func(name string) bool { ready <- name; return true })
					if !ok {
						<-ready
						continue
					}
					if !pass.Move(at("mx")) {
						continue
					}
					if rand.IntN(3) > 0 {
						pass.Sent(1)
						sent = append(sent, time.Now())
					}
					time.Sleep(time.Duration(rand.Int64N(int64(rate.Per) / rate.Max / 10)))
					pass.End()
				}
				for i := range sent {
					if j := i + int(rate.Max); j < len(sent) && sent[j].Sub(sent[i]) < rate.Per {
						t.Fatalf("%d sent within %v", rate.Max+1, sent[j].Sub(sent[i]))
					}
				}
				// Nor is much of it lost.
				if took := time.Since(begin); took > 4*rate.Per+rate.Per/4 {
					t.Errorf("%d took %v", len(sent), took)
				}
			})
		})
	}
}

// TestRecipientRate: a message with many recipients is paid for afterwards.
func TestRecipientRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Default: Bounds{Recipients: []Rate{{10, time.Minute}}}})
		begin := time.Now()
		pass := admitted(t, p, "a", at("mx"))
		pass.Sent(25)
		pass.End()
		var c callers
		if _, ok := p.Admit("a", 0, c.again); ok {
			t.Fatal("admitted beyond the rate")
		}
		if s := p.State(at("mx")); s.Until.Sub(begin) < time.Minute || s.Until.Sub(begin) > 62*time.Second {
			t.Errorf("until %v", s.Until.Sub(begin))
		}
		time.Sleep(62 * time.Second)
		if got := c.called(); len(got) != 1 {
			t.Errorf("called %v", got)
		}
	})
}

// TestRest: hosts that refuse everything are left alone, while many want to find
// out the same.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Default: Bounds{MaxConnections: 1}})
		ready := make(chan string, 100)
		again := func(name string) bool { ready <- name; return true }
		first := admitted(t, p, "first", at("mx"))
		for i := range 50 {
			if pass, ok := p.Admit(fmt.Sprint(i), 0, again); !ok || pass.Move(at("mx")) {
				t.Fatal("admitted")
			}
			p.Admit(fmt.Sprint(i), 0, again)
		}
		first.Fail("refused")
		first.End()
		begin, tried := time.Now(), 0
		for time.Since(begin) < time.Hour {
			pass, ok := p.Admit(<-ready, 0, again)
			if !ok {
				continue
			}
			tried++
			time.Sleep(time.Second)
			pass.Fail("refused")
			pass.End()
		}
		if tried < 6 || tried > 15 {
			t.Errorf("%d attempts in an hour", tried)
		}
		if why := p.State(at("mx")); why.Trouble != "refused" || why.Waiting < 30 {
			t.Errorf("%+v", why)
		}
		pass, ok := p.Admit(<-ready, 0, again)
		if !ok {
			t.Fatal("called for nothing")
		}
		pass.Succeed()
		if s := p.State(at("mx")); s.Window < 1 || s.Trouble != "" {
			t.Errorf("%+v", s)
		}
		p.SetRules(nil, Bounds{}) // ends the timers
		pass.End()
	})
}

// TestRules: the first that matches counts; without Each all are one site.
func TestRules(t *testing.T) {
	p := New(Options{Default: Bounds{MaxConnections: 7}, Rules: []*Rule{
		{Name: "both", Domains: []string{".a.example"}, Hosts: []string{"mx.a.example"}, Bounds: Bounds{MaxConnections: 1}},
		{Name: "each", Domains: []string{"b.example"}, Each: true, Bounds: Bounds{MaxConnections: 2}},
		{Name: "own", Leg: "own", Each: true, Bounds: Bounds{MaxConnections: 3}},
		{Name: "provider", Hosts: []string{".mail.example"}, Bounds: Bounds{MinConnections: 8}},
	}})
	for _, row := range []struct {
		hop        Hop
		site, rule string
		most       int
	}{
		{Hop{Domain: "x.A.example", Hosts: []string{"mx.a.example"}, Name: "mx.a.example"}, "both", "both", 1},
		{Hop{Domain: "x.a.example", Hosts: []string{"mx.c.example"}, Name: "mx.c.example"}, "mx.c.example", "", 7},
		{Hop{Hosts: []string{"mx.a.example"}, Name: "smtp://mx.a.example:25"}, "smtp://mx.a.example:25", "", 7},
		{Hop{Domain: "b.example", Hosts: []string{"mx"}, Name: "mx"}, "mx", "each", 2},
		{Hop{Domain: "c.example", Hosts: []string{"c.mail.example"}, Name: "c.mail.example"}, "provider", "provider", 7},
		{Hop{Hosts: []string{"smart.mail.example"}, Name: "smtp://smart.mail.example:25"}, "provider", "provider", 7},
		{Hop{Hosts: []string{"smart.mail.example"}, Name: "smtp://smart.mail.example:25", Leg: "own"}, "smtp://smart.mail.example:25", "own", 3},
	} {
		pass := admitted(t, p, row.hop.Name+row.hop.Domain, row.hop)
		if s := p.State(row.hop); s.Site != row.site || s.Rule != row.rule || s.Bounds.MaxConnections != row.most || s.Used != 1 {
			t.Errorf("%+v: %+v", row.hop, s)
		} else if at, known := p.Standing(row.hop.Name + row.hop.Domain); !known || !reflect.DeepEqual(at, s) {
			t.Errorf("%+v: it is at %+v", row.hop, at)
		}
		pass.End()
	}
	if s, known := p.Standing("nobody"); known {
		t.Errorf("a destination that was never heard of is at %+v", s)
	}
	if s := p.State(Hop{Hosts: []string{"other.mail.example"}, Name: "other"}); s.Site != "provider" || s.Window != 7 {
		t.Errorf("%+v", s)
	}
}

// TestRulesChange: who waits asks again, under the new rules.
func TestRulesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Default: Bounds{MaxConnections: 1}})
		var c callers
		old := admitted(t, p, "a", at("mx"))
		if _, ok := p.Admit("a", 0, c.again); ok {
			t.Fatal("admitted")
		}
		p.SetRules(nil, Bounds{MaxConnections: 2})
		if got := c.called(); len(got) != 1 {
			t.Fatalf("called %v", got)
		}
		pass := admitted(t, p, "a", at("mx"))
		old.End()
		if s := p.State(at("mx")); s.Used != 1 {
			t.Errorf("%d used", s.Used)
		}
		pass.End()
	})
}

// TestMemory: what is not used is forgotten, at the latest when there is much of it.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{})
		for i := range maxSites + 10 {
			name := fmt.Sprint(i)
			admitted(t, p, name, at(name)).End()
			if i%1000 == 0 {
				time.Sleep(time.Second)
			}
		}
		if len(p.sites) > maxSites || len(p.homes) > maxSites+1 {
			t.Errorf("%d sites, %d homes", len(p.sites), len(p.homes))
		}
		time.Sleep(2 * time.Second)
		kept := admitted(t, p, "kept", at("kept"))
		time.Sleep(2 * rememberFor)
		admitted(t, p, "new", at("new")).End()
		if len(p.sites) != 2 || len(p.homes) != 2 {
			t.Errorf("%d sites, %d homes, want those in use", len(p.sites), len(p.homes))
		}
		kept.End()
	})
}
