// Package relay assembles the service from a configuration, and runs it.
//
// The journey of a message, and where to read on:
//
//  1. accept: smtpserver takes a connection and speaks the protocol; inbound
//     answers for each command.
//  2. decide: policy says whether this client may send to this recipient.
//  3. receive: message checks the content while it streams into a draft of
//     queue, behind our Received field.
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
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/configs"
	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/control"
	"waypost/relay/drop"
	"waypost/relay/inbound"
	"waypost/relay/outbound"
	"waypost/relay/smtp"
	"waypost/relay/smtpserver"
)

// ControlSocket is the name of the control socket in the data directory.
const ControlSocket = "control.sock"

// Options are what a configuration does not say.
type Options struct {
	// Log receives everything; nil discards it.
	Log *slog.Logger
}

// Relay is the whole service.
type Relay struct {
	config   *configs.Config
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *metrics.Metrics
	queue    *queue.Queue
	outbound *outbound.Outbound
	servers  []*smtpserver.Server
	smtp     []net.Listener // one for each server
	http     net.Listener   // nil when metrics are off
	control  net.Listener
	drop     *drop.Collector
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
	r := &Relay{config: c, log: o.Log, registry: prometheus.NewRegistry()}
	r.metrics = metrics.New(r.registry)
	for _, p := range Check(c) {
		r.log.Error("configuration", "problem", p.String())
	}
	if err := errors.Join(r.openQueue(), r.openListeners()); err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.metrics.WatchQueue(r.queue.Stats)
	return r, nil
}

// openQueue makes what moves messages out, and the queue that feeds it.
func (r *Relay) openQueue() error {
	out, err := r.newOutbound()
	if err != nil {
		return err
	}
	q, err := queue.Open(queue.Options{
		Dir:       r.config.DataDir,
		Deliverer: out, Router: out, Reporter: &reporter{hostname: r.config.Hostname},
		Retry:   retryPolicy(r.config),
		Classes: queueClasses(r.config), ReportClass: reportClass(r.config),
		Workers: r.config.Delivery.Workers, SlowWorkers: r.config.Delivery.SlowWorkers, PerDestination: r.config.Delivery.ConnectionsPerDestination,
		History: history(r.config.History),
		MinFree: int64(r.config.Queue.MinFree), Log: r.log, Metrics: r.metrics,
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
	users, err := r.authenticator()
	if err != nil {
		return err
	}
	backend := inbound.New(inbound.Options{
		Hostname: r.config.Hostname, Queue: r.queue, Rules: rules(r.config), Classes: policyClasses(r.config), Authenticator: users,
		MaxRecipients: r.config.Limits.Recipients, ETRN: networks(r.config.Relay.ETRN), Log: r.log, Metrics: r.metrics,
	})
	store, err := r.certificates()
	if err != nil {
		return err
	}
	connections := smtpserver.NewConnections(r.config.Limits.Connections, r.config.Limits.ConnectionsPerAddress)
	for _, l := range r.config.Listeners {
		secure, err := r.listenerTLS(l, store)
		if err != nil {
			return err
		}
		ln, err := net.Listen("tcp", l.Address)
		if err != nil {
			return fmt.Errorf("listen for SMTP: %w", err)
		}
		r.smtp = append(r.smtp, ln)
		r.servers = append(r.servers, r.newServer(l, backend, secure, connections))
	}
	if address := r.config.Metrics.Address; address != "" {
		if r.http, err = net.Listen("tcp", address); err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
	}
	if err := r.openDrop(backend); err != nil {
		return err
	}
	r.control, err = control.Listen(filepath.Join(r.config.DataDir, ControlSocket))
	return err
}

func (r *Relay) newServer(l configs.Listener, backend smtpserver.Backend, secure *tls.Config, connections *smtpserver.Connections) *smtpserver.Server {
	return smtpserver.New(smtpserver.Options{
		Hostname: r.config.Hostname, Backend: backend, TLS: secure, TLSMode: tlsMode(l.TLS),
		Auth: authMode(l.Auth), AuthInClear: l.AuthWithoutTLS, Extensions: extensions(r.config, l),
		ProxyFrom: networks(l.ProxyProtocolFrom), XClientFrom: networks(l.XClientFrom),
		MaxSize: int64(r.config.Limits.MessageSize), MaxRecipients: r.config.Limits.Recipients,
		MaxMessages: r.config.Limits.SessionMessages, Connections: connections, MinRate: int64(r.config.Limits.MinRate),
		IdleTimeout: time.Duration(r.config.Limits.IdleTimeout), GreetDelay: time.Duration(r.config.Limits.GreetDelay), Log: r.log, Metrics: r.metrics,
	})
}

// Run serves until ctx ends, and then stops in order: no new connections,
// transactions and attempts in progress for as long as shutdown_timeout, then
// the queue. It returns nil after that. When the queue's storage fails it stops
// at once and returns an error that wraps queue.ErrStore.
func (r *Relay) Run(ctx context.Context) error {
	grace := time.Duration(r.config.ShutdownTimeout)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r.announce()
	fatal := make(chan error, len(r.servers)+2)
	var side, delivery sync.WaitGroup
	delivery.Go(func() { r.queue.Run(ctx, grace) })
	sideCtx, stopSide := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSide()
	side.Go(func() { r.drop.Run(ctx) })
	side.Go(func() { fatal <- control.Serve(sideCtx, r.control, r.queue) })
	if r.http != nil {
		side.Go(func() { fatal <- metrics.Serve(sideCtx, r.http, metrics.Handler(r.registry, r.ready)) })
	}
	for i, server := range r.servers {
		side.Go(func() { fatal <- server.Serve(r.smtp[i]) })
	}
	var err error
	select {
	case <-ctx.Done():
		r.log.Info("stopping", "within", grace.String())
	case <-r.queue.Failed():
		err, grace = r.queue.Err(), 0
	case err = <-fatal:
	}
	stop()
	r.stopServers(grace)
	delivery.Wait()
	stopSide()
	side.Wait()
	err = errors.Join(err, r.close())
	if err == nil {
		r.log.Info("stopped")
	}
	return err
}

func (r *Relay) stopServers(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var stopping sync.WaitGroup
	for _, server := range r.servers {
		stopping.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				r.log.Warn("sessions cut off", "error", err.Error())
			}
		})
	}
	stopping.Wait()
}

// close closes what is open.
func (r *Relay) close() error {
	var errs []error
	for _, l := range append(r.smtp, r.http, r.control) {
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

// announce says where we are, in a few lines.
func (r *Relay) announce() {
	for i, l := range r.smtp {
		r.log.Info("listening", "protocol", "smtp", "address", l.Addr().String(), "tls", r.config.Listeners[i].TLS, "hostname", r.config.Hostname)
	}
	if r.http != nil {
		r.log.Info("listening", "protocol", "http", "address", r.http.Addr().String(), "pages", "/metrics /healthz /readyz")
	}
	r.log.Info("queue open", "data_dir", r.config.DataDir, "pid", os.Getpid())
}

// ready says whether mail can be taken.
func (r *Relay) ready() error {
	if err := r.queue.Err(); err != nil {
		return errors.New("the queue has failed")
	}
	if err := r.queue.Room(0); err != nil {
		return errors.New("no room on the disk")
	}
	return nil
}

// SMTPAddrs returns the addresses on which mail is taken, in the order of the
// configuration.
func (r *Relay) SMTPAddrs() []net.Addr {
	var all []net.Addr
	for _, l := range r.smtp {
		all = append(all, l.Addr())
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
