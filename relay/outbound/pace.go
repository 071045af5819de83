package outbound

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/resolver"
)

// This file keeps attempts to the pace of the sites that they lead to.

var _ queue.Pacer = (*Outbound)(nil)

// Admit asks for an attempt to start; see [queue.Pacer].
func (o *Outbound) Admit(destination string, urgency int, again func(string) bool) (queue.Pass, bool) {
	if pass, ok := o.Pacer.Admit(destination, urgency, again); ok {
		return pass, true
	}
	return nil, false
}

// Why says what a destination waits for.
func (o *Outbound) Why(destination string) string {
	return cmp.Or(o.Pacer.Why(destination), "limit of connections or messages reached")
}

// paceHop says where a leg leads whose hosts are known.
func (a *attempt) paceHop(h hop, hosts []resolver.Host) pace.Hop {
	if h.leg.Kind == route.Host {
		return pace.Hop{Hosts: []string{h.leg.Host}, Name: h.leg.String(), Leg: h.leg.Pace}
	}
	out := pace.Hop{Domain: a.domain(h.leg), Leg: h.leg.Pace}
	for _, one := range hosts {
		if one.Preference == hosts[0].Preference {
			out.Hosts = append(out.Hosts, one.Name)
		}
	}
	slices.Sort(out.Hosts)
	out.Name = strings.Join(out.Hosts, ",")
	return out
}

// enter moves the attempt to the site of a leg. Where that has no place the attempt
// is over: it is made when there is one, unless something came of it already.
func (a *attempt) enter(h *hop, hosts []resolver.Host) bool {
	to := a.paceHop(*h, hosts)
	if !h.final && a.pass.Rests(to) {
		a.note(failure{status: smtp.EnhancedCode{4, 4, 1}, reason: "no host of " + to.Name + " could be used of late"})
		a.passed = true
		return false
	}
	if !a.pass.Move(to) {
		if len(a.left) == len(a.open) && len(a.said) == 0 {
			a.barred = true
		} else {
			a.note(failure{status: smtp.EnhancedCode{4, 4, 5}, reason: "limit of connections or messages reached at " + to.Name})
		}
		return false
	}
	h.site, h.most = a.pass.Site(), a.pass.Bounds().MessagesPerConnection
	return true
}

// learn has the window of the site follow from what came of a leg.
func (a *attempt) learn(v verdict) verdict {
	switch {
	case v == unknown:
	case a.tooMuch != "":
		// A host that takes mail from others of us has had enough for now: that is
		// a limit, and no failure of this message.
		a.barred = v == broken && a.pause == 0 && !a.pass.Alone() && len(a.left) == len(a.open) && len(a.said) == 0
		a.pass.Slow(a.tooMuch)
	case v == worked:
		a.pass.Succeed()
	case !a.asksTooMuch():
		a.pass.Fail(a.last.text())
	}
	a.tooMuch = ""
	if a.barred {
		return unknown
	}
	return v
}

// text tells a failure in a line.
func (f failure) text() string {
	if f.reply.Code != 0 {
		return fmt.Sprintf("%s said %s", f.host, f.reply)
	}
	return smtp.Printable(f.reason)
}

// shareKey tells apart sessions that mail of other domains may not use: it is "" for
// those that belong to one destination, with its login or its security.
func (h hop) shareKey() string {
	if h.leg.Kind != route.MX || h.leg.Domain != "" || h.level() != route.Opportunistic || h.secrets() || h.certificate != nil {
		return ""
	}
	return fmt.Sprint("mx ", h.terms.Hello, h.terms.Sources)
}

// runShared uses a connection that mail of another domain has opened to one of the
// hosts, if both ask for no more than any host's TLS.
func (a *attempt) runShared(ctx context.Context, h hop, hosts resolver.Hosts) ending {
	for h.shareKey() != "" && h.site != "" && ctx.Err() == nil {
		s := a.routing.pool.takeShared(h.site, func(s *session) bool {
			return s.share == h.shareKey() && slices.ContainsFunc(hosts.List, func(one resolver.Host) bool { return one.Name == s.name })
		})
		if s == nil {
			break
		}
		if !a.plain(ctx, h, hosts, s.name) {
			a.routing.pool.put(s)
			break
		}
		end, ended := a.reuse(ctx, h, s)
		if ended {
			return end
		}
	}
	return again
}

// plain reports whether a host may be used as for any other domain.
func (a *attempt) plain(ctx context.Context, h hop, hosts resolver.Hosts, name string) bool {
	if _, err := a.targets(ctx, h, name); err != nil {
		return false
	}
	protection, err := a.protect(ctx, h, hosts, name)
	return err == nil && protection.Plain()
}
