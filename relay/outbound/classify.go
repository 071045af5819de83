package outbound

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"waypost/queue"
	"waypost/relay/reply"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
)

// failure is an error as it matters to a recipient. This file is the one place
// that says which errors are permanent; the zero value is not.
type failure struct {
	host      string
	tls       string
	permanent bool
	status    smtp.EnhancedCode
	reply     smtp.Reply
	reason    string
	rule      *reply.Rule // that was met; nil for none
}

func (f failure) result() queue.Result {
	r := queue.Result{State: queue.Deferred, Reply: f.reply, Reason: f.reason, Status: f.status, Host: f.host, TLS: f.tls}
	if f.permanent {
		r.State = queue.Failed
	}
	return r
}

// failureOf classifies an error of a look-up, a connection or a session.
func failureOf(host string, err error) failure {
	if err == nil {
		return failure{host: host}
	}
	if r, ok := errors.AsType[refusal](err); ok {
		return failureOfReply(host, r.reply)
	}
	f := failure{host: host, reason: shortened(err.Error()), status: smtp.EnhancedCode{4, 4, 1}}
	if tlspolicy.IsSecurity(err) {
		// X.7.5 (RFC 3463 §3.8) is for what cryptography does not confirm.
		f.status = smtp.EnhancedCode{4, 7, 5}
		return f
	}
	if dns, ok := errors.AsType[*resolver.Error](err); ok {
		f.permanent, f.status = dns.Permanent(), dns.Enhanced
		return f
	}
	if session, ok := errors.AsType[*smtpclient.Error](err); ok {
		// A host that refuses us as such, with whatever code, refuses us and
		// not the mail: only what it says to MAIL and later is about that.
		f.permanent, f.status, f.reply = session.Permanent(), session.Status(), session.Reply
		return f
	}
	if _, ok := errors.AsType[loginError](err); ok {
		f.status = smtp.EnhancedCode{4, 7, 0}
	}
	if errors.Is(err, queue.ErrDamaged) {
		f.status = smtp.EnhancedCode{4, 3, 0}
	}
	return f
}

// maxReason bounds what is kept of an error, in octets. Strangers have a part in
// some: the names in a certificate stand in the error that none of them is right.
const maxReason = 2 << 10

func shortened(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return reason[:maxReason] + " [shortened]"
}

// never makes a failure permanent where a host greeted with 521, by which it says
// that it never takes mail (RFC 7504 §3): other hosts may, and when none does there
// is nothing to wait for. Some say so to whom they have on a list (X.7.Z), which is
// no statement about the host.
func (f failure) never(leg route.Leg, err error) failure {
	e, ok := errors.AsType[*smtpclient.Error](err)
	if ok && e.Stage == smtpclient.StageGreeting && e.Reply.Code == 521 && e.Reply.Enhanced[1] != 7 && !named(leg) {
		f.permanent, f.status = true, smtp.EnhancedCode{5, e.Reply.Enhanced[1], e.Reply.Enhanced[2]}
		if e.Reply.Enhanced == (smtp.EnhancedCode{}) {
			f.status = smtp.EnhancedCode{5, 3, 2}
		}
	}
	return f
}

// over notes how the session was protected in which it came to this.
func (f failure) over(tls string) failure {
	f.tls = tls
	return f
}

// ours makes temporary what was found out about a next hop that the
// configuration names: its mistakes must not bounce the mail of others.
func (f failure) ours() failure {
	if f.permanent {
		f.permanent, f.status = false, smtp.EnhancedCode{4, 4, 4}
	}
	return f
}

// ruled lets the reply rules have their say about what a host said to a
// recipient, or to all of them.
func (a *attempt) ruled(f failure, to *queue.Recipient) failure {
	host, _, _ := strings.Cut(f.host, "[")
	f.rule = a.outbound.replies.Load().Match(&reply.Refusal{Reply: f.reply, Host: host, Domain: to.Path.DomainKey()})
	if f.rule == nil {
		return f
	}
	switch {
	case f.rule.Action == reply.Defer && f.permanent:
		f.permanent, f.status[0] = false, 4
	case f.rule.Action == reply.Bounce && !f.permanent:
		f.permanent, f.status[0] = true, 5
	}
	a.met(f)
	return f
}

// met notes that a rule was met, and tells it once for an attempt.
func (a *attempt) met(f failure) {
	a.pause = max(a.pause, f.rule.Pause)
	if f.rule.Slow {
		a.tooMuch = f.text()
	}
	a.outbound.Metrics.ReplyRules.WithLabelValues(f.rule.Name).Inc()
	if effect := f.rule.String(); effect != "" && !slices.Contains(a.rules, f.rule) {
		a.rules = append(a.rules, f.rule)
		a.outbound.Log.Info("reply rule", "queue_id", a.message.ID.String(), "next_hop", a.delivery.Destination, "host", f.host,
			"rule", f.rule.Name, "effect", effect, "reply", f.reply.String())
	}
}

// failureOfReply makes a failure of a reply of our own, for want of an
// extension: no host said it, so it is told as a reason.
func failureOfReply(host string, r smtp.Reply) failure {
	return failure{host: host, permanent: r.Permanent(), status: r.Status(), reason: strings.Join(r.Lines, " ")}
}

// errPrivate means that DNS leads where mail for the internet does not go.
var errPrivate = errors.New("only loopback, private or reserved addresses")

// public leaves out the addresses that a host found by MX may not have. Who
// controls a zone must not be able to point us at our own network.
func (o *Outbound) public(host string, all []netip.Addr) ([]netip.Addr, error) {
	return Public(host, all, o.AllowPrivate)
}

// Public leaves out the addresses that are loopback, private or reserved, but for
// those in the networks that are allowed. That none is left is an error.
func Public(host string, all []netip.Addr, allow []netip.Prefix) ([]netip.Addr, error) {
	allowed := all[:0:0]
	for _, a := range all {
		if !reserved(a) || slices.ContainsFunc(allow, func(n netip.Prefix) bool { return n.Contains(a.Unmap()) }) {
			allowed = append(allowed, a)
		}
	}
	if len(allowed) == 0 {
		return nil, &resolver.Error{Kind: resolver.NoAddress, Name: host, Enhanced: [3]int{5, 4, 4}, Err: errPrivate}
	}
	return allowed, nil
}

// special are the networks that reserved refuses besides those that netip
// knows (RFC 6890 and its registries).
var special = mustPrefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "64:ff9b:1::/48", "100::/64", "fec0::/10")

// embedding are the networks whose addresses contain an IPv4 address, and the
// octet at which it begins.
var embedding = []struct {
	network netip.Prefix
	at      int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 12},
}

func mustPrefixes(all ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// reserved reports whether a is not an address of a host on the internet.
func reserved(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return true
	}
	for _, network := range special {
		if network.Contains(a) {
			return true
		}
	}
	for _, e := range embedding {
		if b := a.As16(); a.Is6() && e.network.Contains(a) {
			return reserved(netip.AddrFrom4([4]byte(b[e.at : e.at+4])))
		}
	}
	return false
}
