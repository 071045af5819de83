package smtpclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"

	"github.com/emersion/go-sasl"
)

// maxCommand is the longest command line, CRLF included (RFC 5321 §4.5.3.1.4).
const maxCommand = 512

// maxAuthSteps bounds the exchange with a host that never has enough.
const maxAuthSteps = 4

// authenticate sends the credentials, where there are any and where nobody
// else can read them.
func (c *Client) authenticate() error {
	if c.options.Username == "" && c.options.Token == "" && c.options.Mechanism == "" {
		return nil
	}
	if _, secure := c.TLSState(); !secure && !loopback(c.wire.raw.RemoteAddr()) {
		return &Error{Stage: StageAuth, Err: ErrClearAuth}
	}
	mechanism, err := c.mechanism()
	if err != nil {
		return &Error{Stage: StageAuth, Err: err}
	}
	return c.auth(mechanism)
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// auth is one AUTH exchange (RFC 4954 §4).
func (c *Client) auth(mechanism sasl.Client) error {
	defer func() { clear(c.out[:cap(c.out)]) }() // no password stays behind
	name, response, err := mechanism.Start()
	if err != nil {
		return &Error{Stage: StageAuth, Err: fmt.Errorf("start %s: %w", name, err)}
	}
	c.out = append(append(c.out[:0], "AUTH "...), name...)
	// RFC 4954 §4: an initial response only where the line stays short
	// enough; an empty one is "=". LOGIN never had one that every host knows,
	// and by CRAM-MD5 the host speaks first.
	begun := name == cramMD5
	if n := base64.StdEncoding.EncodedLen(len(response)); name != cramMD5 && name != sasl.Login && len(c.out)+n+3 <= maxCommand {
		c.out = base64.StdEncoding.AppendEncode(append(c.out, ' '), response)
		begun = true
		if len(response) == 0 {
			c.out = append(c.out, '=')
		}
	}
	for range maxAuthSteps {
		c.out = append(c.out, '\r', '\n')
		code, err := c.exchange(StageAuth)
		switch {
		case err != nil:
			return err
		case code >= 400:
			return c.refused(StageAuth)
		case code < 300:
			return c.trust(mechanism)
		}
		if begun {
			if response, err = c.respond(name, mechanism); err != nil {
				return err
			}
		}
		begun = true
		c.out = base64.StdEncoding.AppendEncode(c.out[:0], response)
	}
	return c.failure(StageAuth, fmt.Errorf("%w: endless AUTH", ErrProtocol))
}

// trust ends the exchange well, if the host has proved what it must.
func (c *Client) trust(mechanism sasl.Client) error {
	m, ok := mechanism.(interface{ proven() error })
	if !ok {
		return nil
	}
	if err := m.proven(); err != nil {
		return c.failure(StageAuth, err)
	}
	return nil
}

// respond answers the challenge that was just received.
func (c *Client) respond(name string, mechanism sasl.Client) ([]byte, error) {
	challenge, err := base64.StdEncoding.DecodeString(c.replies.lines()[0])
	if name == sasl.Login {
		// The prompts of LOGIN are words for people: their order counts, and
		// hosts differ in the words.
		challenge, err = []byte("Password:"), nil
	}
	var response []byte
	if err == nil {
		response, err = mechanism.Next(challenge)
	}
	if err == nil {
		return response, nil
	}
	// RFC 4954 §4: a lone asterisk cancels.
	c.out = append(c.out[:0], "*\r\n"...)
	_, cancelled := c.exchange(StageAuth)
	return nil, c.failure(StageAuth, errors.Join(fmt.Errorf("answer the challenge of %s: %w", name, err), cancelled))
}
