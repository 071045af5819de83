package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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
	last     failure
}

// run makes the attempt. Every way out of it has a result for each recipient.
func (a *attempt) run(ctx context.Context) queue.Outcome {
	out, done := a.runPooled(ctx)
	if !done {
		out, done = a.runLegs(ctx)
	}
	if !done {
		out = a.all(a.last.result())
		out.Unreachable = !a.reached
	}
	out.Interrupted = ctx.Err() != nil
	return out
}

// runPooled uses a connection that is still open. If it turns out to be dead,
// that says nothing about the host.
func (a *attempt) runPooled(ctx context.Context) (queue.Outcome, bool) {
	for {
		s := a.outbound.pool.take(a.delivery.Destination)
		if s == nil {
			return queue.Outcome{}, false
		}
		if out, done := a.send(ctx, s); done || ctx.Err() != nil {
			return out, done
		}
		a.last, a.reached = failure{}, false
	}
}

// runLegs goes through the legs in their order. A leg that cannot be used
// leads to the next; only when all are permanently unusable is the mail.
func (a *attempt) runLegs(ctx context.Context) (queue.Outcome, bool) {
	hopeless := true
	for _, leg := range a.route.Via {
		hosts, err := a.hosts(ctx, leg)
		if err != nil {
			a.last = failureOf("", err)
			hopeless = hopeless && a.last.permanent
			continue
		}
		out, done, err := a.runHosts(ctx, leg, hosts)
		if done {
			return out, true
		}
		hopeless = hopeless && err != nil && failureOf("", err).permanent
	}
	if hopeless && ctx.Err() == nil {
		return a.all(a.last.result()), true
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

// runHosts tries each address of each host. The error says why none of the
// hosts has an address that may be tried; it is nil when one was tried.
func (a *attempt) runHosts(ctx context.Context, leg route.Leg, hosts []string) (queue.Outcome, bool, error) {
	var unusable []error
	tried := false
	for _, host := range hosts {
		addresses, err := a.outbound.Resolver.Addresses(ctx, host)
		if err == nil && leg.Kind == route.MX {
			addresses, err = a.outbound.public(host, addresses)
		}
		if err != nil {
			unusable = append(unusable, err)
			continue
		}
		for _, address := range addresses {
			if a.tries >= maxTries || ctx.Err() != nil {
				return queue.Outcome{}, false, nil
			}
			a.tries++
			tried = true
			port := a.outbound.Port
			if leg.Kind == route.Host {
				port = leg.Port
			}
			if out, done := a.runAddress(ctx, host, netip.AddrPortFrom(address, port)); done {
				return out, true, nil
			}
		}
	}
	if tried {
		return queue.Outcome{}, false, nil
	}
	err := resolver.NoneUsable(a.open[0].Path.Domain, unusable...)
	a.last = failureOf("", err)
	return queue.Outcome{}, false, err
}

// runAddress opens a session with one address and sends the message there.
func (a *attempt) runAddress(ctx context.Context, host string, to netip.AddrPort) (queue.Outcome, bool) {
	s, err := a.outbound.connect(ctx, a.delivery.Destination, host, to, a.route)
	if err != nil {
		a.last = failureOf(hostName(host, to), err)
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
		return a.all(failureOf(s.host, err).result()), true
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
	a.last = failureOf(s.host, err)
	if err == nil && res.Local {
		a.last = failureOfReply(s.host, res.Recipients[0])
	}
	if !done {
		a.outbound.pool.put(s)
		return out, false
	}
	for _, reply := range res.Recipients {
		out.Results = append(out.Results, a.resultOf(s, reply))
	}
	a.outbound.pool.put(s)
	return out, true
}

func decided(r smtp.Reply) bool { return r.Code != 0 }

// resultOf translates the reply that decided a recipient.
func (a *attempt) resultOf(s *session, reply smtp.Reply) queue.Result {
	if !decided(reply) {
		return a.last.result()
	}
	r := queue.Result{State: queue.Deferred, Reply: reply, Status: reply.Status(), Host: s.host}
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
