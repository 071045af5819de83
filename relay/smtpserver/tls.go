package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"waypost/metrics"
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

// handshake begins TLS. A failed one leaves nothing that could be said in
// clear.
func (s *session) handshake() error {
	ctx, cancel := context.WithTimeout(withPresented(s.server.stop, &s.certificate), s.server.HandshakeTimeout)
	defer cancel()
	s.nc.SetDeadline(time.Time{})
	conn := tls.Server(s.nc, s.server.TLS)
	s.nc.slot = &slot{of: s.server.Connections.handshakes, ctx: ctx}
	defer func() {
		s.nc.slot.leave()
		s.nc.slot = nil
	}()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.server.Metrics.TLSHandshakes.WithLabelValues(metrics.DirectionIn, metrics.TLSFailed).Inc()
		s.talk.Note("TLS handshake failed: " + err.Error())
		s.server.Log.Info("TLS handshake failed", "client", s.addr.String(), "error", err.Error())
		return err
	}
	state := conn.ConnectionState()
	s.server.Metrics.TLSHandshakes.WithLabelValues(metrics.DirectionIn, metrics.TLSVersion(state.Version)).Inc()
	s.conn, s.state = conn, &state
	s.talk.Note(tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite))
	// A new input: whatever came in clear is not looked at (RFC 3207 §4.2).
	s.in = newInput(s, s.server.buffers)
	return nil
}
