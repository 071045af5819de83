package outbound

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/route"
)

// TestExplainIsWhatHappens compares, for 200 random messages, what explain says with
// where they go.
func TestExplainIsWhatHappens(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	n := &network{}
	for i := range 4 {
		n.sink(t, fmt.Sprintf("192.0.2.%d", i+1))
	}
	z := &zone{
		mx: map[string][]string{"a.example": {"mx1", "mx2"}, "b.example": {"mx2"}, "c.example": {"dead", "mx1"}},
		addresses: map[string][]string{
			"mx1": {"192.0.2.1"}, "mx2": {"192.0.2.2", "192.0.2.3"}, "smart": {"192.0.2.4"}, "dead": {"192.0.2.9"},
		},
	}
	o := start(t, n, z, func(o *Options) {
		o.Routes = route.NewTable([]route.Route{
			{To: "vip@a.example", Via: []route.Leg{hostLeg("smart")}},
			{To: "b.example", From: "boss@x.example", Via: []route.Leg{hostLeg("dead"), hostLeg("smart")}},
			{To: "*", Class: "bulk", Via: []route.Leg{hostLeg("smart")}, Terms: route.Terms{Hello: "bulk.example"}},
			{To: ".example", Login: "app", Via: []route.Leg{{Kind: route.Discard}}},
			{To: "no.example", Via: []route.Leg{{Kind: route.Reject, Text: "5.1.1 no"}}},
		})
		o.Pacer = pace.New(pace.Options{Rules: []*pace.Rule{{Name: "one", Hosts: []string{"mx2"}, Bounds: pace.Bounds{MaxConnections: 1}}}})
	})
	pick := func(all ...string) string { return all[rand.IntN(len(all))] }
	went := map[string]int{}
	for range 200 {
		mail := *m
		mail.ReversePath, mail.Login, mail.Class = path(pick("s@x.example", "boss@x.example")), pick("", "", "app"), pick("", "bulk")
		to := queue.Recipient{Path: path(pick("r", "vip") + "@" + pick("a.example", "b.example", "c.example", "no.example"))}
		plan := o.Explain(t.Context(), &mail.Envelope, &to, false)
		d := &queue.Delivery{ID: m.ID, Destination: o.Destination(&mail.Envelope, &to), Recipients: []queue.Recipient{to}}
		pass, ok := o.Admit(d.Destination, 0, func(string) bool { return true })
		if !ok {
			t.Fatal("not admitted")
		}
		out := o.Deliver(queue.WithPass(t.Context(), pass), &mail, d)
		site := pass.(*pace.Pass).Site()
		pass.End()
		if plan.Destination != d.Destination {
			t.Errorf("%s waits for %q, explain says %q", to.Path, d.Destination, plan.Destination)
		}
		var hosts []string
		for _, leg := range plan.Legs {
			for _, host := range leg.Hosts {
				for _, target := range host.Targets {
					hosts = append(hosts, target.name(host.Name))
				}
			}
			// Where it went, its site is used, and its limits are those of the rule.
			if leg.Pace != nil && len(hosts) > 0 && slices.Contains(hosts, out.Results[0].Host) && (leg.Pace.Rule == "one") != (site == "# 0") && leg.Leg.Kind == route.MX {
				t.Errorf("%s is at %q, explain says %+v", to.Path, site, leg.Pace)
			}
		}
		kind := plan.Legs[0].Leg.Kind
		went[fmt.Sprint(kind, len(plan.Legs))]++
		switch result := out.Results[0]; {
		case kind == route.Discard && (result.State != queue.Delivered || result.Host != ""),
			kind == route.Reject && (result.State != queue.Failed || result.Host != ""),
			plan.Legs[0].Leg.Remote() && (result.State != queue.Delivered || !slices.Contains(hosts, result.Host)):
			t.Errorf("%s from %s (login %q, class %q): %v at %q, explain says %v to %v", to.Path, mail.ReversePath, mail.Login, mail.Class, result.State, result.Host, plan.Legs[0].Leg, hosts)
		}
	}
	if len(went) < 5 {
		t.Errorf("only %v were tried", went)
	}
}
