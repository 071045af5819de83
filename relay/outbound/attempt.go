package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"waypost/queue"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
	"waypost/resolver"
)

// maxTries bounds the connections of one attempt, whatever DNS says.
const maxTries = 10

// attempt is one message on its way to one destination.
type attempt struct {
	outbound *Outbound
	message  *queue.Message
	delivery *queue.Delivery
	open     []*queue.Recipient
	route    *route.Route
	tries    int
	reached  bool // a host took a session
	unfit    bool // a host lacks what the message needs
	last     failure
	failed   bool // last is set
}

// run makes the attempt. Every way out of it has a result for each recipient.
func (a *attempt) run(ctx context.Context) queue.Outcome {
	start := time.Now()
	out, done := a.runPooled(ctx)
	if !done {
		out, done = a.runLegs(ctx)
	}
	if !done {
		out = a.giveUp(ctx)
	}
	out.Interrupted = ctx.Err() != nil
	for i := range out.Results {
		out.Results[i].Duration = time.Since(start)
	}
	return out
}

// giveUp is the outcome when no way led anywhere.
func (a *attempt) giveUp(ctx context.Context) queue.Outcome {
	if ctx.Err() != nil {
		// There may have been more ways.
		a.note(failureOf("", fmt.Errorf("attempt cut short: %w", context.Cause(ctx))))
	}
	out := a.all(a.last.result())
	out.Unreachable = !a.reached && !a.last.permanent
	return out
}

// note remembers why a way did not lead anywhere. One that may open later
// outweighs those that never will: the mail fails only when every way is
// barred for good.
func (a *attempt) note(f failure) {
	if a.failed && f.permanent && !a.last.permanent {
		return
	}
	a.last, a.failed = f, true
}

// runPooled uses a connection that is still open. If it turns out to be dead,
// that says nothing about the host.
func (a *attempt) runPooled(ctx context.Context) (queue.Outcome, bool) {
	for {
		s := a.outbound.pool.take(a.delivery.Destination)
		if s == nil {
			return queue.Outcome{}, false
		}
		out, done := a.send(ctx, s)
		if done || ctx.Err() != nil {
			return out, done
		}
		a.last, a.failed, a.reached = failure{}, false, false
		if a.unfit {
			// It went back to the pool, and would be taken again.
			return queue.Outcome{}, false
		}
	}
}

// runLegs goes through the legs in their order. A leg that cannot be used
// leads to the next.
func (a *attempt) runLegs(ctx context.Context) (queue.Outcome, bool) {
	for _, leg := range a.route.Via {
		hosts, err := a.hosts(ctx, leg)
		if err != nil {
			a.note(failureOf("", err))
			continue
		}
		if out, done := a.runHosts(ctx, leg, hosts); done {
			return out, true
		}
	}
	return queue.Outcome{}, false
}

// hosts returns the hosts of a leg, best first.
func (a *attempt) hosts(ctx context.Context, leg route.Leg) ([]string, error) {
	if leg.Kind == route.Host {
		return []string{leg.Host}, nil
	}
	found, err := a.outbound.Resolver.Hosts(ctx, a.open[0].Path.Domain)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(found.List))
	for i, h := range found.List {
		names[i] = h.Name
	}
	return names, nil
}

// runHosts tries each address of each host.
func (a *attempt) runHosts(ctx context.Context, leg route.Leg, hosts []string) (queue.Outcome, bool) {
	var unusable []error
	tried := false
	for _, host := range hosts {
		addresses, err := a.addresses(ctx, leg, host)
		if err != nil {
			unusable = append(unusable, err)
			if f := failureOf("", err); !f.permanent {
				a.note(f)
			}
			continue
		}
		for _, address := range addresses {
			if a.tries >= maxTries || ctx.Err() != nil {
				return queue.Outcome{}, false
			}
			a.tries++
			tried = true
			port := a.outbound.Port
			if leg.Kind == route.Host {
				port = leg.Port
			}
			if out, done := a.runAddress(ctx, host, netip.AddrPortFrom(address, port)); done {
				return out, true
			}
		}
	}
	if !tried {
		a.note(a.unusable(leg, unusable))
	}
	return queue.Outcome{}, false
}

// addresses returns the addresses of a host that may be tried.
func (a *attempt) addresses(ctx context.Context, leg route.Leg, host string) ([]netip.Addr, error) {
	all, err := a.outbound.Resolver.Addresses(ctx, host)
	if err != nil || leg.Kind == route.Host {
		return all, err
	}
	return a.outbound.public(host, all)
}

// unusable says what it means that no host of a leg has an address that may be
// tried.
func (a *attempt) unusable(leg route.Leg, errs []error) failure {
	if leg.Kind == route.Host {
		return failureOf("", errors.Join(errs...)).ours()
	}
	return failureOf("", resolver.NoneUsable(a.open[0].Path.Domain, errs...))
}

// runAddress opens a session with one address and sends the message there.
func (a *attempt) runAddress(ctx context.Context, host string, to netip.AddrPort) (queue.Outcome, bool) {
	s, err := a.outbound.connect(ctx, a.delivery.Destination, host, to, a.route)
	if err != nil {
		a.note(failureOf(hostName(host, to), err))
		return queue.Outcome{}, false
	}
	return a.send(ctx, s)
}

// send sends the message over s. done is false when another host may be tried.
func (a *attempt) send(ctx context.Context, s *session) (out queue.Outcome, done bool) {
	a.reached = true
	content, err := a.message.Content()
	if err != nil {
		a.outbound.pool.put(s)
		return a.all(failureOf(s.host, err).over(s.tls).result()), true
	}
	defer content.Close()
	res, err := s.client.Send(ctx, a.transaction(content))
	s.sent++
	switch {
	case res.Ambiguous:
		// RFC 1047: the host may have it. Another host must not be tried now.
		a.outbound.Metrics.AmbiguousEnds.Inc()
		done = true
	case err != nil:
		e, ok := errors.AsType[*smtpclient.Error](err)
		done = ok && e.Scope == smtpclient.ScopeTransaction || slices.ContainsFunc(res.Recipients, decided)
	default:
		done = !res.Local
	}
	why := failureOf(s.host, err).over(s.tls)
	if err == nil && res.Local {
		a.unfit = true
		why = failureOfReply(s.host, res.Recipients[0]).over(s.tls)
	}
	if !done {
		a.note(why)
		a.outbound.pool.put(s)
		return out, false
	}
	for _, reply := range res.Recipients {
		out.Results = append(out.Results, resultOf(s, reply, why))
	}
	a.outbound.pool.put(s)
	return out, true
}

func decided(r smtp.Reply) bool { return r.Code != 0 }

// resultOf translates the reply that decided a recipient. Without one, what
// became of the session decides.
func resultOf(s *session, reply smtp.Reply, why failure) queue.Result {
	if !decided(reply) {
		return why.result()
	}
	r := queue.Result{State: queue.Deferred, Reply: reply, Status: reply.Status(), Host: s.host, TLS: s.tls}
	switch {
	case reply.Positive():
		r.State, r.Reported = queue.Delivered, s.client.Extensions().DSN
	case reply.Permanent():
		r.State = queue.Failed
	}
	return r
}

// all gives every open recipient the same result.
func (a *attempt) all(r queue.Result) queue.Outcome {
	return queue.Outcome{Results: slices.Repeat([]queue.Result{r}, len(a.open))}
}

// transaction writes the envelope for the client.
func (a *attempt) transaction(content reader) smtpclient.Transaction {
	m := a.message
	tx := smtpclient.Transaction{
		ReversePath: m.ReversePath, Size: m.Size, EightBit: m.EightBit, UTF8: m.UTF8,
		Return: m.Return, EnvelopeID: smtp.Xtext(m.EnvelopeID), Content: content,
	}
	for _, r := range a.open {
		tx.Recipients = append(tx.Recipients, smtpclient.Recipient{Path: r.Path, Notify: r.Notify, OriginalRecipient: r.OriginalRecipient})
	}
	return tx
}

// hostName is how a host stands in logs and reports: "name[address]:port".
func hostName(host string, to netip.AddrPort) string {
	return fmt.Sprintf("%s[%s]:%d", host, to.Addr(), to.Port())
}
