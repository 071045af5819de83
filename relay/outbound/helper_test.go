package outbound

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a Resolver that knows what it was told. A name with an error in
// errs fails with it.
type zone struct {
	mx        map[string][]string
	addresses map[string][]string
	errs      map[string]error
}

func (z *zone) Hosts(_ context.Context, domain string) (resolver.Hosts, error) {
	if err := z.errs[domain]; err != nil {
		return resolver.Hosts{}, err
	}
	var hosts resolver.Hosts
	for _, name := range z.mx[domain] {
		hosts.List = append(hosts.List, resolver.Host{Name: name})
	}
	return hosts, nil
}

func (z *zone) Addresses(_ context.Context, host string) ([]netip.Addr, error) {
	if err := z.errs[host]; err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, s := range z.addresses[host] {
		list = append(list, netip.MustParseAddr(s))
	}
	return list, nil
}

func (o *Outbound) pool() *pool { return o.routing.Load().pool }

// What a look-up can end in.
func noDomain(name string) error {
	return &resolver.Error{Kind: resolver.NoSuchDomain, Name: name, Enhanced: [3]int{5, 1, 2}}
}

func noAnswer(name string) error {
	return &resolver.Error{Kind: resolver.Temporary, Name: name, Enhanced: [3]int{4, 4, 3}}
}

// network is what stands behind the addresses. Where there is nothing, a
// connection is refused.
type network struct {
	mu     sync.Mutex
	at     map[string]func(context.Context) (net.Conn, error)
	dialed []string
}

func (n *network) dial(ctx context.Context, to Target) (net.Conn, error) {
	where, address := to.Addr.String(), to.Addr.Addr().String()
	if to.Socket != "" {
		where, address = to.Socket, to.Socket
	}
	n.mu.Lock()
	n.dialed = append(n.dialed, where)
	connect := n.at[address]
	n.mu.Unlock()
	if connect == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return connect(ctx)
}

// sink puts a sink at an address.
func (n *network) sink(t testing.TB, address string, options ...relaytest.SinkOption) *relaytest.Sink {
	t.Helper()
	s := relaytest.NewSink(t, "", options...)
	n.put(address, func(context.Context) (net.Conn, error) { return s.Pipe(), nil })
	return s
}

func (n *network) put(address string, connect func(context.Context) (net.Conn, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at == nil {
		n.at = map[string]func(context.Context) (net.Conn, error){}
	}
	n.at[address] = connect
}

func (n *network) tried() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}

// start returns an Outbound on a network and a zone, and closes it with the
// test.
func start(t testing.TB, n *network, z *zone, edit func(*Options)) *Outbound {
	t.Helper()
	o := Options{
		Hostname: "relay.example", Routes: route.NewTable(nil), Resolver: z, Dial: n.dial, Metrics: metrics.New(nil),
	}
	if edit != nil {
		edit(&o)
	}
	out := New(o)
	t.Cleanup(out.Close)
	return out
}

// via makes every recipient take the legs of r.
func via(r route.Route) func(*Options) {
	if r.To == "" {
		r.To = "*"
	}
	return func(o *Options) { o.Routes = route.NewTable([]route.Route{r}) }
}

func mxLeg() route.Leg { return route.Leg{Kind: route.MX} }

func hostLeg(host string) route.Leg { return route.Leg{Kind: route.Host, Host: host, Port: 2525} }

// keeper is a Deliverer that hands the first message over to a test. It is
// also the Router and the Reporter that a queue wants and nobody uses here.
type keeper struct{ messages chan *queue.Message }

func (k *keeper) Deliver(_ context.Context, m *queue.Message, d *queue.Delivery) queue.Outcome {
	k.messages <- m
	return queue.Outcome{Results: slices.Repeat([]queue.Result{{State: queue.Deferred}}, d.Open())}
}

func (k *keeper) Destination(*queue.Envelope, *queue.Recipient) string { return "test" }

func (k *keeper) Compose(io.Writer, queue.Report) (bool, bool, error) {
	return false, false, fmt.Errorf("no report is due here")
}

const short = "From: s@a.example\r\nSubject: short\r\n\r\nHello.\r\n"

// message returns a message as a queue gives it to a Deliverer, and the
// queue's directory. In a test in virtual time it is made outside of the
// bubble.
func message(t testing.TB, env queue.Envelope, content string) (*queue.Message, string) {
	t.Helper()
	k := &keeper{messages: make(chan *queue.Message, 1)}
	dir := t.TempDir()
	q, err := queue.Open(queue.Options{Dir: dir, Deliverer: k, Router: k, Reporter: k})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { q.Run(ctx, 0) })
	defer func() {
		cancel()
		running.Wait()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	if env.ReversePath.IsNull() {
		env.ReversePath = path("s@a.example")
	}
	draft := q.NewDraft()
	if _, err := io.WriteString(draft, content); err != nil {
		t.Fatal(err)
	}
	if err := draft.Commit(env, []queue.Recipient{{Path: path("r@b.example")}}); err != nil {
		t.Fatal(err)
	}
	return <-k.messages, dir
}

func path(s string) smtp.Path {
	at := strings.LastIndexByte(s, '@')
	return smtp.Path{Local: s[:at], Domain: s[at+1:]}
}

// deliver makes one attempt, and checks what every outcome has.
func deliver(t testing.TB, ctx context.Context, o *Outbound, m *queue.Message, to ...string) queue.Outcome {
	t.Helper()
	var recipients []queue.Recipient
	for _, s := range to {
		recipients = append(recipients, queue.Recipient{Path: path(s)})
	}
	return deliverTo(t, ctx, o, m, recipients...)
}

func deliverTo(t testing.TB, ctx context.Context, o *Outbound, m *queue.Message, to ...queue.Recipient) queue.Outcome {
	t.Helper()
	d := &queue.Delivery{ID: m.ID, Recipients: to, Size: m.Size}
	d.Destination = o.Destination(&m.Envelope, &to[len(to)-1])
	out := o.Deliver(ctx, m, d)
	if len(out.Results) != d.Open() {
		t.Fatalf("%d results for %d open recipients", len(out.Results), d.Open())
	}
	return out
}

// want checks one result: its state, its status and a part of its text.
func want(t testing.TB, r queue.Result, state queue.State, status, text string) {
	t.Helper()
	if r.State != state || r.Status.String() != status || !strings.Contains(r.Text(), text) {
		t.Errorf("%v %v %q, want %v %s %q", r.State, r.Status, r.Text(), state, status, text)
	}
}

// delivered checks that every recipient was delivered.
func delivered(t testing.TB, out queue.Outcome) {
	t.Helper()
	for _, r := range out.Results {
		want(t, r, queue.Delivered, "2.0.0", "250")
	}
	if out.Unreachable || out.Interrupted {
		t.Errorf("unreachable %v, interrupted %v", out.Unreachable, out.Interrupted)
	}
}

// two is a domain with two mail hosts, in this order.
func two() *zone {
	return &zone{
		mx:        map[string][]string{"b.example": {"mx1", "mx2"}},
		addresses: map[string][]string{"mx1": {"192.0.2.1"}, "mx2": {"192.0.2.2"}},
	}
}

// dialSink leads to a sink that listens. A pipe has no buffer for what crosses on
// the way when a handshake fails.
func dialSink(s *relaytest.Sink) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.Address())
	}
}
