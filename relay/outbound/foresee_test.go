package outbound

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/resolver"
)

// TestVerify: a recipient is asked for as a message would be sent, and nothing is.
// Only what is said of the recipient decides for good.
func TestVerify(t *testing.T) {
	for _, row := range []struct {
		name, to, offer string
		on              func(*relaytest.Sink)
		state           queue.State
		status          string
		text            string
	}{
		{"taken", "r@b.example", "PIPELINING", nil, queue.Delivered, "2.1.5", "250"},
		{"taken, one command at a time", "r@b.example", "SIZE", nil, queue.Delivered, "2.1.5", "250"},
		{"unknown", "no@b.example", "PIPELINING", nil, queue.Failed, "5.1.1", "550"},
		{"put off", "later@b.example", "PIPELINING", nil, queue.Deferred, "4.2.1", "450"},
		{"the sender is refused", "r@b.example", "PIPELINING", func(s *relaytest.Sink) { s.On("MAIL", relaytest.Action{Reply: "550 5.7.1 no null sender here"}) }, queue.Deferred, "4.1.0", "no null sender"},
		{"the sender is put off", "r@b.example", "PIPELINING", func(s *relaytest.Sink) { s.On("MAIL", relaytest.Action{Reply: "451 4.3.0 busy"}) }, queue.Deferred, "4.3.0", "busy"},
		{"the host is closed", "r@b.example", "PIPELINING", func(s *relaytest.Sink) { s.On("CONNECT", relaytest.Action{Reply: "554 go away"}) }, queue.Deferred, "4.0.0", "554"},
		{"not expressible", "ü@b.example", "PIPELINING", nil, queue.Failed, "5.6.7", "SMTPUTF8"},
		{"UTF-8", "ü@b.example", "SMTPUTF8", nil, queue.Delivered, "2.1.5", "250"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				s := n.sink(t, "192.0.2.1", relaytest.WithExtensions(row.offer))
				s.OnRcpt("no@b.example", "550 5.1.1 who?")
				s.OnRcpt("later@b.example", "450 4.2.1 busy")
				if row.on != nil {
					row.on(s)
				}
				o := start(t, n, &zone{mx: map[string][]string{"b.example": {"mx"}}, addresses: map[string][]string{"mx": {"192.0.2.1"}}}, func(o *Options) {
					o.AllowPrivate = mustPrefixes("192.0.2.0/24")
				})
				e := &queue.Envelope{
					ReversePath: path("s@a.example"), Return: "FULL", EnvelopeID: "x", Priority: 3, UTF8: row.offer == "SMTPUTF8",
					DeliverBy: queue.DeliverBy{Deadline: time.Now().Add(-time.Hour), Return: true},
				}
				want(t, o.Verify(t.Context(), e, path(row.to)), row.state, row.status, row.text)
				// The next one, and then a message, go on the same connection.
				if row.state == queue.Delivered {
					want(t, o.Verify(t.Context(), e, path("no@b.example")), queue.Failed, "5.1.1", "550")
					if s.Connections() != 1 {
						t.Errorf("%d connections", s.Connections())
					}
				}
				for _, c := range s.Commands() {
					switch c.Verb {
					case "DATA", "BDAT", ".":
						t.Errorf("%s was said", c.Verb)
					case "MAIL":
						if c.Line != "MAIL FROM:<>" && c.Line != "MAIL FROM:<> SMTPUTF8" {
							t.Error(c.Line)
						}
					}
				}
				if s.Count() != 0 || len(s.Violations()) != 0 {
					t.Errorf("%d messages, %v", s.Count(), s.Violations())
				}
			})
		})
	}
}

// TestVerifyThenSend: a connection that was used for a question carries mail.
func TestVerifyThenSend(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithExtensions("PIPELINING"))
		o := start(t, n, &zone{addresses: map[string][]string{"smart": {"192.0.2.1"}}}, via(route.Route{Via: []route.Leg{hostLeg("smart")}}))
		want(t, o.Verify(t.Context(), &m.Envelope, path("r@b.example")), queue.Delivered, "2.1.5", "250")
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		if s.Connections() != 1 || s.Count() != 1 || len(s.Violations()) != 0 {
			t.Errorf("%d connections, %d messages, %v", s.Connections(), s.Count(), s.Violations())
		}
	})
}

// TestForesee: DNS decides where nothing else could lead to the recipient, and
// only when it is sure.
func TestForesee(t *testing.T) {
	z := &zone{mx: map[string][]string{"b.example": {"mx"}}, errs: map[string]error{
		"gone.example":   noDomain("gone.example"),
		"null.example":   &resolver.Error{Kind: resolver.NullMX, Name: "null.example", Enhanced: [3]int{5, 1, 10}},
		"silent.example": noAnswer("silent.example"),
		"empty.example":  &resolver.Error{Kind: resolver.NoAddress, Name: "empty.example", Enhanced: [3]int{5, 4, 4}},
		"slow.example":   context.DeadlineExceeded,
	}}
	for _, row := range []struct {
		to    string
		route route.Route
		want  string
	}{
		{"r@b.example", route.Route{}, ""},
		{"r@gone.example", route.Route{}, "550 5.1.2"},
		{"r@null.example", route.Route{}, "556 5.1.10"},
		{"r@silent.example", route.Route{}, ""},
		{"r@empty.example", route.Route{}, ""},
		{"r@slow.example", route.Route{}, ""},
		{"r@gone.example", route.Route{Via: []route.Leg{hostLeg("smart")}}, ""},
		{"r@gone.example", route.Route{Via: []route.Leg{mxLeg(), hostLeg("smart")}}, ""},
		{"r@gone.example", route.Route{Via: []route.Leg{{Kind: route.MX, Domain: "b.example"}}}, ""},
	} {
		edit := func(*Options) {}
		if row.route.Via != nil {
			edit = via(row.route)
		}
		o := start(t, &network{}, z, edit)
		reply, certain := o.Foresee(t.Context(), &queue.Envelope{}, path(row.to))
		if got := reply.String(); certain != (row.want != "") || certain && got[:len(row.want)] != row.want {
			t.Errorf("%s: %q, want %q", row.to, got, row.want)
		}
	}
}

// TestTooLarge: what a host says of its limit is known for a while, and of several
// hosts the most generous counts, once all have been heard.
func TestTooLarge(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		n.sink(t, "192.0.2.1", relaytest.WithExtensions("SIZE 1000"))
		o := start(t, n, &zone{addresses: map[string][]string{"smart": {"192.0.2.1"}}}, via(route.Route{Via: []route.Leg{hostLeg("smart")}}))
		to := path("r@b.example")
		check := func(when string, size int64, want bool) {
			t.Helper()
			if got := o.TooLarge(&m.Envelope, to, size); got != want {
				t.Errorf("%s: %d octets: %t", when, size, got)
			}
		}
		check("before", 1<<40, false)
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		check("after", 1001, true)
		check("after", 1000, false)
		time.Sleep(sizesFor)
		check("long after", 1001, false)
	})
	s, now := newSizes(), time.Now()
	for i, most := range []int64{10, 30, 20} {
		if _, known := s.get("d", now); known {
			t.Errorf("%d of 3 hosts have said something, and it counts", i)
		}
		s.note("d", fmt.Sprint("mx", i), 3, most, now)
	}
	if most, known := s.get("d", now); most != 30 || !known {
		t.Errorf("%d, %t, want that of the largest", most, known)
	}
	s.note("d", "mx4", 3, 1, now) // for mx1, mx2 or mx3
	if _, known := s.get("d", now); known {
		t.Error("what hosts have said counts that are no longer there")
	}
	s.note("e", "mx1", 2, 0, now)
	s.note("e", "mx2", 2, 5, now)
	if _, known := s.get("e", now); known {
		t.Error("one host has no limit, and it counts for nothing")
	}
	for i := range maxSizes + 10 {
		s.note(fmt.Sprint(i), "mx", 1, 1, now)
	}
	if len(s.all) != maxSizes {
		t.Errorf("%d destinations are remembered", len(s.all))
	}
}

// What one host does not take another one may: nothing is too large before all of
// them, on all ways, have been heard.
func TestTooLargeForOneHost(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	mx := &zone{mx: map[string][]string{"b.example": {"a", "b"}}, addresses: map[string][]string{"a": {"192.0.2.1"}, "b": {"192.0.2.2"}}}
	for name, edit := range map[string]func(*Options){
		"mail hosts": nil,
		"legs":       via(route.Route{Via: []route.Leg{hostLeg("a"), hostLeg("b")}}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				n.sink(t, "192.0.2.1", relaytest.WithExtensions("SIZE 1000"))
				n.sink(t, "192.0.2.2", relaytest.WithExtensions("SIZE 100000"))
				o := start(t, n, mx, edit)
				delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
				if o.TooLarge(&m.Envelope, path("r@b.example"), 2000) {
					t.Error("the other host takes it, and it is too large")
				}
			})
		})
	}
}
