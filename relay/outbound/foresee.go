package outbound

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"waypost/queue"
	"waypost/relay/route"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
	"waypost/resolver"
)

// This file finds out what would become of a message before there is one.

// Verify asks the next hop whether it would take a recipient, on the way that a
// message of this envelope would go, and sends nothing: MAIL with the null
// reverse-path, RCPT, and no content. The result is Delivered when it would,
// Failed when it would not, and Deferred when that could not be found out.
func (o *Outbound) Verify(ctx context.Context, e *queue.Envelope, path smtp.Path) queue.Result {
	r := queue.Recipient{Path: path}
	m := &queue.Message{Envelope: *e}
	a := newAttempt(o, m, &queue.Delivery{Destination: o.Destination(e, &r), Recipients: []queue.Recipient{r}})
	a.probe = true
	return a.run(ctx).Results[0]
}

// fitProbe is fit for a transaction that sends nothing. All that matters of the
// message is how its recipient can be written.
func (a *attempt) fitProbe(s *session, batch []int) (smtpclient.Transaction, []int, io.Closer, error) {
	tx := smtpclient.Transaction{Probe: true, UTF8: a.message.UTF8}
	ext := s.client.Extensions()
	for _, i := range batch {
		to, err := smtpclient.Recipient{Path: a.open[i].Path}, error(nil)
		if !ext.SMTPUTF8 {
			tx.UTF8 = false
			if to, err = asciiRecipient(to); err != nil {
				return tx, nil, nil, err
			}
		}
		tx.Recipients = append(tx.Recipients, to)
	}
	return tx, batch, io.NopCloser(strings.NewReader("")), nil
}

// Foresee returns the reply that a message to a recipient gets in the end for
// certain, by what DNS says of the domain where the recipient's own mail hosts
// are the only way: that there is no such domain (550 5.1.2), or that it takes no
// mail (556 5.1.10, RFC 7505 §5). It returns false where nothing is certain.
func (o *Outbound) Foresee(ctx context.Context, e *queue.Envelope, path smtp.Path) (smtp.Reply, bool) {
	via := o.routing.Load().lookup(e, &queue.Recipient{Path: path}).Via
	if len(via) != 1 || via[0].Kind != route.MX || via[0].Domain != "" {
		return smtp.Reply{}, false
	}
	_, err := o.Resolver.Hosts(ctx, path.Domain)
	dns, ok := errors.AsType[*resolver.Error](err)
	switch {
	case ok && dns.Kind == resolver.NullMX:
		return smtp.NewReply(556, smtp.EnhancedCode{5, 1, 10}, "The recipient's domain takes no mail"), true
	case ok && dns.Kind == resolver.NoSuchDomain:
		return smtp.NewReply(550, smtp.EnhancedCode{5, 1, 2}, "The recipient's domain does not exist"), true
	}
	return smtp.Reply{}, false
}

// TooLarge reports whether a message of so many octets is larger than the
// destination's hosts have said of late that they take.
func (o *Outbound) TooLarge(e *queue.Envelope, path smtp.Path, size int64) bool {
	most, known := o.sizes.get(o.routing.Load().lookup(e, &queue.Recipient{Path: path}).Name(path), time.Now())
	return known && size > most
}
