package relay

import (
	"errors"
	"slices"
	"strings"

	"waypost/configs"
	"waypost/relay/auth"
	"waypost/relay/control"
	"waypost/relay/dkim"
	"waypost/relay/inbound"
	"waypost/relay/policy"
	"waypost/relay/route"
	"waypost/relay/smtpserver"
)

// reloadable are the tables, and keys, that a reload changes. The others need a
// restart.
var reloadable = []string{
	"listener", "tls", "certificate", "relay", "deny", "allow", "login", "dkim", "limits", "route", "reply", "pace", "log.level",
}

// Reload loads the configuration again and changes to it, without dropping a
// connection: sessions that are open end under the rules they began with. What
// cannot be used is kept out: after an error everything is as it was.
func (r *Relay) Reload() (*control.Reloaded, error) {
	if begin := r.options.Reloading; begin != nil {
		defer begin()()
	}
	done, err := r.reload()
	if err != nil {
		r.log.Error("configuration not reloaded", "error", err.Error())
		return nil, &control.Problem{Code: control.CodeConfiguration, Text: err.Error()}
	}
	r.log.Info("configuration reloaded", "changed", strings.Join(done.Changed, " "))
	if len(done.Restart) > 0 {
		r.log.Warn("configuration needs a restart", "keys", strings.Join(done.Restart, " "))
	}
	return done, nil
}

func (r *Relay) reload() (*control.Reloaded, error) {
	if r.options.Load == nil {
		return nil, errors.New("there is nothing to load the configuration from")
	}
	c, err := r.options.Load()
	if err != nil {
		return nil, err
	}
	done, err := r.change(c)
	if err != nil {
		return nil, err
	}
	for _, w := range c.Warnings {
		r.log.Warn("configuration", "warning", w.String())
		done.Warnings = append(done.Warnings, w.String())
	}
	return done, nil
}

// change changes to a configuration.
func (r *Relay) change(c *configs.Config) (*control.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, errors.New("waypost is stopping")
	}
	done := &control.Reloaded{}
	for _, key := range r.config.Changed(c) {
		if slices.ContainsFunc(reloadable, func(table string) bool { return key == table || strings.HasPrefix(key, table+".") }) {
			done.Changed = append(done.Changed, key)
		} else {
			done.Restart = append(done.Restart, key)
		}
	}
	if problems := Check(c); len(problems) > 0 {
		return nil, problems
	}
	table, err := routes(c.Routes)
	if err != nil {
		return nil, err
	}
	// What needs a restart keeps the value that is in use.
	merged := c.With(r.config, done.Restart)
	doors, err := r.build(merged)
	if err != nil {
		return nil, err
	}
	r.outbound.SetRoutes(route.NewTable(table), accounts(merged))
	r.outbound.SetReplies(replies(c.Replies))
	r.outbound.Pacer.SetRules(paces(merged))
	r.enter(doors)
	r.config = merged
	if r.options.Reloaded != nil {
		r.options.Reloaded(merged)
	}
	return done, nil
}

// build makes a server for each listener of a configuration. Sockets that are
// open already are shared with the doors of now; after an error, those that
// are new have been closed.
func (r *Relay) build(c *configs.Config) ([]*door, error) {
	rules := rules(c)
	users, err := r.authenticator(c)
	if err != nil {
		return nil, err
	}
	store, err := r.certificates(c)
	if err != nil {
		return nil, err
	}
	aliases, err := r.readAliases(c)
	if err != nil {
		return nil, err
	}
	keys, err := r.signingKeys(c)
	if err != nil {
		return nil, err
	}
	if r.rules != nil {
		rules.Limiter = policy.NewLimiter(limits(c.Limits), r.rules.Limiter)
	}
	recipients, err := r.recipients(c)
	if err != nil {
		return nil, err
	}
	options := inbound.Options{
		Hostname: c.Hostname, Queue: r.queue, Rules: rules, Classes: policyClasses(c), Authenticator: users, Recipients: recipients,
		MaxRecipients: c.Limits.Recipients, MaxHops: c.Limits.Hops, MaxOwnHops: c.Limits.OwnHops, ETRN: networks(c.Relay.ETRN), Log: r.log, Metrics: r.metrics,
	}
	options.Aliases, options.NamesKnown, options.Expand, options.Disclose = aliases, namesKnown(c), c.Relay.Expn, c.Relay.DiscloseForwarding
	options.Reporter = &reporter{hostname: c.Hostname, keys: func() *dkim.Set { return keys }}
	if c.Relay.Sign == configs.SignTrusted {
		options.Signer = keys
	}
	relaying := inbound.New(options)
	options.Submission, options.Signer = true, keys
	submission := inbound.New(options)
	if r.connections == nil {
		r.connections = smtpserver.NewConnections(smtpserver.ConnectionLimits{})
	}
	var doors, fresh []*door
	for _, l := range c.Listeners {
		secure, err := r.listenerTLS(l, store)
		d := r.doorAt(l.Address, doors)
		if d == nil && err == nil {
			if d, err = r.openDoor(l); err == nil {
				fresh = append(fresh, d)
			}
		}
		if err != nil {
			for _, d := range fresh {
				d.socket.Close()
			}
			return nil, err
		}
		backend := relaying
		if l.Mode == configs.ModeSubmission {
			backend = submission
		}
		doors = append(doors, &door{config: l, socket: d.socket, server: r.newServer(c, l, backend, secure)})
	}
	r.connections.Bound(smtpserver.ConnectionLimits{
		Total: c.Limits.Connections, PerAddress: c.Limits.ConnectionsPerAddress,
		PerNetwork: c.Limits.ConnectionsPerNetwork, IPv4Prefix: c.Limits.IPv4Prefix, IPv6Prefix: c.Limits.IPv6Prefix,
	})
	r.rules, r.users, r.checker = rules, users, recipients
	r.keys.Store(keys)
	r.noteSockets(doors)
	r.aliases.Store(aliases)
	options.Submission = false
	r.backend.Store(inbound.New(options)) // what programs of this host leave is signed, too
	if r.serving {
		r.watchKeys()
	}
	return doors, nil
}

// doorAt returns the door of now that has an address, and that none of taken has.
func (r *Relay) doorAt(address string, taken []*door) *door {
	for _, d := range r.doors {
		used := slices.ContainsFunc(taken, func(t *door) bool { return t.socket == d.socket })
		if d.config.Address == address && !used {
			return d
		}
	}
	return nil
}

// enter puts the new doors in the place of those of now.
func (r *Relay) enter(doors []*door) {
	for _, old := range r.doors {
		if r.serving {
			old.turn.end()
		}
		if !slices.ContainsFunc(doors, func(d *door) bool { return d.socket == old.socket }) {
			r.log.Info("no longer listening", "protocol", "smtp", "address", old.socket.Addr().String())
			old.socket.Close()
		}
		r.retired = append(r.retired, old.server)
	}
	r.retired = slices.DeleteFunc(r.retired, func(s *smtpserver.Server) bool { return s.Sessions() == 0 })
	for _, d := range doors {
		if r.doorAt(d.config.Address, nil) == nil {
			r.announceDoor(d)
		}
		if r.serving {
			r.serve(d)
		}
	}
	r.doors = doors
}

var _ inbound.Authenticator = (*auth.Authenticator)(nil)
