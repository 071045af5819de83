package outbound

import (
	"context"
	"errors"
	"slices"
	"time"

	"waypost/queue"
	"waypost/relay/reply"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// ending is how the use of a connection ended.
type ending uint8

const (
	// done: nobody else is to be tried at this leg now.
	done ending = iota
	// other: another host may be tried.
	other
	// unfit: so may it, as this one lacks what the message needs.
	unfit
	// again: the same host takes more over another connection.
	again
)

// send sends the message over s to the recipients that are left, in as many
// transactions as the host's limit asks for (RFC 9422).
func (a *attempt) send(ctx context.Context, h hop, s *session) ending {
	a.reached = true
	queue.Reached(ctx)
	a.outbound.sizes.note(a.name, s.name, h.hosts, s.client.Extensions().MaxSize, time.Now())
	defer a.routing.pool.put(s)
	for todo := slices.Clone(a.left); len(todo) > 0; {
		n := len(todo)
		for _, limit := range []int{s.client.Extensions().MaxRecipients, a.pass.Bounds().RecipientsPerMessage} {
			if limit > 0 {
				n = min(n, limit)
			}
		}
		more, end := a.transact(ctx, h, s, todo[:n])
		if end != done {
			return end
		}
		todo = append(more, todo[n:]...)
		if len(todo) > 0 && (!s.client.Reusable() || s.worn()) {
			return again
		}
	}
	return done
}

// transact is one transaction. more are recipients that the host would rather
// have in the next one.
func (a *attempt) transact(ctx context.Context, h hop, s *session, batch []int) (more []int, end ending) {
	tx, batch, content, err := a.fit(s, batch)
	if err != nil {
		return nil, a.misfit(s, err)
	}
	if len(batch) == 0 {
		return nil, done
	}
	defer content.Close()
	a.pass.Sent(len(tx.Recipients))
	res, err := s.client.Send(ctx, tx)
	s.sent++
	why := failureOf(s.host, err).over(s.tls)
	switch {
	case res.Ambiguous:
		// RFC 1047: the host may have it. Another host must not be tried now.
		a.outbound.Metrics.AmbiguousEnds.Inc()
	case err != nil:
		e, ok := errors.AsType[*smtpclient.Error](err)
		if !(ok && e.Scope == smtpclient.ScopeTransaction) && !slices.ContainsFunc(res.Recipients, decided) {
			return nil, a.turnedAway(why)
		}
	case res.Local:
		a.note(failureOfReply(s.host, res.Recipients[0]).over(s.tls))
		return nil, unfit
	}
	return a.settle(h, s, batch, res, why), done
}

// settle gives each recipient of a transaction its result, but for those that
// have another chance.
func (a *attempt) settle(h hop, s *session, batch []int, res smtpclient.Result, why failure) (more []int) {
	taken := slices.ContainsFunc(res.Recipients, smtp.Reply.Positive)
	for at, reply := range res.Recipients {
		i := batch[at]
		switch {
		case taken && tooMany(reply):
			// RFC 5321 §4.5.3.1.10: the rest goes in another transaction.
			more = append(more, i)
		case !decided(reply):
			// What became of the session decides.
			a.refuse(i, a.ruled(why, a.open[i]))
		case reply.Positive():
			a.decide(i, queue.Result{
				State: queue.Delivered, Reply: reply, Status: reply.Status(), Host: s.host, TLS: s.tls,
				Reported: s.client.Extensions().DSN, Relayed: a.tellsRelayed(s),
			})
		default:
			f := a.ruled(failure{host: s.host, tls: s.tls, permanent: reply.Permanent(), status: reply.Status(), reply: reply}, a.open[i])
			if h.final || res.Ambiguous || !leadsOn(h, f) {
				a.refuse(i, f)
				continue
			}
			if a.said == nil {
				a.said = map[int]failure{}
			}
			a.said[i] = f
		}
	}
	return more
}

// leadsOn reports whether the next leg is to be tried after a refusal.
func leadsOn(h hop, f failure) bool {
	return f.rule != nil && f.rule.Action == reply.NextLeg || reply.MatchAny(h.route.FailOver, f.reply)
}

// turnedAway deals with a host that refused the session, or lost it: another one
// may be tried, unless a rule says that this is the end of it.
func (a *attempt) turnedAway(f failure) ending {
	if f = a.ruled(f, a.open[a.left[0]]); f.rule != nil && f.rule.Action == reply.Bounce {
		for _, i := range a.left {
			a.conclude(i, f)
		}
		a.left, a.reached = nil, true
		return done
	}
	// RFC 5321 §4.2.2: a host that is closing, or has too many of us.
	if f.reply.Code == 421 {
		a.tooMuch = f.text()
	}
	a.note(f)
	return other
}

// tooMany reports whether a host has enough recipients for one transaction. By an
// old mistake some say so with 552 (RFC 5321 §4.5.3.1.10).
func tooMany(r smtp.Reply) bool {
	class := r.Code / 100
	return (r.Code == 452 || r.Code == 552) && (r.Enhanced == smtp.EnhancedCode{} || r.Enhanced == smtp.EnhancedCode{class, 5, 3})
}

func decided(r smtp.Reply) bool { return r.Code != 0 }

// misfit deals with a message that cannot be sent over s. Another host may take
// it, unless it could not be read.
func (a *attempt) misfit(s *session, err error) ending {
	f := failureOf(s.host, err).over(s.tls)
	if _, ok := errors.AsType[refusal](err); ok {
		a.note(f)
		return unfit
	}
	a.decideAll(f.result())
	return done
}
