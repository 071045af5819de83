package route

import (
	"crypto/x509"
	"net/netip"
)

// TLS says how a connection is to be secured.
type TLS uint8

// The levels of TLS.
const (
	// Opportunistic uses TLS where it is offered, without verifying.
	Opportunistic TLS = iota
	// None never uses TLS.
	None
	// Required does not go on without TLS, and does not verify.
	Required
	// Verified does not go on without a certificate for the host's name.
	Verified
	// DANE does not go on without a certificate that matches secure TLSA
	// records (RFC 7672).
	DANE
)

// Terms are how mail is handed over at a leg.
type Terms struct {
	// TLS is the security of connections.
	TLS TLS
	// Pins are SHA-256 digests of public keys (SubjectPublicKeyInfo), of which a
	// host's certificate must have one; empty asks for none.
	Pins [][32]byte
	// Roots are the authorities for [Verified]; nil is the system's.
	Roots *x509.CertPool
	// Account names what to log in with at the smarthost, which is kept
	// elsewhere; empty means no AUTH.
	Account string
	// Username and Password are an account of two words.
	Username, Password string
	// Sources are the addresses from which connections are made, one for each
	// family at most. Without any the system chooses; with some, hosts of the
	// other family are not tried.
	Sources []netip.Addr
	// Hello is our name in EHLO; empty is the one that all routes share.
	Hello string
}

// TermsOf returns the terms of a leg.
func (r *Route) TermsOf(leg int) *Terms {
	if own := r.Via[leg].Terms; own != nil {
		return own
	}
	return &r.Terms
}
