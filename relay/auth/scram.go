package auth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// scramServer is SCRAM-SHA-256 (RFC 5802, RFC 7677), with or without channel
// binding.
type scramServer struct {
	exchange  *exchange
	mechanism string
	// talk is nil before the client's first message.
	talk   *scram.ServerConversation
	proven bool // our signature was sent, and the client has to take note
	done   bool
}

// Next takes a client's response; nil is none yet.
func (c *scramServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case c.done:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case response == nil && c.talk == nil:
		return []byte{}, false, nil
	case c.proven:
		c.done = true
		if len(response) > 0 {
			return nil, true, c.exchange.malformed(c.mechanism)
		}
		return nil, true, c.exchange.settle(c.mechanism, c.talk.Username(), true)
	case c.talk == nil:
		challenge, err = c.first(string(response))
	default:
		challenge, err = c.final(string(response))
	}
	c.done = err != nil
	return challenge, c.done, err
}

// first takes the client's name and nonce, and answers with salt and nonce.
func (c *scramServer) first(message string) ([]byte, error) {
	e := c.exchange
	bound := strings.HasPrefix(message, "p=")
	if bound != (c.mechanism == ScramPlus) {
		return nil, e.malformed(c.mechanism)
	}
	users := e.auth.Users.Get()
	server, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		return users.scramCredentials(name), nil
	})
	if err != nil {
		return nil, err
	}
	// Any binding says that we have one: a client that has one too and saw no
	// -PLUS ("y") was lied to (RFC 5802 §6).
	talk := server.NewConversation()
	kind, _, _ := strings.Cut(strings.TrimPrefix(message, "p="), ",")
	for _, b := range e.bindings() {
		talk = server.NewConversationWithChannelBinding(b)
		if bound && string(b.Type) == kind {
			break
		}
	}
	c.talk = talk
	answer, err := talk.Step(message)
	if err != nil || len(talk.Username()) > maxName || talk.AuthzID() != "" && talk.AuthzID() != talk.Username() {
		return nil, e.malformed(c.mechanism)
	}
	if err := e.admit(c.mechanism, talk.Username()); err != nil {
		return nil, err
	}
	return []byte(answer), nil
}

// final takes the client's proof and answers with our own.
func (c *scramServer) final(message string) ([]byte, error) {
	answer, err := c.talk.Step(message)
	if err != nil || !c.talk.Valid() {
		return nil, c.exchange.settle(c.mechanism, c.talk.Username(), false)
	}
	c.proven = true
	return []byte(answer), nil
}

// bindings lists what ties an exchange to this TLS session, the best first
// (RFC 9266, RFC 5929 §4).
func (e *exchange) bindings() []scram.ChannelBinding {
	state := e.tls
	if state == nil {
		return nil
	}
	var list []scram.ChannelBinding
	if b, err := scram.NewTLSExporterBinding(state); err == nil && b.IsSupported() {
		list = append(list, b)
	}
	if data := endPoint(e.presented); data != nil {
		list = append(list, scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: data})
	}
	return list
}

// endPoint hashes our certificate as RFC 5929 §4.1 says: with the hash of its
// signature, or SHA-256 for the two that are broken. Where the signature has
// none of its own, as with Ed25519, there is no such binding.
func endPoint(der []byte) []byte {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil // there is none
	}
	hash := map[x509.SignatureAlgorithm]crypto.Hash{
		x509.MD5WithRSA: crypto.SHA256, x509.SHA1WithRSA: crypto.SHA256, x509.ECDSAWithSHA1: crypto.SHA256,
		x509.SHA256WithRSA: crypto.SHA256, x509.ECDSAWithSHA256: crypto.SHA256, x509.SHA256WithRSAPSS: crypto.SHA256,
		x509.SHA384WithRSA: crypto.SHA384, x509.ECDSAWithSHA384: crypto.SHA384, x509.SHA384WithRSAPSS: crypto.SHA384,
		x509.SHA512WithRSA: crypto.SHA512, x509.ECDSAWithSHA512: crypto.SHA512, x509.SHA512WithRSAPSS: crypto.SHA512,
	}[certificate.SignatureAlgorithm]
	if hash == 0 {
		return nil
	}
	h := hash.New()
	h.Write(certificate.Raw)
	return bytes.Clone(h.Sum(nil))
}
