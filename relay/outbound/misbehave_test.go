package outbound

import (
	"bytes"
	"cmp"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// TestMisbehaviours has the better of two hosts misbehave in every way at every
// step. Whatever it does, somebody gets the message, or its sender is told, or it is
// tried again; and no other host gets it once this one may have it.
func TestMisbehaviours(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	kinds := []struct {
		name   string
		action relaytest.Action
	}{
		{"silence", relaytest.Action{Silent: true, Stall: true}},
		{"garbage", relaytest.Action{Raw: "\x00\xff garbage\r\n"}},
		{"endless line", relaytest.Action{Raw: fmt.Sprintf("250%s", string(bytes.Repeat([]byte(" "), 100_000)))}},
		{"tarpit", relaytest.Action{Drip: 5 * time.Second, Reply: "250 2.0.0 in a while"}},
		{"tarpit without end", relaytest.Action{Drip: 20 * time.Second, Reply: "250 2.0.0 in a very, very, very long while, if at all"}},
		{"421", relaytest.Action{Reply: "421 4.3.2 closing", Drop: true}},
		{"4yz", relaytest.Action{Reply: "451 4.3.0 not now"}},
		{"5yz", relaytest.Action{Reply: "554 5.3.0 never"}},
		{"closed", relaytest.Action{Silent: true, Drop: true}},
		{"reset", relaytest.Action{Silent: true, Reset: true}},
	}
	// Who has the message in the end, "first" or "second", or what becomes of it. What
	// is not here leads to the second host.
	wants := map[string]map[string]string{
		"CONNECT": {"tarpit": "first"},
		"EHLO":    {"tarpit": "first", "5yz": "first"}, // by HELO (RFC 5321 §3.2)
		// TLS is only wished for: it goes on in clear, over another connection.
		"STARTTLS":  {"": "first"},
		"HANDSHAKE": {"": "first"},
		"MAIL":      {"tarpit": "first", "4yz": "deferred", "5yz": "failed"},
		"RCPT":      {"tarpit": "first", "4yz": "deferred", "5yz": "failed"},
		"DATA":      {"4yz": "deferred", "5yz": "failed"},
		"CONTENT":   {"4yz": "deferred", "5yz": "failed"},
		// RFC 1047: whoever did not answer to the end of the content may have it.
		"DOT":  {"": "deferred", "tarpit": "first", "421": "second", "5yz": "failed"},
		"QUIT": {"": "first"},
	}
	for _, step := range []string{"CONNECT", "EHLO", "STARTTLS", "HANDSHAKE", "MAIL", "RCPT", "DATA", "CONTENT", "DOT", "QUIT"} {
		for _, kind := range kinds {
			t.Run(step+" "+kind.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := &network{}
					first := n.sink(t, "192.0.2.1", relaytest.WithCertificate(ca.Leaf("mx1")), relaytest.WithLeniency())
					second := n.sink(t, "192.0.2.2")
					first.On(step, kind.action)
					o := start(t, n, two(), via(route.Route{Via: []route.Leg{mxLeg()}}))
					began := time.Now()
					out := deliver(t, t.Context(), o, m, "r@b.example")
					took := time.Since(began)
					got := out.Results[0].State.String()
					switch {
					case got == "delivered" && first.Count() == 1 && second.Count() == 0:
						got = "first"
					case got == "delivered" && first.Count() == 0 && second.Count() == 1:
						got = "second"
					case second.Connections() != 0:
						t.Error("another host was asked")
					}
					expected := cmp.Or(wants[step][kind.name], wants[step][""], "second")
					// The longest that a host is waited for at one step (RFC 5321 §4.5.3.2.6).
					if got != expected || took > 10*time.Minute {
						t.Errorf("%s after %v: %v; %d and %d messages came", got, took, out.Results[0], first.Count(), second.Count())
					}
				})
			})
		}
	}
}
