package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/configs"
	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/alias"
	"waypost/relay/control"
	"waypost/relay/outbound"
	"waypost/relay/pace"
	"waypost/relay/policy"
	"waypost/relay/recipient"
	"waypost/relay/route"
	"waypost/relay/smtp"
)

// Explain says what would become of a message, by a configuration that nobody
// runs.
func Explain(ctx context.Context, c *configs.Config, q *control.Question) (*control.Explanation, error) {
	r := &Relay{config: c, log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry(), rules: rules(c)}
	r.metrics = metrics.New(r.registry)
	// Policies on disk belong to the one that runs.
	out, err := r.newOutbound("")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r.outbound = out
	if r.checker, err = r.recipients(c); err != nil {
		return nil, err
	}
	aliases, err := r.readAliases(c)
	if err != nil {
		return nil, err
	}
	r.aliases.Store(aliases)
	keys, err := r.signingKeys(c)
	if err != nil {
		return nil, err
	}
	keys.Look(ctx)
	r.keys.Store(keys)
	return r.Explain(ctx, q)
}

// Explain says what would become of a message, by what runs. It asks the same
// rules, routes and DNS servers as a real message does.
func (r *Relay) Explain(ctx context.Context, q *control.Question) (*control.Explanation, error) {
	r.mu.Lock()
	e := &explainer{relay: r, config: r.config, rules: r.rules, checker: r.checker, aliases: r.aliases.Load(), ask: q.Client != "" || q.Login != "" || q.Submission || q.Size > 0}
	r.mu.Unlock()
	if err := e.read(q); err != nil {
		return nil, err
	}
	out := &control.Explanation{}
	if e.ask {
		out.Decision = e.sender(ctx, q.Size)
	}
	if !e.ask || e.rules.Trusted(e.client) {
		out.Signed, out.Unsigned = r.keys.Load().Explain(e.from.Domain)
	}
	for _, path := range e.recipients {
		out.Recipients = append(out.Recipients, e.named(ctx, path)...)
	}
	return out, nil
}

// explainer is one question.
type explainer struct {
	relay      *Relay
	config     *configs.Config
	rules      *policy.Rules
	checker    *recipient.Checker
	aliases    *alias.File
	ask        bool // whether it may be sent
	client     policy.Client
	from       smtp.Path
	recipients []smtp.Path
	connect    bool // whether hosts are to be greeted
	submission bool // the listener's mode
	size       int64
}

func (e *explainer) read(q *control.Question) (err error) {
	if len(q.Recipients) == 0 || len(q.Recipients) > 100 {
		return control.BadQuestion("there must be 1 to 100 recipients")
	}
	if q.Connect && len(q.Recipients) > 10 {
		return control.BadQuestion("there must be 1 to 10 recipients whose hosts are to be greeted")
	}
	e.client.Login, e.size, e.connect, e.submission = q.Login, q.Size, q.Connect, q.Submission
	if q.Client != "" {
		if e.client.Addr, err = netip.ParseAddr(q.Client); err != nil {
			return control.BadQuestion("%.80q is not the IP address of a client", q.Client)
		}
	}
	if q.From != "" && q.From != "<>" {
		if e.from, err = smtp.SplitPath(q.From, true); err != nil {
			return control.BadQuestion("%.80q is not a sender's address: %v", q.From, err)
		}
	}
	for _, to := range q.Recipients {
		path, err := smtp.SplitPath(to, true)
		if err != nil || path.IsNull() {
			return control.BadQuestion("%.80q is not a recipient's address", to)
		}
		e.recipients = append(e.recipients, path)
	}
	return nil
}

// sender decides what is decided at MAIL.
func (e *explainer) sender(ctx context.Context, size int64) *control.ExplainedDecision {
	if limit := int64(e.config.Limits.MessageSize); limit > 0 && size > limit {
		return &control.ExplainedDecision{
			Reason: fmt.Sprintf("limits.message_size is %d octets", limit), Place: e.config.Place("limits.message_size"),
			Reply: "552 5.3.4 Message too large",
		}
	}
	if e.submission {
		if d := e.rules.Submit(e.client); !d.Allowed {
			return decision(d)
		}
		if d := e.rules.QualifiedSender(e.from, e.aliases.Table().IsLocal(e.from)); !d.Allowed {
			return decision(d)
		}
	}
	if d := e.rules.Sender(e.client, e.from); !d.Allowed || e.from.IsNull() {
		return decision(d)
	} else if known := e.checker.CheckSender(ctx, e.from); known.Allowed {
		return decision(d)
	} else {
		return decision(known)
	}
}

func decision(d policy.Decision) *control.ExplainedDecision {
	out := &control.ExplainedDecision{Allowed: d.Allowed, Reason: d.Reason, Place: d.Place}
	if !d.Allowed {
		out.Reply = d.Reply.String()
	}
	return out
}

// named explains a recipient, and those that it is an alias for.
func (e *explainer) named(ctx context.Context, path smtp.Path) []control.ExplainedRecipient {
	a, ok := e.aliases.Table().Expand(path)
	if !ok {
		one := e.recipient(ctx, path)
		one.Decision = e.relaying(path)
		if path.Domain == "" {
			path.Domain = e.config.Hostname
		}
		if e.ask && one.Decision.Allowed {
			e.deliverable(ctx, path, one.Decision)
		}
		return []control.ExplainedRecipient{one}
	}
	explained := &control.ExplainedAlias{Name: a.Name, Place: fmt.Sprintf("%s:%d", e.aliases.Name, a.Row)}
	all := []control.ExplainedRecipient{{
		Address: path.String(), Decision: e.relaying(path), Alias: explained,
		NextHops: []control.ExplainedHop{}, Replies: []control.ExplainedReply{}, RetrySeconds: []float64{},
	}}
	for _, m := range a.Members {
		explained.Members = append(explained.Members, m.Path.String())
		of := *e
		if !m.Owner.IsNull() {
			of.from = m.Owner
			if owner := m.Owner.String(); !slices.Contains(explained.Owners, owner) {
				explained.Owners = append(explained.Owners, owner)
			}
		}
		all = append(all, of.recipient(ctx, m.Path))
	}
	return all
}

// relaying decides what is decided at RCPT; nil where nobody asked.
func (e *explainer) relaying(path smtp.Path) *control.ExplainedDecision {
	if !e.ask {
		return nil
	}
	if e.submission {
		if d := e.rules.QualifiedRecipient(path, e.aliases.Table().IsLocal(path)); !d.Allowed {
			return decision(d)
		}
	}
	return decision(e.rules.Relay(e.client, path))
}

func (e *explainer) recipient(ctx context.Context, path smtp.Path) control.ExplainedRecipient {
	out := control.ExplainedRecipient{Address: path.String()}
	if path.Domain == "" {
		path.Domain = e.config.Hostname
	}
	out.Class, _ = policyClasses(e.config).Sort(&policy.Mail{Sender: e.from, Recipients: []smtp.Path{path}, Client: e.client})
	plan := e.relay.outbound.Explain(ctx, &queue.Envelope{ReversePath: e.from, Login: e.client.Login, Class: out.Class}, &queue.Recipient{Path: path}, e.connect)
	out.Destination = plan.Destination
	if i := plan.Route.Index; i > 0 && i <= len(e.config.Routes) {
		out.Route = fmt.Sprintf("route[%d]", i-1)
		out.RoutePlace, out.Username = e.config.Place(out.Route), e.config.Routes[i-1].Username
	}
	out.PausedUntil = e.pausedUntil(plan.Destination, out.Class)
	for i, leg := range plan.Legs {
		hop := e.nextHop(leg)
		e.terms(&hop, &plan, i)
		if hop.Destination != "" {
			hop.PausedUntil = e.pausedUntil(hop.Destination, out.Class)
		}
		out.NextHops = append(out.NextHops, hop)
	}
	for i, rule := range plan.Replies {
		explained := control.ExplainedReply{Rule: rule.Name, Effect: rule.String()}
		if i < plan.ConfiguredReplies {
			explained.Place = e.config.Place(e.replyKey(rule.Name))
		}
		out.Replies = append(out.Replies, explained)
	}
	e.schedule(&out)
	return out
}

// pausedUntil is when a destination is tried again; nil where it is not paused.
func (e *explainer) pausedUntil(destination, class string) *time.Time {
	if e.relay.queue == nil {
		return nil
	}
	until := e.relay.queue.WaitsUntil(&queue.Delivery{Destination: destination, Class: class}).UTC()
	if !until.After(time.Now()) {
		return nil
	}
	return &until
}

// terms adds how mail is handed over at a leg.
func (e *explainer) terms(out *control.ExplainedHop, plan *outbound.Plan, i int) {
	leg := plan.Legs[i]
	if leg.Share < 1 {
		out.Weight, out.Share = leg.Leg.Weight, leg.Share
	}
	if leg.Destination != plan.Destination {
		out.Destination = leg.Destination
	}
	out.Hello = leg.Terms.Hello
	for _, a := range leg.Terms.Sources {
		out.SourceAddresses = append(out.SourceAddresses, a.String())
	}
	if at := plan.Route.Index - 1; at >= 0 && at < len(e.config.Routes) && i < len(e.config.Routes[at].Via) {
		out.Place = e.config.Place(legName(at, i))
		out.Username = e.config.Routes[at].At(i).Username
	}
}

// replyKey is the key of a rule about refusals.
func (e *explainer) replyKey(name string) string {
	at := slices.IndexFunc(e.config.Replies, func(r configs.Reply) bool { return r.Name == name })
	return fmt.Sprintf("reply[%d]", at)
}

// deliverable adds to a decision what is known of the recipient.
func (e *explainer) deliverable(ctx context.Context, path smtp.Path, so *control.ExplainedDecision) {
	envelope := &queue.Envelope{ReversePath: e.from, Login: e.client.Login}
	d := e.checker.Explain(ctx, recipient.Question{Envelope: envelope, Path: path, Relayed: e.rules.Relayed(path), Size: e.size})
	if !d.Allowed {
		*so = *decision(d)
	} else if d.Reason != "" {
		so.Reason += ", " + d.Reason
	}
}

// schedule says when a recipient would be tried again.
func (e *explainer) schedule(out *control.ExplainedRecipient) {
	retry := retryPolicy(e.config)
	for _, class := range queueClasses(e.config) {
		if class.Name == out.Class {
			retry = class.Retry
		}
	}
	for _, d := range retry.Intervals {
		out.RetrySeconds = append(out.RetrySeconds, d.Seconds())
	}
	out.LifetimeSeconds, out.WarnAfterSeconds = retry.Lifetime.Seconds(), retry.WarnAfter.Seconds()
}

// paceOf says how fast mail may leave where a destination leads; nil where that is
// not known.
func (r *Relay) paceOf(destination string) *control.ExplainedPace {
	state, known := r.outbound.Pacer.Standing(destination)
	if !known {
		return nil
	}
	r.mu.Lock()
	e := &explainer{relay: r, config: r.config}
	r.mu.Unlock()
	return e.pace(&state)
}

// pace says how the site of a leg stands.
func (e *explainer) pace(s *pace.State) *control.ExplainedPace {
	if s == nil {
		return nil
	}
	out := &control.ExplainedPace{
		Site: s.Site, Rule: s.Rule, MaxConnections: s.Bounds.MaxConnections, Window: s.Window, Used: s.Used, Waiting: s.Waiting, Trouble: s.Trouble,
	}
	if at := slices.IndexFunc(e.config.Paces, func(p configs.Pace) bool { return p.Name == s.Rule }); at >= 0 {
		out.Place = e.config.Place(fmt.Sprintf("pace[%d]", at))
	} else if s.Rule != "" {
		out.Place = e.config.Place(s.Rule) // a leg's own
	}
	for what, rates := range map[string][]pace.Rate{"messages": s.Bounds.Messages, "recipients": s.Bounds.Recipients} {
		for _, r := range rates {
			out.Rates = append(out.Rates, fmt.Sprintf("%d %s in %s", r.Max, what, r.Per))
		}
	}
	slices.Sort(out.Rates)
	if !s.Until.IsZero() {
		until := s.Until.UTC()
		out.Until = &until
	}
	return out
}

func (e *explainer) nextHop(leg outbound.PlannedLeg) control.ExplainedHop {
	out := control.ExplainedHop{Via: leg.Leg.String(), Hosts: []control.ExplainedHost{}, Pace: e.pace(leg.Pace)}
	if leg.Err != nil {
		out.Error = smtp.Printable(leg.Err.Error())
	}
	for _, h := range leg.Hosts {
		host := control.ExplainedHost{
			Name: h.Name, Preference: h.Preference, Addresses: []string{}, TLS: tlsLevel(h.Protection.Level), TLSReason: h.Protection.Why,
			DANE: h.Protection.DANE, MTASTS: h.Protection.STS,
		}
		if leg.Leg.ImplicitTLS {
			host.TLSReason = strings.TrimSpace(host.TLSReason + ", from the first octet")
		}
		for _, t := range h.Targets {
			if t.Socket == "" {
				host.Addresses = append(host.Addresses, t.Addr.String())
			}
		}
		if h.Err != nil {
			host.Error = smtp.Printable(h.Err.Error())
		}
		host.Session = greeting(h.Greeting)
		out.Hosts = append(out.Hosts, host)
	}
	return out
}

func tlsLevel(l route.TLS) string {
	return map[route.TLS]string{
		route.None: configs.TLSNone, route.Opportunistic: configs.TLSOpportunistic, route.Required: configs.TLSRequired,
		route.Verified: configs.TLSVerified, route.DANE: configs.TLSDANE,
	}[l]
}
