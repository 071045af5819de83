package outbound

import (
	"testing"
	"testing/synctest"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// TestHostTakesNoMail: 521 at the greeting is for good, and about that host; 556
// is about the domain.
func TestHostTakesNoMail(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	for _, row := range []struct {
		name, first, second, rcpt string
		leg                       route.Leg
		state                     queue.State
		status                    string
	}{
		{"7504-a the next host takes it", "521 5.3.2 no mail here", "", "", mxLeg(), queue.Delivered, "2.0.0"},
		{"7504-a no host takes it", "521 5.3.2 no mail here", "521 never", "", mxLeg(), queue.Failed, "5.3.2"},
		{"7504-a the next host is busy", "521 5.3.2 no mail here", "421 4.3.2 busy", "", mxLeg(), queue.Deferred, "4.3.2"},
		{"7504-a the other way round", "421 4.3.2 busy", "521 5.3.2 no mail here", "", mxLeg(), queue.Deferred, "4.3.2"},
		{"7504-a other refusals are of us", "554 5.7.1 go away", "521 5.7.1 listed", "", mxLeg(), queue.Deferred, "4.7.1"},
		{"7504-a 556 asks for no other host", "", "", "556 5.1.10 no mail for it", mxLeg(), queue.Failed, "5.1.10"},
		{"7504-a a smarthost is ours to mend", "521 5.3.2 no mail here", "", "", hostLeg("mx1"), queue.Deferred, "4.3.2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				first, second := n.sink(t, "192.0.2.1"), n.sink(t, "192.0.2.2")
				for s, text := range map[*relaytest.Sink]string{first: row.first, second: row.second} {
					if text != "" {
						s.On("CONNECT", relaytest.Action{Reply: text})
					}
				}
				if row.rcpt != "" {
					first.OnRcpt("r@b.example", row.rcpt)
				}
				o := start(t, n, two(), via(route.Route{Via: []route.Leg{row.leg}}))
				want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], row.state, row.status, "")
				if row.rcpt != "" && second.Connections() != 0 {
					t.Error("another host was asked")
				}
			})
		})
	}
}
