// Package relay assembles the service from a configuration, and runs it.
//
// The journey of a message, and where to read on:
//
//  1. accept: smtpserver takes a connection and speaks the protocol; inbound
//     answers for each command.
//  2. decide: policy says whether this client may send to this recipient, alias
//     who that is, and recipient whether that can be delivered to.
//  3. receive: message checks the content while it streams into a draft of
//     queue, behind our Received field. What we originate waits until dkim has
//     signed it.
//  4. enqueue: queue commits content and envelope to disk. Only then does the
//     client hear "250 2.0.0 OK, queued as ID" (RFC 5321 §6.1).
//  5. schedule: queue sorts the recipients by destination, and hands out what
//     is due.
//  6. route: route names the next hop, and resolver finds its hosts and their
//     addresses.
//  7. transfer: outbound connects, and smtpclient sends the message. Each
//     recipient ends with one reply.
//  8. settle: queue commits every outcome, together with the report that dsn
//     composes where one is due; what is deferred goes back to step 5.
//  9. remove: a message leaves when all of its recipients are final.
//
// Nothing is decided in this package; it connects the others.
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/configs"
	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/alias"
	"waypost/relay/auth"
	"waypost/relay/control"
	"waypost/relay/dialogue"
	"waypost/relay/dkim"
	"waypost/relay/drop"
	"waypost/relay/inbound"
	"waypost/relay/outbound"
	"waypost/relay/policy"
	"waypost/relay/recipient"
	"waypost/relay/smtp"
	"waypost/relay/smtpserver"
	"waypost/relay/tap"
	"waypost/resolver"
)

// maxConnections is how many attempts the queue makes at once at one destination:
// what the pace of its site lets it is less.
const maxConnections = 1000

// ControlSocket is the name of the control socket in the data directory.
const ControlSocket = "control.sock"

// Options are what a configuration does not say.
type Options struct {
	// Log receives everything; nil discards it.
	Log *slog.Logger
	// Level is that of Log, where it can be changed for a while; nil where not.
	Level *slog.LevelVar
	// Load loads the configuration again, for Reload. Nil makes that an error.
	Load func() (*configs.Config, error)
	// Reloaded is called after each reload that has changed to a
	// configuration. Nil calls nothing.
	Reloaded func(*configs.Config)
	// Reloading is called when a reload begins, and what it returns when that
	// has ended, whatever came of it. Nil calls nothing.
	Reloading func() (ended func())
	// Sockets are open already, and belong to New: a listener whose address is
	// that of one of them takes it. One that nothing takes is closed, and logged.
	Sockets []*net.TCPListener
}

// Relay is the whole service.
type Relay struct {
	config    *configs.Config
	log       *slog.Logger
	tap       *tap.Tap // what log goes through
	dialogues *dialogue.Hub
	registry  *prometheus.Registry
	metrics   *metrics.Metrics
	queue     *queue.Queue
	outbound  *outbound.Outbound
	http      net.Listener // nil when metrics are off
	control   net.Listener
	drop      *drop.Collector
	given     []*net.TCPListener // that nothing has taken
	options   Options

	backend atomic.Pointer[inbound.Backend] // of the configuration of now
	keys    atomic.Pointer[dkim.Set]        // the same
	aliases atomic.Pointer[alias.File]      // the same
	dns     *resolver.Resolver
	sockets atomic.Pointer[[]netip.AddrPort] // that take mail

	side  sync.WaitGroup // what serves
	fatal chan error     // what ended unasked

	mu          sync.Mutex // for what a reload changes: config, and what follows
	doors       []*door
	retired     []*smtpserver.Server // of earlier configurations, with sessions
	rules       *policy.Rules
	users       *auth.Authenticator
	stopKeys    context.CancelFunc // of what looks for the records of r.keys
	checker     *recipient.Checker
	verifier    *recipient.Verifier // what it remembers outlives a reload
	connections *smtpserver.Connections
	serving     bool // Run has begun
	stopped     bool // and ends
}

// New opens the queue and every socket, so that what cannot work is known
// before anything runs. A data directory that another process holds is a
// *queue.InUseError. After New, Run must be called.
func New(c *configs.Config, o Options) (*Relay, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	warning, err := CheckStorage(c)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		o.Log.Warn("storage", "warning", smtp.Printable(warning))
	}
	watched := tap.New(o.Log.Handler())
	r := &Relay{config: c, log: slog.New(watched), tap: watched, dialogues: dialogue.New(), registry: prometheus.NewRegistry(), options: o, given: slices.Clone(o.Sockets), fatal: make(chan error, 1)}
	r.metrics = metrics.New(r.registry)
	for _, p := range Check(c) {
		r.log.Error("configuration", "problem", p.String())
	}
	err = errors.Join(r.openQueue(false), r.openListeners())
	r.closeGiven()
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.metrics.WatchQueue(r.queue.Stats)
	return r, nil
}

// reserve is what the queue sets aside for a full disk: the journal that a kill
// leaves, which a start brings into the index, and another segment.
const reserve = 64 << 20

// openQueue makes what moves messages out, and the queue that feeds it, or one that
// can only be looked at.
func (r *Relay) openQueue(look bool) error {
	out, err := r.newOutbound(filepath.Join(r.config.DataDir, "mta-sts"))
	if err != nil {
		return err
	}
	q, err := queue.Open(queue.Options{
		Dir:       r.config.DataDir,
		Deliverer: out, Router: out, Reporter: &reporter{r.config.Hostname, r.keys.Load, r.panickedInReport},
		Retry:   retryPolicy(r.config),
		Classes: queueClasses(r.config), ReportClass: reportClass(r.config), ReportTo: r.reportTo,
		Workers: r.config.Delivery.Workers, SlowWorkers: r.config.Delivery.SlowWorkers, PerDestination: maxConnections,
		TopDestinations: r.config.Metrics.TopDestinations, History: history(r.config.History),
		MinFree: int64(r.config.Queue.MinFree), Reserve: reserve, Look: look, Log: r.log, Metrics: r.metrics,
	})
	r.outbound, r.queue = out, q
	return err
}

// history bounds the history as it is configured. Where none is wanted, none is
// left.
func history(c configs.History) queue.HistoryOptions {
	if c.Size == 0 {
		return queue.HistoryOptions{Size: -1}
	}
	return queue.HistoryOptions{Size: int64(c.Size), Age: time.Duration(c.Age)}
}

// openListeners makes what takes messages in, and the ways to look inside.
func (r *Relay) openListeners() error {
	if r.queue == nil {
		return nil // which was said already
	}
	var err error
	if r.doors, err = r.build(r.config); err != nil {
		return err
	}
	if address := r.config.Metrics.Address; address != "" {
		ln, err := r.listen(address)
		if err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		r.http = ln
	}
	if err := r.openDrop(); err != nil {
		return err
	}
	r.control, err = control.Listen(filepath.Join(r.config.DataDir, ControlSocket))
	return err
}

func (r *Relay) newServer(c *configs.Config, l configs.Listener, backend smtpserver.Backend, secure *tls.Config) *smtpserver.Server {
	return smtpserver.New(smtpserver.Options{
		Dialogues: r.dialogues,
		Hostname:  c.Hostname, Backend: backend, TLS: secure, TLSMode: tlsMode(l.TLS),
		Auth: authMode(l.Auth), AuthInClear: l.AuthWithoutTLS, Extensions: extensions(c, l),
		ProxyFrom: networks(l.ProxyProtocolFrom), XClientFrom: networks(l.XClientFrom),
		MaxSize: int64(c.Limits.MessageSize), MaxRecipients: c.Limits.Recipients,
		MaxMessages: c.Limits.SessionMessages, Connections: r.connections, MinRate: int64(c.Limits.MinRate),
		IdleTimeout: time.Duration(c.Limits.IdleTimeout), GreetDelay: time.Duration(c.Limits.GreetDelay), Log: r.log, Metrics: r.metrics,
	})
}

// Run serves until ctx ends, and then stops in order: no new connections,
// messages on their way in and attempts for as long as shutdown_timeout, then
// the queue. It returns nil after that. When the queue's storage fails it stops
// at once and returns an error that wraps queue.ErrStore.
func (r *Relay) Run(ctx context.Context) error {
	r.mu.Lock()
	grace := time.Duration(r.config.ShutdownTimeout)
	r.announce()
	for _, d := range r.doors {
		r.serve(d)
	}
	r.watchKeys()
	r.serving = true
	r.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var delivery sync.WaitGroup
	delivery.Go(func() { r.queue.Run(ctx, grace) })
	sideCtx, stopSide := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSide()
	r.side.Go(func() { r.drop.Run(ctx) })
	r.side.Go(func() {
		r.fail(control.Serve(sideCtx, r.control, control.Service{
			Queue: r.queue, Reload: r.Reload, Explain: r.Explain, Pace: r.paceOf, Listeners: r.listeners,
			Log: r.tap, Metrics: r.registry, Dialogues: r.dialogues, Level: r.options.Level,
		}))
	})
	if r.http != nil {
		r.side.Go(func() { r.fail(metrics.Serve(sideCtx, r.http, metrics.Handler(r.registry, r.queue.Ready))) })
	}
	var err error
	select {
	case <-ctx.Done():
		r.log.Info("stopping", "within", grace.String())
	case <-r.queue.Failed():
		err, grace = r.queue.Err(), 0
	case err = <-r.fatal:
	}
	stop()
	r.stopServers(grace)
	delivery.Wait()
	stopSide()
	r.stopKeys()
	r.side.Wait()
	err = errors.Join(err, r.close())
	if err == nil {
		r.log.Info("stopped")
	}
	return err
}

// close closes what is open.
func (r *Relay) close() error {
	errs := []error{r.closeDoors()}
	for _, l := range []net.Listener{r.http, r.control} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if r.queue != nil {
		errs = append(errs, r.queue.Close())
	}
	if r.outbound != nil {
		r.outbound.Close()
	}
	return errors.Join(errs...)
}

// Alive returns when nothing in the relay is stuck on another part of it. It
// waits for no disk.
func (r *Relay) Alive() { r.queue.Stats() }

// announce says where we are, in a few lines.
func (r *Relay) announce() {
	for _, d := range r.doors {
		r.announceDoor(d)
	}
	if r.http != nil {
		r.log.Info("listening", "protocol", "http", "address", r.http.Addr().String(), "pages", "/metrics /healthz /readyz")
	}
	r.log.Info("queue open", "data_dir", r.config.DataDir, "pid", os.Getpid())
}

func (r *Relay) announceDoor(d *door) {
	r.log.Info("listening", "protocol", "smtp", "address", d.socket.Addr().String(), "tls", d.config.TLS, "hostname", r.config.Hostname)
}

// SMTPAddrs returns the addresses on which mail is taken, in the order of the
// configuration.
func (r *Relay) SMTPAddrs() []net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []net.Addr
	for _, d := range r.doors {
		all = append(all, d.socket.Addr())
	}
	return all
}

// MetricsAddr returns the address of the metrics endpoint, nil when it is off.
func (r *Relay) MetricsAddr() net.Addr {
	if r.http == nil {
		return nil
	}
	return r.http.Addr()
}
