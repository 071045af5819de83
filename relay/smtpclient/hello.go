package smtpclient

import (
	"crypto/tls"
	"errors"
	"os"
)

// greeting waits for the host to speak first (RFC 5321 §4.3.1).
func (c *Client) greeting() error {
	code, err := c.receive(StageGreeting)
	switch {
	case err != nil:
		return err
	case code >= 400:
		return c.refused(StageGreeting)
	case code >= 300:
		return c.misplaced(StageGreeting)
	}
	return nil
}

// hello says EHLO, and HELO to a host that does not take it. LMTP has one
// word for both (RFC 2033 §4.1).
func (c *Client) hello() error {
	c.ext = Extensions{}
	verb := "EHLO "
	if c.options.LMTP {
		verb = "LHLO "
	}
	c.out = append(append(append(c.out[:0], verb...), c.options.Hostname...), "\r\n"...)
	code, err := c.exchange(StageHello)
	switch {
	case err != nil:
		return err
	case code >= 500 && c.options.LMTP:
		return c.refused(StageHello)
	case code >= 500:
		// RFC 5321 §3.2: a host that refuses EHLO may still know HELO.
		c.out = append(append(append(c.out[:0], "HELO "...), c.options.Hostname...), "\r\n"...)
		return c.positive(StageHello)
	case code >= 400:
		return c.refused(StageHello)
	case code >= 300:
		return c.misplaced(StageHello)
	}
	for _, line := range c.replies.lines()[1:] {
		c.ext.add(line)
	}
	c.ext.Pipelining = c.ext.Pipelining && !c.options.NoPipelining
	c.ext.Chunking = c.ext.Chunking && !c.options.NoChunking
	if _, secure := c.TLSState(); secure {
		c.ext.STARTTLS = false // RFC 3207 §4.2: not a second time
	}
	return nil
}

// secure starts TLS where the policy and the host have it.
func (c *Client) secure() error {
	switch policy := c.options.TLSPolicy; {
	case policy == TLSNever || policy == TLSImplicit || c.options.TLS == nil:
		return nil
	case !c.ext.STARTTLS && policy == TLSRequired:
		return &Error{Stage: StageSTARTTLS, Err: ErrNoSTARTTLS}
	case !c.ext.STARTTLS:
		return nil
	}
	c.out = append(c.out[:0], "STARTTLS\r\n"...)
	if err := c.positive(StageSTARTTLS); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return err
	}
	// RFC 3207 §4.2: what was said in clear is forgotten.
	err := c.hello()
	if fail, ok := errors.AsType[*Error](err); ok && fail.Reply.Code == 0 && c.wire.cancelled() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// By TLS 1.3 our side of the handshake is over before the host has
		// judged it: a refusal shows itself only here (RFC 8446 §4.4.4).
		fail.Stage = StageHandshake
	}
	return err
}

func (c *Client) handshake() error {
	// Whoever sits in the way could otherwise slip replies in front of the
	// ones that come under TLS. Bytes still under way end the handshake.
	if c.replies.buffered() {
		return c.failure(StageHandshake, ErrInjected)
	}
	config := c.options.TLS.Clone()
	// Small records would make several writes of each small message.
	config.DynamicRecordSizingDisabled = true
	conn := tls.Client(c.wire.raw, config)
	c.wire.limit(c.options.Timeouts.of(StageHandshake))
	if err := conn.Handshake(); err != nil {
		return c.failure(StageHandshake, err)
	}
	c.wire.conn = conn
	state := conn.ConnectionState()
	c.options.Talk.Note(tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite))
	return nil
}
