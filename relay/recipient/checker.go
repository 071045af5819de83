package recipient

import (
	"context"
	"time"

	"waypost/queue"
	"waypost/relay/policy"
	"waypost/relay/smtp"
	"waypost/relay/watch"
)

// Outbound knows the ways that mail takes.
type Outbound interface {
	Destination(e *queue.Envelope, r *queue.Recipient) string
	Verify(ctx context.Context, e *queue.Envelope, path smtp.Path) queue.Result
	Foresee(ctx context.Context, e *queue.Envelope, path smtp.Path) (smtp.Reply, bool)
	TooLarge(e *queue.Envelope, path smtp.Path, size int64) bool
}

// Options configures a Checker. The zero value checks nothing.
type Options struct {
	// List are the recipients of the relayed domains; nil where they are not
	// known.
	List *watch.Value[*List]
	// Verifier asks for those that a list does not settle; nil asks for none.
	Verifier *Verifier
	// Timeout is how long a client waits for the answer; 0 means 10 seconds.
	Timeout time.Duration
	// DeferUnknown has clients come back where there is no answer; without it the
	// recipient is taken.
	DeferUnknown bool
	// Foresee refuses what DNS or an earlier session says cannot be delivered.
	Foresee  bool
	Outbound Outbound
	// Place says where a key is configured; nil knows of none.
	Place func(key string) string
}

// nullMX is the code for a domain that takes no mail (RFC 7504 §4).
const nullMX = 556

// foreseeTime bounds the look-up for one recipient.
const foreseeTime = 5 * time.Second

// Checker decides about recipients that policy allows.
type Checker struct{ Options }

// New returns a checker.
func New(o Options) *Checker {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	return &Checker{o}
}

// Question is one recipient of one message.
type Question struct {
	// Envelope is what is known of the message, which routes may depend on.
	Envelope *queue.Envelope
	Path     smtp.Path
	// Relayed says that its domain is one that is taken from anyone.
	Relayed bool
	// Size is what the client declared; 0 when it did not.
	Size int64
}

// The replies. They tell what is the matter, and not who said so.
var (
	unlisted = smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "No such recipient")
	later    = smtp.NewReply(450, smtp.EnhancedCode{4, 1, 1}, "Recipient cannot be verified now, try again later")
	noReturn = smtp.NewReply(550, smtp.EnhancedCode{5, 7, 27}, "Sender's domain takes no mail")
	tooLarge = smtp.NewReply(552, smtp.EnhancedCode{5, 3, 4}, "Message is too large for the recipient's mail host")
)

// Check decides whether a recipient is taken. It may ask others.
func (c *Checker) Check(ctx context.Context, q Question) policy.Decision {
	return c.decide(ctx, q, func() policy.Decision {
		ctx, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		asked := *q.Envelope // the probe may go on when the client is gone
		return c.verified(c.Verifier.Verify(ctx, c.key(q), func(ctx context.Context) Answer { return c.probe(ctx, &asked, q.Path) }))
	})
}

// Listed reports whether a recipient of a relayed domain is on the list, where
// there is one.
func (c *Checker) Listed(path smtp.Path) (has, known bool) {
	if c.List == nil {
		return false, false
	}
	return c.List.Get().Has(path) || path.IsPostmaster(), true
}

// CheckSender decides whether a sender is taken: one whose domain says that it
// takes no mail could not be told what became of the message (RFC 7505 §4.2).
func (c *Checker) CheckSender(ctx context.Context, sender smtp.Path) policy.Decision {
	const key = "relay.refuse_undeliverable"
	if !c.Foresee {
		return policy.Decision{Allowed: true}
	}
	ctx, cancel := context.WithTimeout(ctx, foreseeTime)
	defer cancel()
	// What goes back has the null reverse-path.
	if reply, certain := c.Outbound.Foresee(ctx, &queue.Envelope{}, sender); certain && reply.Code == nullMX {
		return c.no(noReturn, key, "the sender's domain takes no mail")
	}
	return c.yes(key, "nothing says that the sender's domain takes no mail")
}

// Explain decides as Check does by what is known already, and asks no mail host.
func (c *Checker) Explain(ctx context.Context, q Question) policy.Decision {
	return c.decide(ctx, q, func() policy.Decision {
		if answer, ok := c.Verifier.Remembered(c.key(q)); ok {
			return c.verified(answer)
		}
		return c.yes("relay.verify_recipients", "its mail host would be asked for it")
	})
}

// decide goes through what is known of a recipient, from what is nearest to what
// is farthest. An empty reason says that nothing was looked at.
func (c *Checker) decide(ctx context.Context, q Question, verify func() policy.Decision) policy.Decision {
	d, done := c.listed(q)
	if done {
		return d
	}
	d.Allowed = true
	if q.Relayed && c.Verifier != nil {
		if d = verify(); !d.Allowed {
			return d
		}
	}
	if c.Foresee {
		if certain := c.foreseen(ctx, q); !certain.Allowed || d.Reason == "" {
			return certain
		}
	}
	return d
}

func (c *Checker) yes(key, reason string) policy.Decision {
	return policy.Decision{Allowed: true, Reason: reason, Place: c.place(key)}
}

func (c *Checker) no(reply smtp.Reply, key, reason string) policy.Decision {
	return policy.Decision{Reason: reason, Place: c.place(key), Reply: reply}
}

func (c *Checker) place(key string) string {
	if c.Place == nil {
		return ""
	}
	return c.Place(key)
}

// listed decides by the list; done is false where it has nothing to say. RFC 5321
// §4.5.1: every domain has a postmaster.
func (c *Checker) listed(q Question) (d policy.Decision, done bool) {
	if !q.Relayed || c.List == nil {
		return d, false
	}
	switch {
	case c.List.Get().Has(q.Path):
		return c.yes("relay.recipients_file", "relay.recipients_file has the recipient"), true
	case q.Path.IsPostmaster():
		return c.yes("relay.recipients_file", "postmaster of a relayed domain"), true
	}
	return c.no(unlisted, "relay.recipients_file", "relay.recipients_file does not have the recipient"), true
}

// key names a recipient at its next hop.
func (c *Checker) key(q Question) Key {
	return Key{c.Outbound.Destination(q.Envelope, &queue.Recipient{Path: q.Path}), key(q.Path)}
}

func (c *Checker) probe(ctx context.Context, e *queue.Envelope, path smtp.Path) Answer {
	r := c.Outbound.Verify(ctx, e, path)
	answer := Answer{Reason: smtp.Printable(r.Text())}
	switch r.State {
	case queue.Delivered:
		answer.Known, answer.Exists = true, true
	case queue.Failed:
		answer.Known, answer.Status = true, r.Status
	default:
		answer.Silent = r.Reply.Code == 0
	}
	return answer
}

// verified decides by what the next hop said.
func (c *Checker) verified(a Answer) policy.Decision {
	const key = "relay.verify_recipients"
	switch {
	case a.Known && a.Exists:
		return c.yes(key, "its mail host takes mail for it")
	case a.Known:
		reply := unlisted
		// What the host says of the address is of use to the sender.
		if s := a.Status; s[0] == 5 && s != (smtp.EnhancedCode{5, 0, 0}) {
			reply.Enhanced = s
		}
		return c.no(reply, key, "its mail host refuses it: "+a.Reason)
	case c.DeferUnknown:
		return c.no(later, "relay.verify_failure", "its mail host could not be asked for it: "+a.Reason)
	}
	return c.yes("relay.verify_failure", "its mail host could not be asked for it: "+a.Reason)
}

// foreseen decides by what will become of the message for certain.
func (c *Checker) foreseen(ctx context.Context, q Question) policy.Decision {
	const key = "relay.refuse_undeliverable"
	if q.Size > 0 && c.Outbound.TooLarge(q.Envelope, q.Path, q.Size) {
		return c.no(tooLarge, key, "its mail host takes no message of that size")
	}
	ctx, cancel := context.WithTimeout(ctx, foreseeTime)
	defer cancel()
	if reply, certain := c.Outbound.Foresee(ctx, q.Envelope, q.Path); certain {
		return c.no(reply, key, reply.Lines[0])
	}
	return c.yes(key, "nothing says that it cannot be delivered")
}
