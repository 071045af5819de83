package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// question is what is asked: a canonical name and a record type. It is also the
// key of the cache.
type question struct {
	name  string // lower case, A-labels, no final dot
	qtype uint16
}

func (q question) typeName() string { return dns.TypeToString[q.qtype] }

// ask goes over the servers, round by round, until one gives a usable reply. The
// error tells of the last round.
func (r *Resolver) ask(ctx context.Context, q question) (finding, error) {
	var failure error
	for range r.o.Attempts {
		failure = nil
		for _, server := range r.servers.order() {
			f, err := r.try(ctx, server, q)
			if err == nil {
				return f, nil
			}
			if ctx.Err() != nil {
				return finding{}, context.Cause(ctx)
			}
			err = fmt.Errorf("ask %s: %w", server, err)
			if failure != nil {
				err = fmt.Errorf("%w; %w", failure, err)
			}
			failure = err
		}
	}
	return finding{}, failure
}

// try asks one server once, and reports how it went.
func (r *Resolver) try(ctx context.Context, server string, q question) (finding, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	start := time.Now()
	secure := validates(server, r.o.TrustAD)
	query := newQuery(q, secure)
	reply, err := r.converse(ctx, server, query)
	if err == nil && refusesEDNS(reply) {
		// RFC 6891 §6.2.2: a server that does not know EDNS is asked without.
		query = newQuery(q, false)
		query.Extra = nil
		secure = false
		reply, err = r.converse(ctx, server, query)
	}
	var f finding
	if err == nil {
		f, err = examine(reply, q)
		f.authenticated = secure && reply.AuthenticatedData
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.servers.note(server, reply != nil)
		r.o.Observe(q.typeName(), result(f, err), time.Since(start))
	}
	return f, err
}

// converse asks over UDP, and over TCP when the reply was cut (RFC 7766 §5).
// Without an answer there, nothing is known: the cut reply is not used.
func (r *Resolver) converse(ctx context.Context, server string, query *dns.Msg) (*dns.Msg, error) {
	reply, err := r.o.Exchange(ctx, "udp", server, query)
	if err != nil || !reply.Truncated {
		return reply, err
	}
	reply, err = r.o.Exchange(ctx, "tcp", server, query)
	if err != nil {
		return nil, fmt.Errorf("over TCP, as the reply was cut: %w", err)
	}
	return reply, nil
}

// newQuery composes a query with a random ID. DO is set where AD would be
// believed: without DO, AD means nothing (RFC 4035 §3.2.3).
func newQuery(q question, do bool) *dns.Msg {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(q.name), q.qtype)
	return query.SetEdns0(ednsSize, do)
}

func refusesEDNS(reply *dns.Msg) bool {
	switch reply.Rcode {
	case dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers:
		return true
	default:
		return false
	}
}

// result returns the outcome of a try in the words of [Options.Observe].
func result(f finding, err error) string {
	var code rcodeError
	var network net.Error
	switch {
	case errors.As(err, &code) && int(code) == dns.RcodeServerFailure:
		return "servfail"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case err != nil:
		return "error"
	case f.missing:
		return "nxdomain"
	case len(f.records) == 0 && f.aliases == 0:
		return "nodata"
	default:
		return "ok"
	}
}
