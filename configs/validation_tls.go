package configs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// tls checks the certificate and its key, and says which of the two is wrong.
func (v *validation) tls() {
	t := v.config.TLS
	switch {
	case t.Certificate == "" && t.Key == "":
		return
	case t.Key == "":
		v.fail("tls.certificate", "needs tls.key")
		return
	case t.Certificate == "":
		v.fail("tls.key", "needs tls.certificate")
		return
	}
	certificate, err := v.files.ReadFile(t.Certificate)
	readable := v.check("tls.certificate", err)
	key, err := v.files.ReadFile(t.Key)
	if !v.check("tls.key", err) || !readable {
		return
	}
	leaf, err := firstCertificate(certificate)
	if err != nil {
		v.fail("tls.certificate", "%s: %v", t.Certificate, err)
		return
	}
	// The certificate has been read, so what is left to be wrong is the key.
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		v.fail("tls.key", "%s with the certificate %s: %v", t.Key, t.Certificate, err)
		return
	}
	v.secrecy("tls.key", t.Key)
	v.validity(leaf, time.Now())
}

// validity warns of a certificate that is not valid at a time.
func (v *validation) validity(leaf *x509.Certificate, now time.Time) {
	const layout = "2006-01-02 15:04 MST"
	switch name := v.config.TLS.Certificate; {
	case now.After(leaf.NotAfter):
		v.warn("tls.certificate", "%s expired on %s", name, leaf.NotAfter.UTC().Format(layout))
	case now.Before(leaf.NotBefore):
		v.warn("tls.certificate", "%s is not valid before %s", name, leaf.NotBefore.UTC().Format(layout))
	}
}

// firstCertificate reads the first certificate of a PEM file, which is ours.
func firstCertificate(text []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("it has no certificate in PEM form")
		}
		if block.Type == "CERTIFICATE" {
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("its certificate cannot be read: %w", err)
			}
			return certificate, nil
		}
		text = rest
	}
}
