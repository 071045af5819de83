package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/account"
	"waypost/relay/dialogue"
	"waypost/relay/pace"
	"waypost/relay/reply"
	"waypost/relay/route"
	"waypost/relay/smtpclient"
	"waypost/relay/tlspolicy"
	"waypost/resolver"
)

// Resolver finds hosts and their addresses.
type Resolver interface {
	Hosts(ctx context.Context, domain string) (resolver.Hosts, error)
	Addresses(ctx context.Context, host string) ([]netip.Addr, error)
}

// Security decides how sessions with a host are secured.
type Security interface {
	// Host returns an error when the host must not be used for now.
	Host(ctx context.Context, h tlspolicy.Host) (tlspolicy.Protection, error)
	// Promised reports whether a domain says by itself, and provably, who its mail
	// hosts are.
	Promised(ctx context.Context, domain string) bool
}

// Options configures an Outbound. Hostname, Routes and Resolver are required.
type Options struct {
	// Dialogues records the sessions that somebody reads along in; nil none.
	Dialogues *dialogue.Hub
	// Hostname is our name in EHLO.
	Hostname string
	Routes   *route.Table
	Resolver Resolver
	// Security decides about TLS; nil does what the routes say.
	Security Security
	// Port is where MX hosts are tried; 0 means 25.
	Port uint16
	// AllowPrivate are the loopback and private networks that hosts found by
	// MX may be in. Named next hops may be anywhere.
	AllowPrivate []netip.Prefix
	// ConnectTimeout bounds one connection; 0 means 30 seconds.
	ConnectTimeout time.Duration
	// KeepIdle is how long a connection is kept open for more mail; 0 means
	// 5 seconds.
	KeepIdle time.Duration
	// MaxIdle bounds the connections kept at once; 0 means 200.
	MaxIdle int
	// Timeouts are those of a session.
	Timeouts smtpclient.Timeouts
	// TLS is the base of each connection's configuration; nil is Go's own
	// defaults. The name to verify is set for each host.
	TLS *tls.Config
	// Replies say what refusals mean, before the built-in rules.
	Replies reply.Rules
	// Pacer says how fast mail may leave; nil is one without rules.
	Pacer *pace.Pacer
	// Accounts are what routes log in with, by the name in Route.Account.
	Accounts map[string]*account.Account
	// Families says which addresses are used; the zero value is both, IPv6
	// first.
	Families Families
	// Dial connects; nil dials TCP and Unix sockets.
	Dial    func(ctx context.Context, to Target) (net.Conn, error)
	Log     *slog.Logger     // nil discards
	Metrics *metrics.Metrics // nil counts into nothing
}

func (o *Options) setDefaults() {
	if o.Port == 0 {
		o.Port = 25
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 30 * time.Second
	}
	if o.KeepIdle == 0 {
		o.KeepIdle = 5 * time.Second
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = 200
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	if o.Security == nil {
		o.Security = tlspolicy.New(tlspolicy.Options{})
	}
	if o.Pacer == nil {
		o.Pacer = pace.New(pace.Options{Metrics: o.Metrics})
	}
	if o.Dial == nil {
		o.Dial = dialTarget
	}
}

// Outbound makes attempts, and sorts recipients by destination.
type Outbound struct {
	Options
	routing  atomic.Pointer[routing]
	retired  sync.WaitGroup // pools of earlier routes that are being closed
	replies  atomic.Pointer[reply.Rules]
	breakers *breakers
	logins   *logins
	sizes    *sizes
}

// routing is what belongs to one state of the configuration. An attempt ends
// under the one it began with, and no connection, which may be logged in as
// somebody or secured too little, outlives it.
type routing struct {
	table    *route.Table
	accounts map[string]*account.Account
	pool     *pool
}

var (
	_ queue.Deliverer = (*Outbound)(nil)
	_ queue.Router    = (*Outbound)(nil)
)

// New returns an Outbound. Close ends the connections that it keeps.
func New(o Options) *Outbound {
	o.setDefaults()
	out := &Outbound{Options: o, sizes: newSizes(), breakers: newBreakers(o.Log), logins: newLogins(o.Log, o.Metrics.OutboundLoginsFailing)}
	out.SetRoutes(o.Routes, o.Accounts)
	out.SetReplies(o.Replies)
	return out
}

// Close closes the idle connections.
func (o *Outbound) Close() {
	o.routing.Load().pool.close()
	o.retired.Wait()
}

// SetRoutes changes the routes, and the accounts that they name, for every
// attempt that begins from now on.
func (o *Outbound) SetRoutes(t *route.Table, accounts map[string]*account.Account) {
	old := o.routing.Swap(&routing{table: t, accounts: accounts, pool: newPool(o.KeepIdle, o.MaxIdle)})
	o.logins.reset()
	if old != nil {
		o.retired.Go(old.pool.close)
	}
}

// SetReplies changes the rules about refusals for every one from now on.
func (o *Outbound) SetReplies(rules reply.Rules) {
	all := append(slices.Clone(rules), reply.Builtin()...)
	for _, rule := range all {
		o.Metrics.AddReplyRule(rule.Name)
	}
	o.replies.Store(&all)
}

// Destination returns what a recipient waits for.
func (o *Outbound) Destination(e *queue.Envelope, r *queue.Recipient) string {
	to := o.routing.Load().lookup(e, r)
	return to.Destination(r.Path, lotOf(to, e))
}

// lotOf draws the lot of a message for a route, by what stays the same as long as
// the message is queued.
func lotOf(r *route.Route, e *queue.Envelope) uint64 {
	if !r.Drawn() {
		return 0
	}
	h := fnv.New64a()
	for _, text := range []string{e.MessageID, e.ReversePath.Local, e.ReversePath.Domain} {
		_, _ = io.WriteString(h, text) // never fails
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Arrival.UnixMilli())))
	return h.Sum64()
}

func (r *routing) lookup(e *queue.Envelope, to *queue.Recipient) *route.Route {
	return r.table.Lookup(route.Mail{Sender: e.ReversePath, Recipient: to.Path, Login: e.Login, Class: cmp.Or(e.Class, queue.DefaultClass)})
}

// Deliver makes one attempt for the open recipients of d.
func (o *Outbound) Deliver(ctx context.Context, m *queue.Message, d *queue.Delivery) queue.Outcome {
	a := newAttempt(o, m, d)
	a.kept = true
	a.pass, _ = queue.PassOf(ctx).(*pace.Pass)
	if !a.together() {
		return queue.Outcome{Results: a.results, Waits: true}
	}
	return a.run(ctx)
}
