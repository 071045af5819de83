package relay

import (
	"crypto/sha256"
	"encoding/hex"

	"waypost/relay/control"
	"waypost/relay/outbound"
	"waypost/relay/smtp"
)

// greeting tells what came of greeting a host.
func greeting(g *outbound.Greeting) *control.ExplainedSession {
	if g == nil {
		return nil
	}
	out := &control.ExplainedSession{Host: g.Host, Extensions: []string{}, TLS: g.TLS, Seconds: g.Took.Seconds()}
	for _, name := range g.Extensions {
		out.Extensions = append(out.Extensions, smtp.Printable(name))
	}
	if g.Err != nil {
		out.Error = smtp.Printable(g.Err.Error())
	}
	if c := g.Certificate; c != nil {
		digest := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		out.Certificate = &control.ExplainedCertificate{
			Subject: smtp.Printable(c.Subject.String()), Names: []string{}, Issuer: smtp.Printable(c.Issuer.String()),
			Ends: c.NotAfter.UTC(), SPKISHA256: hex.EncodeToString(digest[:]),
		}
		for _, name := range c.DNSNames {
			out.Certificate.Names = append(out.Certificate.Names, smtp.Printable(name))
		}
	}
	return out
}
