package relay

import (
	"time"

	"waypost/configs"
	"waypost/relay/recipient"
)

// recipients makes what knows who can be delivered to. What was verified before a
// reload is still known.
func (r *Relay) recipients(c *configs.Config) (*recipient.Checker, error) {
	o := recipient.Options{
		Timeout: time.Duration(c.Relay.VerifyTimeout), DeferUnknown: c.Relay.VerifyFailure == configs.VerifyDefer,
		Foresee: c.Relay.RefuseUndeliverable, Outbound: r.outbound, Place: c.Place,
	}
	if name := c.Relay.RecipientsFile; name != "" {
		var err error
		if o.List, err = recipient.Load(name, r.reread("recipients", name)); err != nil {
			return nil, err
		}
		r.log.Info("recipients read", "file", name, "recipients", o.List.Get().Len())
	}
	if c.Relay.VerifyRecipients {
		if r.verifier == nil {
			r.verifier = recipient.NewVerifier(r.metrics)
		}
		o.Verifier = r.verifier
	}
	return recipient.New(o), nil
}
