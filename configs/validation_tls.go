package configs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// tls checks the certificates and their keys.
func (v *validation) tls() {
	v.pair("tls", v.config.TLS)
	for i, t := range v.config.Certificates {
		path := index("certificate", i)
		if t == (TLS{}) {
			v.fail(path+".certificate", "must be set, and key as well")
		}
		v.pair(path, t)
	}
	if len(v.config.Certificates) > 0 && v.config.TLS == (TLS{}) {
		v.warn("certificate[0]", "is of no use without tls.certificate, which is for clients that ask for no host")
	}
}

// pair checks a certificate and its key, and says which of the two is wrong.
func (v *validation) pair(path string, t TLS) {
	switch {
	case t.Certificate == "" && t.Key == "":
		return
	case t.Key == "":
		v.fail(path+".certificate", "needs %s.key", path)
		return
	case t.Certificate == "":
		v.fail(path+".key", "needs %s.certificate", path)
		return
	}
	certificate, err := v.files.ReadFile(t.Certificate)
	readable := v.check(path+".certificate", err)
	key, err := v.files.ReadFile(t.Key)
	if !v.check(path+".key", err) || !readable {
		return
	}
	leaf, err := firstCertificate(certificate)
	if err != nil {
		v.fail(path+".certificate", "%s: %v", t.Certificate, err)
		return
	}
	// The certificate has been read, so what is left to be wrong is the key.
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		v.fail(path+".key", "%s with the certificate %s: %v", t.Key, t.Certificate, err)
		return
	}
	v.secrecy(path+".key", t.Key)
	v.validity(path+".certificate", t.Certificate, leaf, time.Now())
}

// expiresSoon is when a certificate should have been renewed. Those of 90 days
// are renewed after 60.
const expiresSoon = 14 * 24 * time.Hour

// validity warns of a certificate that is not valid at a time, or not much
// longer.
func (v *validation) validity(path, name string, leaf *x509.Certificate, now time.Time) {
	const layout = "2006-01-02 15:04 MST"
	switch {
	case now.After(leaf.NotAfter):
		v.warn(path, "%s expired on %s", name, leaf.NotAfter.UTC().Format(layout))
	case now.Before(leaf.NotBefore):
		v.warn(path, "%s is not valid before %s", name, leaf.NotBefore.UTC().Format(layout))
	case now.Add(expiresSoon).After(leaf.NotAfter):
		v.warn(path, "%s expires soon, on %s", name, leaf.NotAfter.UTC().Format(layout))
	}
}

// clientCA checks the authorities of a listener's clients.
func (v *validation) clientCA(path string, l Listener) {
	v.oneOf(path+".tls_profile", l.TLSProfile, ProfileModern, ProfileLegacy)
	if l.ClientCA == "" {
		return
	}
	text, err := v.files.ReadFile(l.ClientCA)
	if v.check(path+".client_ca", err) {
		if _, err := firstCertificate(text); err != nil {
			v.fail(path+".client_ca", "%s: %v", l.ClientCA, err)
		}
	}
	if l.TLS == TLSNone {
		v.fail(path+".client_ca", "needs TLS: set tls.certificate and tls.key")
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
