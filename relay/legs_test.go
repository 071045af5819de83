package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/relaytest"
)

// quiet waits until all mail has been tried, and some of it waits.
func quiet(t *testing.T, q *queue.Queue, deferred int64) {
	t.Helper()
	for t.Context().Err() == nil {
		if s := q.Stats(); s.Queued == 0 && s.Deferred == deferred && s.Messages == deferred {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestLegsOfTheirOwn: what the configuration says of each next hop of a route is
// what the hosts get to see, and mail that waits follows when it changes.
func TestLegsOfTheirOwn(t *testing.T) {
	password := func(name string) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte("secret-of-"+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	names := []string{"ann", "bob", "cid"}
	var sinks []*relaytest.Sink
	var legs []configs.Leg
	for i, name := range names {
		s := relaytest.NewSink(t, fmt.Sprintf("127.0.0.%d:0", 5+i), relaytest.WithAuth(name, "secret-of-"+name))
		sinks = append(sinks, s)
		legs = append(legs, configs.Leg{To: "smtp://" + s.Address(), Weight: 1, Username: name, PasswordFile: password(name), Hello: name + ".example"})
	}
	legs[2].Weight, legs[2].Hello = 0, "" // for when the others are down
	legs[0].SourceAddresses = []string{"127.0.0.77"}
	route := configs.Route{To: "*", Via: legs, TLS: configs.TLSNone, Hello: "route.example", FailoverOn: []string{"451"}}
	l := startReloadable(t, 1, func(c *configs.Config) {
		c.Routes, c.Queue.Retry = []configs.Route{route}, []configs.Duration{configs.Duration(time.Hour)}
	})
	sent := 0
	send := func(n int) {
		t.Helper()
		for range n {
			sent++
			l.send("s@a.example", fmt.Sprintf("Message-ID: <%d@a.example>\r\n%s", sent, hello), fmt.Sprintf("r%d@b.example", sent))
		}
	}
	total := func() (n int) {
		for _, s := range sinks {
			n += s.Count()
		}
		return n
	}
	// Until both have their share. That they never do has the odds of a lottery.
	for range 40 {
		send(1)
	}
	quiet(t, l.queue, 0)
	if total() != sent {
		t.Errorf("%d messages came, want %d", total(), sent)
	}
	if sinks[0].Count() == 0 || sinks[1].Count() == 0 || sinks[2].Count() != 0 {
		t.Errorf("%d, %d and %d messages came to the legs", sinks[0].Count(), sinks[1].Count(), sinks[2].Count())
	}
	// Without the others, the last one.
	for _, s := range sinks[:2] {
		s.On("RCPT", relaytest.Action{Reply: "451 4.3.0 not now"})
	}
	send(5)
	if sinks[2].Wait(5); total() != sent {
		t.Errorf("%d messages came, want %d", total(), sent)
	}
	// Nobody takes any; then the next hops change, and what waits goes there.
	sinks[2].On("RCPT", relaytest.Action{Reply: "451 4.3.0 not now"})
	send(5)
	quiet(t, l.queue, 5)
	home := relaytest.NewSink(t, "127.0.0.9:0", relaytest.WithAuth("dan", "secret-of-dan"))
	route.Via = []configs.Leg{{To: "smtp://" + home.Address(), Username: "dan", PasswordFile: password("dan")}}
	l.reload(func(c *configs.Config) { c.Routes = []configs.Route{route} })
	if n, err := l.queue.RetryNow(queue.Filter{}); n != 5 || err != nil {
		t.Errorf("%d messages are tried now: %v", n, err)
	}
	home.Wait(5)
	for i, s := range append(slices.Clone(sinks), home) {
		name, say := append(names, "dan")[i], append(names, "")[i]+".example"
		if i >= 2 {
			say = "route.example"
		}
		for _, m := range s.Messages() {
			if m.User != name || m.Hello != say {
				t.Errorf("to %s it came from user %s, who said EHLO %s", name, m.User, m.Hello)
			}
		}
	}
}
