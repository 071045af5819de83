package outbound

import (
	"context"
	"slices"

	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/reply"
	"waypost/relay/route"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
)

// Plan is where an attempt for a recipient would go now.
type Plan struct {
	Route *route.Route
	// Destination is what the recipient would wait for, but for the leg that is
	// drawn.
	Destination string
	Legs        []PlannedLeg
	// Replies are the rules about refusals that may hold for it, those of the
	// configuration first, of which there are ConfiguredReplies.
	Replies           reply.Rules
	ConfiguredReplies int
}

// PlannedLeg is one leg of a plan.
type PlannedLeg struct {
	Leg   route.Leg
	Terms *route.Terms
	// Share is the part of messages for which it is the first of its rank.
	Share float64
	// Destination is what messages that begin there wait for; "" where none does.
	Destination string
	Hosts       []PlannedHost
	// Pace is how its site stands; nil where the leg ends here, or no hosts are
	// known.
	Pace *pace.State
	// Err says why no hosts are known.
	Err error
}

// PlannedHost is one host of a leg.
type PlannedHost struct {
	Name       string
	Preference uint16
	Targets    []Target
	Protection tlspolicy.Protection
	// Err says why the host would not be used.
	Err error
	// Greeting is what came of greeting it; nil where nobody did.
	Greeting *Greeting
}

// Explain looks up what an attempt for r would look up, by the same steps. It
// connects to nobody, unless the hosts are to be greeted.
func (o *Outbound) Explain(ctx context.Context, e *queue.Envelope, r *queue.Recipient, greet bool) Plan {
	m := &queue.Message{Envelope: *e}
	a := newAttempt(o, m, &queue.Delivery{Destination: o.Destination(e, r), Recipients: []queue.Recipient{*r}})
	p := Plan{Route: a.route, Destination: a.name}
	if slices.ContainsFunc(a.route.Via, route.Leg.Remote) {
		p.Replies, p.ConfiguredReplies = o.repliesFor(r)
	}
	for i := range a.route.Via {
		h := a.hop(i, i)
		leg := a.planLeg(ctx, h)
		leg.Terms, leg.Share, leg.Destination = h.terms, a.route.Share(i), a.route.Beginning(i, r.Path)
		if greet {
			a.greet(ctx, h, &leg)
		}
		p.Legs = append(p.Legs, leg)
	}
	return p
}

// repliesFor returns the rules about refusals that may hold for a recipient, and
// how many of them are configured: they come first.
func (o *Outbound) repliesFor(r *queue.Recipient) (rules reply.Rules, configured int) {
	all := *o.replies.Load()
	for i, rule := range all {
		if !rule.ForDomain(r.Path.DomainKey()) {
			continue
		}
		rules = append(rules, rule)
		if i < len(all)-len(reply.Builtin()) {
			configured++
		}
	}
	return rules, configured
}

func (a *attempt) paceState(h hop, hosts []resolver.Host) *pace.State {
	s := a.outbound.Pacer.State(a.paceHop(h, hosts))
	return &s
}

func (a *attempt) planLeg(ctx context.Context, h hop) PlannedLeg {
	out := PlannedLeg{Leg: h.leg}
	switch {
	case !h.leg.Remote():
		return out
	case h.leg.Socket != "":
		out.Pace = a.paceState(h, nil)
		out.Hosts = []PlannedHost{{Name: h.leg.Socket, Targets: []Target{{Socket: h.leg.Socket}}, Protection: tlspolicy.Protection{Level: h.level()}}}
		return out
	}
	hosts, err := a.hosts(ctx, h)
	if err != nil {
		out.Err = err
		return out
	}
	out.Pace = a.paceState(h, hosts.List)
	for _, one := range hosts.List {
		host := PlannedHost{Name: one.Name, Preference: one.Preference}
		if host.Targets, host.Err = a.targets(ctx, h, one.Name); host.Err == nil {
			host.Protection, host.Err = a.protect(ctx, h, hosts, one.Name)
		}
		out.Hosts = append(out.Hosts, host)
	}
	return out
}
