package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
)

// presentedKey is the key of a context value: where to note the certificate
// that a handshake presents. crypto/tls does not tell it afterwards.
type presentedKey struct{}

func withPresented(ctx context.Context, certificate *[]byte) context.Context {
	return context.WithValue(ctx, presentedKey{}, certificate)
}

// recordPresented returns a copy of c that notes the certificate it chooses.
func recordPresented(c *tls.Config) *tls.Config {
	out := c.Clone()
	out.SessionTicketsDisabled = true // some senders fail on Go's tickets
	out.Certificates = nil            // so that GetCertificate is always asked
	out.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		chosen, err := choose(c, hello)
		if note, ok := hello.Context().Value(presentedKey{}).(*[]byte); ok && err == nil && len(chosen.Certificate) > 0 {
			*note = chosen.Certificate[0]
		}
		return chosen, err
	}
	if c.GetConfigForClient != nil {
		out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			other, err := c.GetConfigForClient(hello)
			if other == nil || err != nil {
				return nil, err
			}
			return recordPresented(other), nil
		}
	}
	return out
}

// choose picks a certificate as crypto/tls does: by GetCertificate, else the
// first that the client can use, else the first.
func choose(c *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.GetCertificate != nil {
		if chosen, err := c.GetCertificate(hello); chosen != nil || err != nil {
			return chosen, err
		}
	}
	if len(c.Certificates) == 0 {
		return nil, errors.New("no certificate")
	}
	for i := range c.Certificates {
		if hello.SupportsCertificate(&c.Certificates[i]) == nil {
			return &c.Certificates[i], nil
		}
	}
	return &c.Certificates[0], nil
}
