package auth

import "crypto/tls"

// CertificateNames lists who a client is by its certificate: the mail addresses
// and host names in it, and its common name where it has neither. A client whose
// certificate was not verified is nobody.
func CertificateNames(state tls.ConnectionState) []string {
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	names := append(append([]string(nil), leaf.EmailAddresses...), leaf.DNSNames...)
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	return names
}
