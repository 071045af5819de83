package auth

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// maxName bounds the name that a client gives.
const maxName = 255

// plain is the PLAIN mechanism (RFC 4616).
type plain struct {
	exchange *exchange
	done     bool
}

// Next takes a client's response; nil is none yet.
func (p *plain) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case p.done:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case response == nil:
		return []byte{}, false, nil
	}
	p.done = true
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 || len(parts[1]) > maxName || !utf8.Valid(response) {
		return nil, true, p.exchange.malformed(Plain)
	}
	// Nobody may act as another user (RFC 4616 §2).
	identity, name := string(parts[0]), string(parts[1])
	return nil, true, p.exchange.password(Plain, name, string(parts[2]), identity == "" || identity == name)
}

// password checks a name and a password.
func (e *exchange) password(mechanism, name, password string, allowed bool) error {
	if err := e.admit(mechanism, name); err != nil {
		return err
	}
	ok := e.auth.Users.Get().Verify(name, password)
	return e.settle(mechanism, name, ok && allowed)
}

// login is the LOGIN mechanism, which is older than SASL and that many devices
// know alone (draft-murchison-sasl-login).
type login struct {
	exchange *exchange
	name     *string
	done     bool
}

// Next takes a client's response; nil is none yet.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case l.done:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case response == nil && l.name == nil:
		return []byte("Username:"), false, nil
	case len(response) > MaxPassword || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0,
		l.name == nil && len(response) > maxName:
		l.done = true
		return nil, true, l.exchange.malformed(Login)
	case l.name == nil:
		name := string(response)
		l.name = &name
		return []byte("Password:"), false, nil
	}
	l.done = true
	return nil, true, l.exchange.password(Login, *l.name, string(response), true)
}

// external is the EXTERNAL mechanism (RFC 4422 appendix A): the client's
// certificate says who it is.
type external struct {
	exchange *exchange
	done     bool
}

// Next takes a client's response; nil is none yet.
func (x *external) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case x.done:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case response == nil:
		return []byte{}, false, nil
	}
	x.done = true
	if len(response) > maxName || bytes.IndexByte(response, 0) >= 0 || !utf8.Valid(response) {
		return nil, true, x.exchange.malformed(External)
	}
	names, name := x.exchange.certificateNames(), string(response)
	if name == "" && len(names) > 0 {
		name = names[0]
	}
	if err := x.exchange.admit(External, name); err != nil {
		return nil, true, err
	}
	return nil, true, x.exchange.settle(External, name, slices.Contains(names, name))
}

// certificateNames lists what a verified client certificate says of its owner:
// mail addresses and host names, else its common name.
func (e *exchange) certificateNames() []string {
	if e.tls == nil {
		return nil
	}
	return CertificateNames(*e.tls)
}
