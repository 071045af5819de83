package dkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// State is what is known of a key's record.
type State uint8

const (
	// Unknown: the DNS has not been asked yet, or could not answer.
	Unknown State = iota
	// Published: the record is there and has this key.
	Published
	// Missing: there is no record.
	Missing
	// Other: there is a record, and it is of no use for this key.
	Other
)

// String returns the state's word.
func (s State) String() string {
	return [...]string{"unknown", "published", "missing", "other"}[s]
}

// Finding is what the DNS says of a key.
type Finding struct {
	State State
	// Err is why the key is not published; nil when it is.
	Err error
	// Testing says that the record asks verifiers to ignore failures (t=y).
	Testing bool
}

// Look compares a key with its record.
func Look(ctx context.Context, txt TXT, domain, selector string, public crypto.PublicKey) Finding {
	name := RecordName(domain, selector)
	texts, err := txt(ctx, name)
	if err != nil {
		return Finding{Unknown, fmt.Errorf("look up %s: %w", name, err), false}
	}
	// A wildcard for SPF answers here, too; only a record with a key counts.
	records := slices.DeleteFunc(slices.Clone(texts), func(s string) bool { _, ok := tags(s)["p"]; return !ok })
	switch {
	case len(texts) == 0:
		return Finding{Missing, fmt.Errorf("%s has no TXT record", name), false}
	case len(records) == 0:
		return Finding{Missing, fmt.Errorf("%s has no TXT record with a key", name), false}
	case len(records) > 1:
		// RFC 6376 §3.6.2.2: what verifiers do then is not defined.
		return Finding{Other, fmt.Errorf("%s has %d records with a key, and may have one", name, len(records)), false}
	}
	t := tags(records[0])
	f := Finding{State: Published, Testing: hasWord(t["t"], "y")}
	if err := compare(t, public); err != nil {
		f.State, f.Err = Other, fmt.Errorf("%s: %w", name, err)
	}
	return f
}

// compare says why a record is of no use for a key.
func compare(t map[string]string, public crypto.PublicKey) error {
	if v, ok := t["v"]; ok && v != "DKIM1" {
		return fmt.Errorf("the record is of version %.20q", v)
	}
	if t["p"] == "" {
		return errors.New("the record has revoked its key") // RFC 6376 §3.6.1
	}
	kind := Algorithm(t["k"])
	if kind == "" {
		kind = RSA
	}
	if own := AlgorithmOf(public); kind != own {
		return fmt.Errorf("the record has a key of kind %.20q, and ours is %s", kind, own)
	}
	if h, ok := t["h"]; ok && !hasWord(h, "sha256") {
		return errors.New("the record does not allow sha256")
	}
	if s, ok := t["s"]; ok && !hasWord(s, "*") && !hasWord(s, "email") {
		return errors.New("the record is not for mail")
	}
	same, err := sameKey(t["p"], public)
	if err == nil && !same {
		err = errors.New("the record has another key")
	}
	return err
}

// sameKey compares the tag p= with a key.
func sameKey(p string, public crypto.PublicKey) (bool, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p), ""))
	if err != nil {
		return false, errors.New("the key in the record is not base64")
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
		return bytes.Equal(raw, k), nil
	case *rsa.PublicKey:
		// Both forms are in use (RFC 6376, erratum 3017).
		if other, err := x509.ParsePKIXPublicKey(raw); err == nil {
			return k.Equal(other), nil
		}
		other, err := x509.ParsePKCS1PublicKey(raw)
		if err != nil {
			return false, errors.New("the key in the record cannot be read")
		}
		return k.Equal(other), nil
	}
	return false, nil
}

// tags reads a tag list (RFC 6376 §3.2). What is no tag counts for nothing.
func tags(s string) map[string]string {
	all := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		if name, value, ok := strings.Cut(part, "="); ok {
			all[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return all
}

// hasWord looks for a word between colons.
func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ":") {
		if strings.EqualFold(strings.TrimSpace(w), word) {
			return true
		}
	}
	return false
}
