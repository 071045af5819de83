// Package dkim signs the mail that we originate (RFC 6376, RFC 8463).
//
// A [Set] has the keys of the configuration, and knows which of them have their
// record in the DNS. A [Writer] stands before the queue: it holds a content until
// it is whole, converts what a later host could only pass on changed, and passes
// it on behind its signatures. The steps:
//
//  1. the header section is gathered, and the From field names the domain;
//  2. where no key is for that domain, everything passes as it is;
//  3. otherwise the content is kept, in memory while it is small and in a file
//     without a name beyond that, so that nothing is left after a crash;
//  4. it is converted to 7 bits if that is asked for (RFC 6376 §5.3), and read
//     once for the signatures and once more for the queue.
//
// A key whose record is not published, or is another one, signs nothing: until a
// new key can be verified everywhere, the one before goes on. It decides nothing
// about whose mail is signed.
package dkim

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"strings"
	"time"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// Key is a key as it is configured.
type Key struct {
	// Domain is the signing domain (d=), Selector its selector (s=).
	Domain, Selector string
	// File is the private key, in PEM.
	File string
	// Subdomains has it sign for all domains below, too, unless they have keys of
	// their own.
	Subdomains bool
	// Headers are the fields that are signed, and Oversign those of which one more
	// is signed than there is, so that none can be added. Nil is the default.
	Headers, Oversign []string
	// Expiry is how long a signature is valid; 0 is for ever.
	Expiry time.Duration
	// SevenBit has content converted to 7 bits before it is signed, so that no
	// later host has to.
	SevenBit bool
	// CheckDNS has the key wait for its record.
	CheckDNS bool
}

// TXT looks up the texts of a name; that there are none is no error.
type TXT func(ctx context.Context, name string) ([]string, error)

// Options configures a Set.
type Options struct {
	// Keys, in order: of those of one domain and one algorithm, the first that is
	// published signs.
	Keys []Key
	// TXT finds records. Nil is never asked: each key counts as published.
	TXT TXT
	// Dir is where a large content waits for its signature.
	Dir string
	// Reread makes what is told when a key file that has changed was read again.
	// Nil tells nobody.
	Reread func(file string) func(error)
	// Before is the set that this one takes the place of, for what it has seen of
	// the DNS. Nil is none.
	Before  *Set
	Log     *slog.Logger     // nil discards
	Metrics *metrics.Metrics // nil counts into nothing
}

// Set has keys. The nil Set has none.
type Set struct {
	Options
	keys  []*key
	check chan struct{} // has a value when a key is to be looked up at once
}

// New reads the keys. One that cannot be read is an error.
func New(o Options) (*Set, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	if o.Reread == nil {
		o.Reread = func(string) func(error) { return nil }
	}
	s := &Set{Options: o, check: make(chan struct{}, 1)}
	var errs []error
	for _, k := range o.Keys {
		file, err := load(k.File, o.Reread(k.File))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.keys = append(s.keys, &key{Key: k, file: file, waits: k.CheckDNS && o.TXT != nil})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.inherit(o.Before)
	return s, nil
}

// Len returns the number of keys.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.keys)
}

// signing is a key that is to sign.
type signing struct {
	*key
	signer crypto.Signer
}

// choose returns the keys that sign for a domain in From: one of each algorithm.
// found says that there are keys for it, even if none can be used.
func (s *Set) choose(domain string) (chosen []signing, found bool) {
	keys := s.keysFor(domain)
	for _, algorithm := range Algorithms() {
		if k, ok := s.best(keys, algorithm); ok {
			chosen = append(chosen, k)
		}
	}
	return chosen, len(keys) > 0
}

// best returns the first key whose record was seen. Where nothing is known yet,
// as after a start without DNS, that is the last: the newest ones come first.
func (s *Set) best(keys []*key, algorithm Algorithm) (best signing, ok bool) {
	for _, k := range keys {
		signer, state := k.usable(s.again)
		if signer == nil || AlgorithmOf(signer.Public()) != algorithm {
			continue
		}
		best, ok = signing{k, signer}, true
		if state == Published {
			return best, true
		}
	}
	return best, ok
}

// keysFor returns the keys of a domain, or else of the nearest one above whose
// keys are for those below.
func (s *Set) keysFor(domain string) (keys []*key) {
	for name, below := domain, false; ; below = true {
		for _, k := range s.keys {
			if strings.EqualFold(k.Domain, name) && (k.Subdomains || !below) {
				keys = append(keys, k)
			}
		}
		_, parent, ok := strings.Cut(name, ".")
		if len(keys) > 0 || !ok {
			return keys
		}
		name = parent
	}
}

// Explain says which keys would sign for a domain in From, as
// "selector._domainkey.domain (algorithm)", and why others would not.
func (s *Set) Explain(domain string) (sign, others []string) {
	if s == nil {
		return nil, nil
	}
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		domain = ascii
	}
	chosen, _ := s.choose(domain)
	for _, k := range s.keysFor(domain) {
		used := false
		for _, c := range chosen {
			used = used || c.key == k
		}
		if used {
			sign = append(sign, k.name()+" ("+string(AlgorithmOf(k.file.Get().Public()))+")")
		} else {
			others = append(others, k.name()+": "+k.why())
		}
	}
	return sign, others
}
