package relay

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"waypost/configs"
	"waypost/metrics"
	"waypost/relay/auth"
	"waypost/relay/certs"
	"waypost/relay/gateway"
	"waypost/relay/mtasts"
	"waypost/relay/outbound"
	"waypost/relay/pace"
	"waypost/relay/policy"
	"waypost/relay/reply"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
	"waypost/relay/smtpserver"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
)

// This file translates a configuration, which has been validated, into the
// options of the packages.

// newOutbound makes what delivers. Policies of MTA-STS are kept in a directory,
// or nowhere.
func (r *Relay) newOutbound(policies string) (*outbound.Outbound, error) {
	routes, err := routes(r.config.Routes)
	if err != nil {
		return nil, err
	}
	c := r.config
	dns := r.newResolver()
	r.dns = dns
	security := tlspolicy.Options{Resolver: dns, Metrics: r.metrics}
	if c.Delivery.MTASTS {
		security.Promises = mtasts.Open(mtasts.Options{
			Dir: policies, Resolver: dns, Log: r.log, Metrics: r.metrics,
			// Nobody may have us ask a host of our own networks.
			Addresses: func(ctx context.Context, host string) ([]netip.Addr, error) {
				all, err := dns.Addresses(ctx, host)
				if err != nil {
					return nil, err
				}
				return outbound.Public(host, all, networks(c.Delivery.AllowPrivate))
			},
		})
	}
	rules, common := paces(c)
	return outbound.New(outbound.Options{
		Dialogues: r.dialogues,
		Hostname:  c.Hostname, Routes: route.NewTable(routes), Port: uint16(c.Delivery.SMTPPort), Resolver: dns,
		Security:     tlspolicy.New(security),
		AllowPrivate: networks(c.Delivery.AllowPrivate), ConnectTimeout: time.Duration(c.Delivery.ConnectTimeout), Timeouts: timeouts(&c.Delivery),
		Families: families(c.Delivery.AddressFamily), Accounts: accounts(c), Replies: replies(c.Replies),
		Pacer: pace.New(pace.Options{Rules: rules, Default: common, Metrics: r.metrics}),
		Log:   r.log, Metrics: r.metrics,
	}), nil
}

func (r *Relay) newResolver() *resolver.Resolver {
	c := r.config
	others := addresses(c.Delivery.OwnAddresses)
	return resolver.New(resolver.Options{
		Servers: c.Resolver.Servers, TrustAD: addresses(c.Resolver.TrustAD),
		Hostname: c.Hostname, Port: uint16(c.Delivery.SMTPPort), Observe: r.observeDNS,
		Own: func() []netip.AddrPort { return r.ownAddresses(others) }, Panicked: r.panickedInLookup,
	})
}

// panickedInLookup tells of a fault of ours in the look-up of a name.
func (r *Relay) panickedInLookup(name string, fault any) {
	r.metrics.AttemptPanics.Inc()
	r.log.Error("panic in a look-up", "name", smtp.Printable(name), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
}

func (r *Relay) observeDNS(kind, result string, took time.Duration) {
	r.metrics.DNSQueries.WithLabelValues(metrics.DNSType(kind), result).Inc()
	r.metrics.DNSDuration.Observe(took.Seconds())
}

// timeouts are how long other hosts may take.
func timeouts(d *configs.Delivery) smtpclient.Timeouts {
	return smtpclient.Timeouts{
		Greeting: time.Duration(d.GreetingTimeout),
		Hello:    time.Duration(d.HelloTimeout),
		Mail:     time.Duration(d.MailTimeout),
		Rcpt:     time.Duration(d.RcptTimeout),
		Data:     time.Duration(d.DataTimeout),
		Block:    time.Duration(d.BlockTimeout),
		Dot:      time.Duration(d.DotTimeout),
	}
}

// paces say how fast mail may leave.
func paces(c *configs.Config) (rules []*pace.Rule, common pace.Bounds) {
	rates := func(all []string) (list []pace.Rate) {
		for _, text := range all {
			if amount, within, err := configs.ParseRate(text); err == nil {
				list = append(list, pace.Rate{Max: amount, Per: within})
			}
		}
		return list
	}
	add := func(leg string, p configs.Pace) {
		rules = append(rules, &pace.Rule{Name: p.Name, Leg: leg, Domains: p.To, Hosts: p.Hosts, Each: p.Each, Bounds: pace.Bounds{
			MinConnections: p.MinConnections, MaxConnections: p.Connections, MessagesPerConnection: p.MessagesPerConnection,
			RecipientsPerMessage: p.RecipientsPerMessage, Messages: rates(p.MessageRate), Recipients: rates(p.RecipientRate),
		}})
	}
	for i, r := range c.Routes {
		for j := range r.Via {
			if l := &r.Via[j]; l.OwnLimits() {
				add(legName(i, j), l.Limits(legName(i, j)))
			}
		}
	}
	for _, p := range c.Paces {
		add("", p)
	}
	return rules, pace.Bounds{MaxConnections: c.Delivery.ConnectionsPerDestination}
}

// replies are the rules about refusals.
func replies(all []configs.Reply) reply.Rules {
	actions := map[string]reply.Action{
		configs.ActionDefer: reply.Defer, configs.ActionBounce: reply.Bounce, configs.ActionNextLeg: reply.NextLeg,
	}
	var list reply.Rules
	for _, c := range all {
		r := &reply.Rule{
			Name: c.Name, Codes: c.Code, Domains: c.To, Hosts: c.Hosts, Action: actions[c.Action],
			RetryAfter: time.Duration(c.RetryAfter), Retries: c.Retries, Pause: time.Duration(c.Pause), Slow: c.Slow,
		}
		if c.Text != "" {
			r.Text = regexp.MustCompile(c.Text) // it was validated
		}
		list = append(list, r)
	}
	return list
}

// addresses parses what was validated.
func addresses(all []string) []netip.Addr {
	var list []netip.Addr
	for _, s := range all {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, a.Unmap())
		}
	}
	return list
}

func families(s string) outbound.Families {
	return map[string]outbound.Families{
		configs.FamilyPreferIPv4: outbound.IPv4First, configs.FamilyIPv4: outbound.IPv4Only, configs.FamilyIPv6: outbound.IPv6Only,
	}[s]
}

func rules(c *configs.Config) *policy.Rules {
	r := &policy.Rules{
		Hostname: c.Hostname, Networks: networks(c.Relay.Networks), Domains: c.Relay.Domains,
		Certificates: c.Relay.Certificates, LoginsMayRelay: c.Relay.LoginsMayRelay, Place: c.Place,
		Deny: lists(c.Deny), Allow: lists(c.Allow), Limiter: policy.NewLimiter(limits(c.Limits), nil), Gateways: gateways(c),
	}
	for _, l := range c.Logins {
		r.Logins = append(r.Logins, policy.Login{Name: l.Name, Senders: l.Senders, CheckFrom: l.CheckFrom})
	}
	return r
}

func lists(l configs.Lists) policy.Lists {
	return policy.Lists{Clients: networks(l.Clients), Senders: l.Senders, Recipients: l.Recipients}
}

// limits are those on what is sent within a time.
func limits(l configs.Limits) (all []policy.Limit) {
	units := map[string]policy.Unit{"messages": policy.Messages, "recipients": policy.Recipients, "bytes": policy.Bytes}
	subjects := map[string]policy.Subject{"client": policy.ByClient, "login": policy.ByLogin, "sender": policy.BySender}
	for _, r := range l.Rates() {
		unit, subject, _ := strings.Cut(r.Key, "_per_")
		if amount, within, err := configs.ParseRate(r.Value); err == nil && amount > 0 {
			all = append(all, policy.Limit{Subject: subjects[subject], Unit: units[unit], Max: amount, Window: within, Key: "limits." + r.Key})
		}
	}
	return all
}

// gateways are the addresses that no network makes trustworthy.
func gateways(c *configs.Config) []netip.Addr {
	root := os.DirFS("/")
	if c.Relay.TrustGateway || !gateway.InContainer(root) {
		return nil
	}
	return gateway.Addresses(root)
}

// authenticator knows the users; the file is read again when it changes.
// Failures that were counted before a reload still count.
func (r *Relay) authenticator(c *configs.Config) (*auth.Authenticator, error) {
	o := auth.Options{Log: r.log, Metrics: r.metrics, Before: r.users}
	name := c.Relay.UsersFile
	if name == "" {
		return auth.New(o), nil
	}
	var err error
	if o.Users, err = auth.Load(name, r.reread("users", name)); err != nil {
		return nil, err
	}
	r.log.Info("users read", "file", name, "users", o.Users.Get().Len())
	return auth.New(o), nil
}

// reread tells what became of a file that has changed.
func (r *Relay) reread(what, name string) func(error) {
	return func(err error) {
		if err != nil {
			r.log.Error(what+" not read again", "file", name, "error", err.Error())
			return
		}
		r.log.Info(what+" read again", "file", name)
	}
}

func authMode(s string) smtpserver.AuthMode {
	return map[string]smtpserver.AuthMode{configs.AuthOptional: smtpserver.AuthOptional, configs.AuthRequired: smtpserver.AuthRequired}[s]
}

// networks parses what was validated.
func networks(all []string) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range all {
		if p, err := configs.ParseNetwork(s); err == nil {
			list = append(list, p)
		}
	}
	return list
}

func intervals(all []configs.Duration) []time.Duration {
	list := make([]time.Duration, len(all))
	for i, d := range all {
		list[i] = time.Duration(d)
	}
	return list
}

// extensions are those that a listener can keep the promise of, all the way to
// the next hop or to the report.
func extensions(c *configs.Config, l configs.Listener) smtpserver.Extensions {
	x := smtpserver.Extensions{
		BinaryMIME: true, RequireTLS: true, Priority: true, DeliverBy: true, DeliverByMin: time.Duration(c.Limits.DeliverByMin),
	}
	if l.Mode == configs.ModeSubmission {
		x.HoldMax = time.Duration(c.Limits.HoldMax) // RFC 4865 §3: for submission alone
	}
	return x
}

func tlsMode(s string) smtpserver.TLSMode {
	return map[string]smtpserver.TLSMode{
		configs.TLSStartTLS: smtpserver.TLSOffered, configs.TLSRequired: smtpserver.TLSRequired, configs.TLSImplicit: smtpserver.TLSImplicit,
	}[s]
}

// certificates loads what listeners present; nil when nothing is configured.
func (r *Relay) certificates(c *configs.Config) (*certs.Store, error) {
	if c.TLS.Certificate == "" {
		return nil, nil
	}
	pairs := []certs.Pair{certs.Pair(c.TLS)}
	for _, t := range c.Certificates {
		pairs = append(pairs, certs.Pair(t))
	}
	return certs.Load(pairs, certs.Options{
		Reread: func(p certs.Pair, err error) { r.reread("certificate", p.Certificate)(err) },
		Expiry: func(end time.Time) { r.metrics.CertificateExpiry.Set(float64(end.Unix())) },
	})
}

// listenerTLS makes the configuration of one listener; nil when it has no TLS.
func (r *Relay) listenerTLS(l configs.Listener, store *certs.Store) (*tls.Config, error) {
	if store == nil || l.TLS == configs.TLSNone {
		return nil, nil
	}
	profile := certs.Modern
	if l.TLSProfile == configs.ProfileLegacy {
		profile = certs.Legacy
	}
	if l.ClientCA == "" {
		return store.Config(profile, nil), nil
	}
	clients, err := certs.Authorities(l.ClientCA, r.reread("client authorities", l.ClientCA))
	if err != nil {
		return nil, err
	}
	return store.Config(profile, clients), nil
}
