package outbound

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strings"

	"waypost/queue"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
)

// verdict is what a leg came to.
type verdict uint8

const (
	// unknown: it was not found out, as the attempt was cut short.
	unknown verdict = iota
	// worked: a host took the session and answered.
	worked
	// broken: no host could be used.
	broken
)

// runLeg tries one leg for the recipients that are left.
func (a *attempt) runLeg(ctx context.Context, h hop) verdict {
	switch h.leg.Kind {
	case route.Discard:
		// Nobody takes over the duty to report, but there is nothing to tell.
		a.decideAll(queue.Result{State: queue.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Reason: "discarded, as the route says", Reported: true})
		return worked
	case route.Reject:
		a.decideAll(rejection(h.leg.Text))
		return worked
	}
	before := a.reached
	a.reached, a.passed = false, false
	end := other
	if h.leg.Kind != route.Host || a.enter(&h, nil) {
		end = a.runPooled(ctx, h)
	}
	if end == again {
		var err error
		if h, err = a.outbound.withLogin(ctx, h); err == nil {
			end = a.runHosts(ctx, h)
		} else {
			a.note(failureOf("", err))
			end = other
		}
	}
	reached := a.reached
	a.reached = reached || before
	switch {
	case end == done || reached:
		return a.learn(worked)
	case ctx.Err() != nil || a.barred || a.passed:
		return unknown
	}
	return a.learn(broken)
}

// rejection is the result of a leg that refuses, in its own words: an enhanced
// code may stand first.
func rejection(text string) queue.Result {
	r := queue.Result{State: queue.Failed, Status: smtp.EnhancedCode{5, 7, 1}, Reason: text}
	if code, rest, ok := smtp.ParseEnhanced(text); ok && code[0] == 5 {
		r.Status, r.Reason = code, strings.TrimSpace(rest)
	}
	if r.Reason == "" {
		r.Reason = "refused, as the route says"
	}
	return r
}

// runPooled uses a connection that is still open. If it turns out to be dead,
// that says nothing about the host.
func (a *attempt) runPooled(ctx context.Context, h hop) ending {
	for ctx.Err() == nil {
		s := a.routing.pool.take(h.key)
		if s == nil {
			return again
		}
		if s.site != a.pass.Site() {
			// The pass is not for there, or it is not known yet where it leads.
			a.routing.pool.put(s)
			return again
		}
		if end, ended := a.reuse(ctx, h, s); ended {
			return end
		}
	}
	return other
}

// reuse sends over a connection that was open. It has not ended where that was
// dead.
func (a *attempt) reuse(ctx context.Context, h hop, s *session) (end ending, ended bool) {
	last, failed := a.last, a.failed
	switch end := a.send(ctx, h, s); end {
	case done:
		return end, true
	case unfit:
		// It went back to the pool, and would be taken again.
		return again, true
	}
	if ctx.Err() == nil {
		a.last, a.failed, a.reached, a.tooMuch = last, failed, false, ""
	}
	return other, false
}

// runHosts tries each address of each host.
func (a *attempt) runHosts(ctx context.Context, h hop) ending {
	if h.leg.Socket != "" {
		h.protection = tlspolicy.Protection{Level: h.level()}
		return a.runTargets(ctx, h, h.leg.Socket, []Target{{Socket: h.leg.Socket}})
	}
	hosts, err := a.hosts(ctx, h)
	if err != nil {
		f := failureOf("", err)
		if h.leg.Domain != "" {
			f = f.ours()
		}
		a.note(f)
		return other
	}
	if h.leg.Kind == route.MX {
		if len(a.route.Via) == 1 {
			h.hosts = len(hosts.List)
		}
		if !a.enter(&h, hosts.List) {
			return other
		}
		if end := a.runPooled(ctx, h); end != again {
			return end
		}
		if end := a.runShared(ctx, h, hosts); end != again {
			return end
		}
	}
	var unusable []error
	tried := false
	for _, one := range hosts.List {
		host := one.Name
		targets, err := a.targets(ctx, h, host)
		if err != nil {
			unusable = append(unusable, err)
			if f := failureOf("", err); !f.permanent {
				a.note(f)
			}
			continue
		}
		if a.tries >= maxTries || ctx.Err() != nil {
			return other
		}
		tried = true
		to := h
		if to.protection, err = a.protect(ctx, h, hosts, host); err != nil {
			a.note(failureOf(host, err))
			continue
		}
		if to.protection.Why == whyOptional {
			to.key += " " + whyOptional // other mail must not use such a session
		}
		if end := a.runTargets(ctx, to, host, targets); end == done {
			return done
		}
	}
	if !tried {
		a.note(a.unusable(h.leg, unusable))
	}
	return other
}

// hosts returns the hosts of a leg, best first.
func (a *attempt) hosts(ctx context.Context, h hop) (resolver.Hosts, error) {
	if h.leg.Kind == route.Host {
		return resolver.Hosts{List: []resolver.Host{{Name: h.leg.Host}}}, nil
	}
	found, err := a.outbound.Resolver.Hosts(ctx, a.domain(h.leg))
	// RFC 8689 §4.2.1: who the mail hosts are must not be open to forgery.
	if err == nil && h.secure && !found.Authenticated && !a.outbound.Security.Promised(ctx, a.domain(h.leg)) {
		return found, unfitError(550, smtp.EnhancedCode{5, 7, 10}, "message requires TLS all the way, and the mail hosts of the domain are not authenticated")
	}
	return found, err
}

// domain is the one whose mail hosts a leg of kind MX leads to.
func (a *attempt) domain(leg route.Leg) string { return cmp.Or(leg.Domain, a.open[0].Path.Domain) }

// protect decides how sessions with a host are to be secured, once its addresses
// are known.
func (a *attempt) protect(ctx context.Context, h hop, hosts resolver.Hosts, host string) (tlspolicy.Protection, error) {
	ask := tlspolicy.Host{Level: h.level(), Name: host, Port: h.leg.Port}
	if h.leg.Kind == route.MX {
		ask.Domain, ask.Expanded = a.domain(h.leg), hosts.Domain
		ask.Authenticated, ask.Port = hosts.Authenticated, a.outbound.Port
		ask.Promised = h.secure && !hosts.Authenticated
	}
	protection, err := a.outbound.Security.Host(ctx, ask)
	if (err != nil || !protection.Plain()) && ask.Level == route.Opportunistic && a.tlsOptional() {
		return tlspolicy.Protection{Level: route.Opportunistic, ServerName: host, Why: whyOptional}, nil
	}
	return protection, err
}

// targets returns where a host may be tried. Only of hosts that strangers name
// are there addresses that may not.
func (a *attempt) targets(ctx context.Context, h hop, host string) ([]Target, error) {
	all, err := a.outbound.Resolver.Addresses(ctx, host)
	if err == nil && h.leg.Kind == route.MX && h.leg.Domain == "" {
		all, err = a.outbound.public(host, all)
	}
	if err == nil {
		all, err = a.outbound.families(host, all, h.terms.Sources)
	}
	if err != nil {
		return nil, err
	}
	port := a.outbound.Port
	if h.leg.Kind == route.Host {
		port = h.leg.Port
	}
	list := make([]Target, len(all))
	for i, address := range all {
		list[i] = Target{Addr: netip.AddrPortFrom(address, port), Source: source(h.terms.Sources, address)}
	}
	return list, nil
}

// named reports whether the configuration says where a leg leads, and not the
// recipient's domain.
func named(leg route.Leg) bool { return leg.Kind == route.Host || leg.Domain != "" }

// unusable says what it means that no host of a leg has an address that may be
// tried.
func (a *attempt) unusable(leg route.Leg, errs []error) failure {
	if named(leg) {
		return failureOf("", errors.Join(errs...)).ours()
	}
	return failureOf("", resolver.NoneUsable(a.open[0].Path.Domain, errs...))
}

// runTargets opens sessions with the addresses of one host until one takes the
// message.
func (a *attempt) runTargets(ctx context.Context, h hop, host string, targets []Target) ending {
	for len(targets) > 0 && a.tries < maxTries && ctx.Err() == nil {
		a.makeRoom(h)
		race := a.outbound.race(ctx, host, targets[:min(len(targets), maxTries-a.tries)])
		a.tries += race.tried
		for _, err := range race.errs {
			a.note(failureOf("", err))
		}
		if race.conn == nil {
			targets = targets[race.tried:]
			continue
		}
		if end := a.runTarget(ctx, h, host, race); end == done {
			return done
		}
		targets = append(race.left, targets[race.tried:]...)
	}
	return other
}

// makeRoom closes connections that nobody uses where this one would be more than
// the site may have.
func (a *attempt) makeRoom(h hop) {
	if h.site != "" {
		a.routing.pool.makeRoom(h.site, a.pass.Room())
	}
}

// runTarget sends over a new connection, and over more of them to the same
// address as long as the host takes only a part each time.
func (a *attempt) runTarget(ctx context.Context, h hop, host string, race raced) ending {
	s, err := a.outbound.connect(ctx, h, host, race.to, race.conn)
	for {
		if err != nil {
			return a.turnedAway(failureOf(race.to.name(host), err).never(h.leg, err))
		}
		if end := a.send(ctx, h, s); end != again {
			return end
		}
		s, err = a.outbound.redial(ctx, h, host, race.to)
	}
}
