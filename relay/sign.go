package relay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"waypost/configs"
	"waypost/metrics"
	"waypost/relay/dkim"
)

// dkimKeys translates the keys of a configuration; none where nothing is signed.
func dkimKeys(c *configs.Config) (all []dkim.Key) {
	if c.Relay.Sign == configs.SignNone {
		return nil
	}
	for _, k := range c.DKIM {
		all = append(all, dkim.Key{
			Domain: k.Domain, Selector: k.Selector, File: k.KeyFile, Subdomains: k.Subdomains, Headers: orNil(k.Headers), Oversign: k.Oversign,
			Expiry: time.Duration(k.Expiry), SevenBit: k.SevenBit, CheckDNS: k.CheckDNS,
		})
	}
	return all
}

func orNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// signingKeys reads the keys that sign; the files are read again when they change.
func (r *Relay) signingKeys(c *configs.Config) (*dkim.Set, error) {
	return dkim.New(dkim.Options{
		Keys: dkimKeys(c), TXT: r.texts, Dir: r.config.DataDir, Before: r.keys.Load(), Log: r.log, Metrics: r.metrics,
		Reread: func(file string) func(error) { return r.reread("DKIM key", file) },
	})
}

func (r *Relay) texts(ctx context.Context, name string) ([]string, error) {
	t, err := r.dns.TXT(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up TXT: %w", err)
	}
	return t.List, nil
}

// KeyReport is one key of a configuration, and what the DNS says of it.
type KeyReport struct {
	Domain, Selector, File string
	// Algorithm and Bits are those of the key; empty and 0 where it cannot be read.
	Algorithm dkim.Algorithm
	Bits      int
	// Unreadable is why the file has no key that signs; nil otherwise.
	Unreadable error
	// Finding is that of the DNS; it means nothing without a key.
	Finding dkim.Finding
}

// CheckKeys compares the keys of some domains, or of all where none is named, with
// the DNS. Nothing needs to run.
func CheckKeys(ctx context.Context, c *configs.Config, domains []string) (all []KeyReport) {
	r := &Relay{config: c, log: slog.New(slog.DiscardHandler), metrics: metrics.New(nil)}
	r.dns = r.newResolver()
	for _, k := range c.DKIM {
		if len(domains) > 0 && !slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, k.Domain) }) {
			continue
		}
		report := KeyReport{Domain: k.Domain, Selector: k.Selector, File: k.KeyFile}
		if signer, err := dkim.ReadKey(k.KeyFile); err != nil {
			report.Unreadable = err
		} else {
			public := signer.Public()
			report.Algorithm, report.Bits = dkim.AlgorithmOf(public), dkim.Bits(public)
			report.Finding = dkim.Look(ctx, r.texts, k.Domain, k.Selector, public)
		}
		all = append(all, report)
	}
	return all
}

// watchKeys looks for the records of the keys of now, and no longer for those
// of before. r.mu is held.
func (r *Relay) watchKeys() {
	if r.stopKeys != nil {
		r.stopKeys()
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stopKeys = stop
	keys := r.keys.Load()
	r.side.Go(func() { keys.Run(ctx) })
}
