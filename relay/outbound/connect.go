package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"waypost/metrics"
	"waypost/relay/route"
	"waypost/relay/smtpclient"
)

// session is an open connection to a host of a leg.
type session struct {
	client  *smtpclient.Client
	key     string // of the leg
	site    string // "" where nobody counts
	share   string // see hop.shareKey
	name    string // of the host
	host    string // with its address
	tls     string // as queue.Result has it
	local   bool   // the host is this one
	mailbox bool   // it is a mailbox server
	sent    int
	most    int // messages that it carries
	expires *time.Timer
	ended   func()
}

// connect opens a session on a connection to a target. When TLS is only wished
// for and fails, it is tried once more without.
func (o *Outbound) connect(ctx context.Context, h hop, host string, to Target, nc net.Conn) (*session, error) {
	s, err := o.open(ctx, h, host, to, nc, h.protection.Level)
	if err != nil && o.loggedIn(h, err) {
		again, failed := o.withLogin(ctx, h)
		if failed != nil {
			return nil, failed
		}
		again.renewed = true
		return o.redial(ctx, again, host, to)
	}
	e, ok := errors.AsType[*smtpclient.Error](err)
	clear := h.protection.Level == route.Opportunistic && !h.secrets() && !h.leg.ImplicitTLS
	if ok && clear && (e.Stage == smtpclient.StageSTARTTLS || e.Stage == smtpclient.StageHandshake) {
		o.Log.Info("TLS failed, going on without", "host", to.name(host), "error", err.Error())
		return o.redialAt(ctx, h, host, to, route.None)
	}
	return s, err
}

// redial opens another session with the same target.
func (o *Outbound) redial(ctx context.Context, h hop, host string, to Target) (*session, error) {
	return o.redialAt(ctx, h, host, to, h.protection.Level)
}

func (o *Outbound) redialAt(ctx context.Context, h hop, host string, to Target, level route.TLS) (*session, error) {
	nc, err := o.dial(ctx, host, to)
	if err != nil {
		o.Metrics.OutboundFailed.Inc()
		return nil, err
	}
	s, err := o.open(ctx, h, host, to, nc, level)
	if err != nil {
		o.loggedIn(h, err)
	}
	return s, err
}

func (o *Outbound) open(ctx context.Context, h hop, host string, to Target, nc net.Conn, level route.TLS) (*session, error) {
	o.Metrics.OutboundOpened.Inc()
	o.Metrics.OutboundConnections.Inc()
	opened := false
	defer func() {
		if !opened {
			o.Metrics.OutboundConnections.Dec()
		}
	}()
	config, policy := o.security(h, level)
	h.present(config)
	talk := o.Dialogues.Host(to.name(host), host, h.leg.String(), strings.TrimPrefix(h.leg.String(), "mx:"))
	client, err := smtpclient.New(ctx, nc, smtpclient.Options{
		Talk:     talk,
		Hostname: cmp.Or(h.terms.Hello, o.Hostname), LMTP: h.leg.LMTP, Timeouts: o.Timeouts,
		TLS: config, TLSPolicy: policy,
		Username: h.login.Username, Password: h.login.Password, Token: h.login.Token, Mechanism: h.login.Mechanism,
	})
	o.countTLS(client, err)
	judge(h, client, err)
	if err != nil {
		return nil, err
	}
	opened = true
	o.loggedIn(h, nil)
	share := h.shareKey()
	if !h.protection.Plain() {
		share = ""
	}
	return &session{
		client: client, key: h.key, site: h.site, share: share, name: host, most: cmp.Or(h.most, maxPerSession), host: to.name(host), tls: tlsText(client, h.protection.Label), ended: o.Metrics.OutboundConnections.Dec,
		local: to.Socket != "", mailbox: h.leg.LMTP,
	}, nil
}

// worn reports whether the session has carried what it may.
func (s *session) worn() bool { return s.sent >= s.most }

// tlsText says how a session is protected; "" is not at all.
func tlsText(client *smtpclient.Client, label string) string {
	state, ok := client.TLSState()
	if !ok {
		return ""
	}
	text := tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	if label != "" {
		text += " " + label
	}
	return text
}

// security returns how a level of TLS is done. Without verification a
// certificate proves nothing, but the line is still encrypted (RFC 7435).
func (o *Outbound) security(h hop, level route.TLS) (*tls.Config, smtpclient.TLSPolicy) {
	config := o.TLS.Clone()
	config.ServerName = h.protection.ServerName
	config.InsecureSkipVerify = level != route.Verified
	// Not VerifyPeerCertificate, which resumed sessions pass by.
	config.VerifyConnection = h.pinned(h.protection.Verify)
	if h.terms.Roots != nil {
		config.RootCAs = h.terms.Roots
	}
	switch {
	case h.leg.ImplicitTLS:
		return config, smtpclient.TLSImplicit
	case level == route.None:
		return nil, smtpclient.TLSNever
	case level == route.Opportunistic:
		return config, smtpclient.TLSOpportunistic
	}
	return config, smtpclient.TLSRequired
}

// judge tells the policy what became of it. A host that was never asked for TLS,
// because it could not be used at all, says nothing about it.
func judge(h hop, client *smtpclient.Client, err error) {
	if client != nil {
		if state, secure := client.TLSState(); secure {
			h.protection.Done(&state, nil)
		} else {
			h.protection.Done(nil, nil)
		}
	} else if e, ok := errors.AsType[*smtpclient.Error](err); ok && (e.Stage == smtpclient.StageSTARTTLS || e.Stage == smtpclient.StageHandshake) {
		h.protection.Done(nil, err)
	}
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
