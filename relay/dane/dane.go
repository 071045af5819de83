// Package dane verifies a mail host's certificate by what the DNS says of it
// (RFC 6698, RFC 7671, RFC 7672). It is pure: whether the records are secure is
// for others to find out.
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"waypost/resolver"
)

// Certificate usages (RFC 7218 §2.1).
const (
	usageTA = 2 // DANE-TA: an authority's certificate
	usageEE = 3 // DANE-EE: the host's own certificate
)

// Selectors and matching types (RFC 7218 §2.2, §2.3).
const (
	selectCert = 0
	selectKey  = 1

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// Usable returns the records that a mail host can be verified by. RFC 7672
// §3.1.3: those of usages 0 and 1 are not among them, as SMTP has no authorities
// that both sides know. Where a digest comes in two strengths the weaker one is
// left out (RFC 7671 §9).
func Usable(all []resolver.TLSA) []resolver.TLSA {
	var list []resolver.TLSA
	for _, r := range all {
		if usable(r) {
			list = append(list, r)
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(r resolver.TLSA) bool {
		return r.Matching == matchSHA256 && slices.ContainsFunc(list, func(o resolver.TLSA) bool {
			return o.Usage == r.Usage && o.Selector == r.Selector && o.Matching == matchSHA512
		})
	})
}

func usable(r resolver.TLSA) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector > selectKey {
		return false
	}
	switch r.Matching {
	case matchSHA256:
		return len(r.Data) == sha256.Size
	case matchSHA512:
		return len(r.Data) == sha512.Size
	case matchFull:
		// RFC 7671 §10.1.1: what does not parse can match nothing.
		if r.Selector == selectKey {
			_, err := x509.ParsePKIXPublicKey(r.Data)
			return err == nil
		}
		_, err := x509.ParseCertificate(r.Data)
		return err == nil
	}
	return false
}

// ErrMismatch means that no record is about the certificates that a host showed.
var ErrMismatch = errors.New("no TLSA record matches the host's certificate")

// Verify tests the certificates that a host showed in a handshake against usable
// records, of which one has to match. Names are those that its certificate may
// be for, where an authority is named (RFC 7672 §3.2.2).
func Verify(records []resolver.TLSA, shown []*x509.Certificate, names []string, now time.Time) error {
	if len(shown) == 0 {
		return errors.New("the host showed no certificate")
	}
	failure := error(ErrMismatch)
	for _, r := range records {
		if r.Usage == usageEE {
			// RFC 7672 §3.1.1: the record vouches for names and validity, so what
			// the certificate says of them has no weight.
			if matches(r, shown[0]) {
				return nil
			}
			continue
		}
		err := verifyAuthority(r, shown, names, now)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrMismatch) {
			failure = err
		}
	}
	return failure
}

// VerifyConnection is [Verify] in the form that a tls.Config wants it. It is
// called for resumed sessions too.
func VerifyConnection(records []resolver.TLSA, names []string, now func() time.Time) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		return Verify(records, state.PeerCertificates, names, now())
	}
}

// verifyAuthority tests whether the authority that a record of usage 2 names
// signed the host's certificate (RFC 7672 §3.1.2).
func verifyAuthority(r resolver.TLSA, shown []*x509.Certificate, names []string, now time.Time) error {
	// The authority's certificate has to be among those shown; a whole one may
	// come from the record instead.
	var anchor *x509.Certificate
	if r.Matching == matchFull && r.Selector == selectCert {
		anchor, _ = x509.ParseCertificate(r.Data) // as Usable did
	}
	if i := slices.IndexFunc(shown[1:], func(c *x509.Certificate) bool { return matches(r, c) }); i >= 0 {
		anchor = shown[1+i]
	}
	if anchor == nil {
		return ErrMismatch
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(anchor)
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	if err != nil {
		return fmt.Errorf("by the authority of a TLSA record: %w", err)
	}
	for _, name := range names {
		if err = shown[0].VerifyHostname(name); err == nil {
			return nil
		}
	}
	return fmt.Errorf("by the authority of a TLSA record: %w", err)
}

// matches reports whether a record is about a certificate.
func matches(r resolver.TLSA, c *x509.Certificate) bool {
	part := c.Raw
	if r.Selector == selectKey {
		part = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(part)
		part = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(part)
		part = sum[:]
	}
	return len(r.Data) > 0 && bytes.Equal(part, r.Data)
}
