package outbound

import (
	"testing"
	"testing/synctest"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// Routes can change between the moment at which the queue looks where recipients
// belong and that at which their attempt begins: nobody is sent by the route of
// another then.
func TestRoutesChangeBeforeAnAttempt(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		one, two := n.sink(t, "192.0.2.1"), n.sink(t, "192.0.2.2")
		z := &zone{addresses: map[string][]string{"one": {"192.0.2.1"}, "two": {"192.0.2.2"}}}
		all := route.Route{To: "*", Via: []route.Leg{hostLeg("one")}}
		o := start(t, n, z, via(all))
		d := &queue.Delivery{ID: m.ID, Size: m.Size, Recipients: []queue.Recipient{{Path: path("r@b.example")}, {Path: path("boss@b.example")}}}
		d.Destination = o.Destination(&m.Envelope, &d.Recipients[0])
		o.SetRoutes(route.NewTable([]route.Route{{To: "boss@b.example", Via: []route.Leg{hostLeg("two")}}, all}), nil)
		if out := o.Deliver(t.Context(), m, d); !out.Waits || one.Count()+two.Count() > 0 {
			t.Errorf("it waits: %v; %d and %d messages came: %+v", out.Waits, one.Count(), two.Count(), out.Results)
		}
		for i, sink := range []*relaytest.Sink{one, two} { // each alone goes by the route that it has now
			alone := *d
			alone.Recipients = d.Recipients[i : i+1]
			delivered(t, o.Deliver(t.Context(), m, &alone))
			if sink.Count() != 1 {
				t.Errorf("%d messages came to host %d", sink.Count(), i+1)
			}
		}
	})
}
