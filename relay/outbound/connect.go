package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"waypost/metrics"
	"waypost/relay/route"
	"waypost/relay/smtpclient"
)

type reader = io.Reader

// session is an open connection to a host of a destination.
type session struct {
	client      *smtpclient.Client
	destination string
	host        string
	tls         string // as queue.Result has it
	sent        int
	expires     *time.Timer
	ended       func()
}

// connect opens a session. When TLS is only wished for and fails, it is tried
// once more without.
func (o *Outbound) connect(ctx context.Context, destination, host string, to netip.AddrPort, r *route.Route) (*session, error) {
	s, err := o.open(ctx, destination, host, to, r, r.TLS)
	e, ok := errors.AsType[*smtpclient.Error](err)
	if ok && r.TLS == route.Opportunistic && r.Username == "" && (e.Stage == smtpclient.StageSTARTTLS || e.Stage == smtpclient.StageHandshake) {
		o.Log.Info("TLS failed, going on without", "host", hostName(host, to), "error", err.Error())
		return o.open(ctx, destination, host, to, r, route.None)
	}
	return s, err
}

func (o *Outbound) open(ctx context.Context, destination, host string, to netip.AddrPort, r *route.Route, level route.TLS) (*session, error) {
	dialing, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := o.Dial(dialing, to)
	if err != nil {
		o.Metrics.OutboundFailed.Inc()
		return nil, fmt.Errorf("connect to %s: %w", hostName(host, to), plain(err))
	}
	o.Metrics.OutboundOpened.Inc()
	o.Metrics.OutboundConnections.Inc()
	config, policy := o.security(host, level)
	client, err := smtpclient.New(ctx, nc, smtpclient.Options{
		Hostname: o.Hostname, Timeouts: o.Timeouts, TLS: config, TLSPolicy: policy, Username: r.Username, Password: r.Password,
	})
	o.countTLS(client, err)
	if err != nil {
		if e, ok := errors.AsType[*smtpclient.Error](err); ok && e.Stage == smtpclient.StageAuth {
			// Mail waits until somebody mends this.
			o.Log.Error("login refused", "next_hop", destination, "host", hostName(host, to), "error", err.Error())
		}
		o.Metrics.OutboundConnections.Dec()
		return nil, err
	}
	return &session{
		client: client, destination: destination, host: hostName(host, to), tls: tlsText(client, level), ended: o.Metrics.OutboundConnections.Dec,
	}, nil
}

// tlsText says how a session is protected; "" is not at all.
func tlsText(client *smtpclient.Client, level route.TLS) string {
	state, ok := client.TLSState()
	if !ok {
		return ""
	}
	text := tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	if level == route.Verified {
		text += " verified"
	}
	return text
}

// plain takes the wrapping off a dialler's error that says again what is being
// dialled.
func plain(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	return err
}

// security returns how a level of TLS is done. Without verification a
// certificate proves nothing, but the line is still encrypted (RFC 7435).
func (o *Outbound) security(host string, level route.TLS) (*tls.Config, smtpclient.TLSPolicy) {
	config := o.TLS.Clone()
	config.ServerName = host
	config.InsecureSkipVerify = level != route.Verified
	switch level {
	case route.None:
		return nil, smtpclient.TLSNever
	case route.Opportunistic:
		return config, smtpclient.TLSOpportunistic
	}
	return config, smtpclient.TLSRequired
}

func (o *Outbound) countTLS(client *smtpclient.Client, err error) {
	version := ""
	if client != nil {
		if state, ok := client.TLSState(); ok {
			version = metrics.TLSVersion(state.Version)
		}
	} else if e, ok := errors.AsType[*smtpclient.Error](err); ok && e.Stage == smtpclient.StageHandshake {
		version = metrics.TLSFailed
	}
	if version != "" {
		o.Metrics.TLSHandshakes.WithLabelValues(metrics.DirectionOut, version).Inc()
	}
}
