package outbound

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"waypost/queue"
	"waypost/relay/account"
	"waypost/relay/pace"
	"waypost/relay/reply"
	"waypost/relay/route"
	"waypost/relay/sevenbit"
	"waypost/relay/smtp"
	"waypost/relay/tlspolicy"
)

// maxTries bounds the connections of one attempt, whatever DNS says.
const maxTries = 10

// attempt is one message on its way to one destination.
type attempt struct {
	outbound *Outbound
	message  *queue.Message
	delivery *queue.Delivery
	open     []*queue.Recipient
	routing  *routing
	route    *route.Route
	lot      uint64          // by which legs of equal rank are drawn
	name     string          // of the destination, whatever the lot
	results  []queue.Result  // one for each of open; State is Queued while it is not known
	waits    []time.Duration // until the next attempt, one for each of open; 0 is as usual
	left     []int           // which of open have no result yet
	said     map[int]failure
	scanned  *sevenbit.Info // nil until a conversion was thought of
	kept     bool           // the message has a content
	optional *bool          // see tlsOptional; nil until it was thought of
	tries    int
	reached  bool // a host took a session
	probe    bool // nothing is to be sent, see Verify
	last     failure
	failed   bool          // last is set
	rules    []*reply.Rule // that were met
	pause    time.Duration // how long the destination is to be left alone
	pass     *pace.Pass    // nil where nobody counts
	passed   bool          // the leg was passed by, as its site rests
	barred   bool          // a limit is reached, so that there is no attempt
	tooMuch  string        // what a host said that has enough from us for now
}

func newAttempt(o *Outbound, m *queue.Message, d *queue.Delivery) *attempt {
	a := &attempt{outbound: o, routing: o.routing.Load(), message: m, delivery: d}
	for i := range d.Recipients {
		if d.Recipients[i].State.Open() {
			a.left = append(a.left, len(a.open))
			a.open = append(a.open, &d.Recipients[i])
		}
	}
	a.results, a.waits = make([]queue.Result, len(a.open)), make([]time.Duration, len(a.open))
	a.route = a.routing.lookup(&m.Envelope, a.open[0])
	a.lot, a.name = lotOf(a.route, &m.Envelope), a.route.Name(a.open[0].Path)
	return a
}

// together reports whether all recipients go the way of the first one: routes may
// have changed since the queue saw to that, which does so again before the next
// attempt.
func (a *attempt) together() bool {
	return !slices.ContainsFunc(a.open[1:], func(r *queue.Recipient) bool {
		return a.routing.lookup(&a.message.Envelope, r).Name(r.Path) != a.name
	})
}

// run makes the attempt. Every way out of it has a result for each recipient.
func (a *attempt) run(ctx context.Context) queue.Outcome {
	start := time.Now()
	a.runSafely(ctx)
	if a.barred && ctx.Err() == nil {
		return queue.Outcome{Results: a.results, Waits: true}
	}
	if ctx.Err() != nil && len(a.left) > 0 {
		// There may have been more ways.
		a.note(failureOf("", fmt.Errorf("attempt cut short: %w", context.Cause(ctx))))
	}
	unreachable := !a.reached && len(a.left) == len(a.open) && !a.last.permanent && !a.asksTooMuch()
	for _, i := range a.left {
		a.conclude(i, a.why(i))
	}
	for i := range a.results {
		a.results[i].Duration = time.Since(start)
	}
	out := queue.Outcome{Results: a.results, Unreachable: unreachable, Interrupted: ctx.Err() != nil, RetryAfter: a.retryAfter(), Pause: a.pause}
	if unreachable {
		// What refuses one session refuses the next one too.
		out.Pause = max(a.pause, out.RetryAfter)
	}
	return out
}

// runSafely goes through the legs. A fault of ours, which what a host or a message
// says may have led to, ends this attempt and no other: the mail waits, and what is
// known of recipients stays.
func (a *attempt) runSafely(ctx context.Context) {
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		a.outbound.Metrics.AttemptPanics.Inc()
		a.outbound.Log.Error("panic in an attempt", "queue_id", a.message.ID.String(), "next_hop", a.delivery.Destination,
			"panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
		a.note(failure{status: smtp.EnhancedCode{4, 3, 0}, reason: "a fault of the program ended the attempt"})
		a.reached, a.barred = true, false // it says nothing about the destination
	}()
	a.runLegs(ctx)
}

// conclude gives a recipient the result of a failure.
func (a *attempt) conclude(i int, f failure) {
	a.results[i] = f.result()
	if f.rule != nil {
		a.waits[i] = f.rule.Wait(f.reply, a.delivery.Attempts)
	}
}

// retryAfter returns how long to wait with the next attempt when every recipient
// that is deferred was deferred by a reply that says so: the longest of these
// waits. Zero leaves it to the usual intervals.
func (a *attempt) retryAfter() time.Duration {
	var longest time.Duration
	for i := range a.results {
		if a.results[i].State != queue.Deferred {
			continue
		}
		if a.waits[i] == 0 {
			return 0
		}
		longest = max(longest, a.waits[i])
	}
	return longest
}

// runLegs goes through the legs in their order, until no recipient is left. A
// leg that failed of late is left out as long as another one works.
func (a *attempt) runLegs(ctx context.Context) {
	var closed []hop
	for n, i := range a.route.Order(a.lot) {
		if len(a.left) == 0 || ctx.Err() != nil || a.barred {
			return
		}
		if h := a.hop(i, n); a.outbound.breakers.allow(h) {
			a.tryLeg(ctx, h)
		} else {
			closed = append(closed, h)
		}
	}
	for _, h := range closed {
		if len(a.left) == 0 || ctx.Err() != nil || a.reached || a.barred {
			return
		}
		a.tryLeg(ctx, h)
	}
}

// tryLeg tries a leg and notes what came of it.
func (a *attempt) tryLeg(ctx context.Context, h hop) {
	came := unknown
	defer func() { a.outbound.breakers.note(h, came) }()
	came = a.runLeg(ctx, h)
}

// hop is one leg as this attempt uses it.
type hop struct {
	// key names what connections and troubles are kept under.
	key   string
	route *route.Route
	terms *route.Terms
	leg   route.Leg
	final bool // no other leg comes after it
	// hosts is how many hosts there are to choose from in all; 0 is not known.
	hosts int
	// site is where the leg leads, once that is known, and most how many messages
	// one connection there carries.
	site string
	most int
	// secure says that nothing may leave but under TLS, to a host that is known
	// to be the right one (RFC 8689 §4.2.1).
	secure bool
	// protection is how sessions with the host that is being tried are secured.
	protection tlspolicy.Protection
	// account is what to log in with; nil when it is what the route says, or
	// not at all. login and certificate are what it shows to the host.
	account     *account.Account
	login       account.Login
	certificate *tls.Certificate
	renewed     bool // login is new, as the one before was refused
}

// level returns how connections are secured at least.
func (h hop) level() route.TLS {
	if h.secure {
		return route.Verified
	}
	return h.terms.TLS
}

// hop is leg i, as the nth that is tried.
func (a *attempt) hop(i, n int) hop {
	terms := a.route.TermsOf(i)
	h := hop{key: a.name, route: a.route, terms: terms, account: a.routing.accounts[terms.Account], leg: a.route.Via[i], final: n == len(a.route.Via)-1}
	if len(a.route.Via) > 1 {
		h.key = a.route.Key(i, a.open[0].Path)
	} else if h.leg.Kind == route.Host {
		h.hosts = 1
	}
	if a.requiresTLS() && h.leg.Socket == "" {
		h.secure = true
		h.key += " REQUIRETLS"
	}
	return h
}

// note remembers why a way did not lead anywhere. One that may open later
// outweighs those that never will: the mail fails only when every way is
// barred for good.
func (a *attempt) note(f failure) {
	f = a.patient(f)
	if a.failed && f.permanent && !a.last.permanent {
		return
	}
	a.last, a.failed = f, true
}

// why says why a recipient has no result: what a host said of it and the route
// did not take for an answer, unless a way may open later.
func (a *attempt) why(i int) failure {
	f, ok := a.said[i]
	if !ok || a.failed && f.permanent && !a.last.permanent {
		return a.last
	}
	return f
}

// decide gives a recipient its result.
func (a *attempt) decide(i int, r queue.Result) {
	a.results[i] = r
	a.finish(i)
}

// refuse gives a recipient the result of a failure.
func (a *attempt) refuse(i int, f failure) {
	a.conclude(i, f)
	a.finish(i)
}

// finish takes a recipient off those that are left.
func (a *attempt) finish(i int) {
	for at, left := range a.left {
		if left == i {
			a.left = append(a.left[:at:at], a.left[at+1:]...)
			return
		}
	}
}

// decideAll gives every recipient that is left the same result.
func (a *attempt) decideAll(r queue.Result) {
	for _, i := range a.left {
		a.results[i] = r
	}
	a.left, a.reached = nil, true
}

// hostName is how a host stands in logs and reports: "name[address]:port".
func hostName(host string, to netip.AddrPort) string {
	return fmt.Sprintf("%s[%s]:%d", host, to.Addr(), to.Port())
}
