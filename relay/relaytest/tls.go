package relaytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

// CA is a certificate authority in memory. What it signs is valid from 1999
// to 2100, so that it is also valid in a synctest bubble, where time begins
// on 2000-01-01.
type CA struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewCA makes an authority with a key of its own.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t}
	template := certificate("waypost test CA")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	ca.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatalf("sign the authority's certificate: %v", err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatalf("parse the authority's certificate: %v", err)
	}
	return ca
}

// Pool returns a pool with the authority as its only root.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Authority returns the authority's own certificate.
func (ca *CA) Authority() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key, Leaf: ca.cert}
}

// SelfSigned returns a server certificate for host names that nobody but itself
// vouches for.
func SelfSigned(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	template, key := certificate(names[0]), newKey(t)
	template.DNSNames, template.ExtKeyUsage = names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatalf("sign a certificate by itself: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Leaf signs a server certificate for host names and IP addresses.
func (ca *CA) Leaf(names ...string) tls.Certificate {
	ca.t.Helper()
	return ca.LeafUntil(notAfter(), names...)
}

// LeafUntil is Leaf with the instant at which the certificate expires.
func (ca *CA) LeafUntil(expires time.Time, names ...string) tls.Certificate {
	ca.t.Helper()
	template := certificate("waypost test server")
	template.NotAfter = expires
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key := newKey(ca.t)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatalf("sign a certificate for %q: %v", names, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return key
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte(rand.Text())[:16]),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     notAfter(),
	}
}

func notAfter() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
