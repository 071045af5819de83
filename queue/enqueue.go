package queue

import "fmt"

// maxTogether is how many recipients one delivery has at most: as many as
// every server must take in one transaction (RFC 5321 §4.5.3.1.8).
const maxTogether = 100

// MaxRecipients is how many recipients a message can have: each may be a delivery
// of its own, and these are numbered by 16 bits.
const MaxRecipients = 1 << 16

// Commit puts the message in the queue. When it returns nil, content and
// envelope are on disk and will be delivered or reported on (RFC 5321 §6.1).
// The envelope's Size is set here, and its Arrival if it is zero; each
// recipient begins as Queued. After an error the message is not in the queue,
// but for ErrStore: then nobody knows before the next start.
func (d *Draft) Commit(env Envelope, recipients []Recipient) error {
	p, err := d.prepare(env, recipients)
	if err != nil {
		return err
	}
	if err := d.queue.commit(p.put); err != nil {
		return fmt.Errorf("enqueue %s: %w", d.id, err)
	}
	d.file = nil // it belongs to the queue now
	d.queue.enqueued(p)
	return nil
}

// prepared is a message that only needs to be written. Its records are made
// by whoever brings it, not by the committer, which all others wait for.
type prepared struct {
	draft      *Draft
	message    *Message
	deliveries []*Delivery
	record     []byte
	records    []deliveryRow
	tally      tally
}

// prepare sorts the recipients by destination and makes the content durable,
// with what says whose it is.
func (d *Draft) prepare(env Envelope, recipients []Recipient) (*prepared, error) {
	if len(recipients) == 0 {
		return nil, fmt.Errorf("enqueue %s: no recipients", d.id)
	}
	if len(recipients) > MaxRecipients {
		return nil, fmt.Errorf("enqueue %s: %d recipients, and a message has %d at most", d.id, len(recipients), MaxRecipients)
	}
	return d.prepareAs(env, func(m *Message) []*Delivery { return d.queue.sort(m, recipients) })
}

// prepareAs is prepare for recipients that are sorted in another way.
func (d *Draft) prepareAs(env Envelope, sort func(*Message) []*Delivery) (*prepared, error) {
	if env.Arrival.IsZero() {
		env.Arrival = d.queue.now()
	}
	m := d.message(env)
	p := &prepared{draft: d, message: m, deliveries: sort(m), record: encodeMessage(m), tally: tally{messages: 1, bytes: m.Size}}
	for _, delivery := range p.deliveries {
		p.records = append(p.records, deliveryRow{delivery.Index, encodeDelivery(delivery)})
		p.tally = p.tally.plus(tallyOf(delivery))
	}
	if err := d.seal(p.record, p.records); err != nil {
		return nil, err
	}
	if err := d.sync(); err != nil {
		err = fmt.Errorf("%w: %w", ErrStore, err)
		d.queue.fail(err)
		return nil, err
	}
	return p, nil
}

// sort makes deliveries of recipients: one per destination, up to maxTogether
// recipients each.
func (q *Queue) sort(m *Message, recipients []Recipient) []*Delivery {
	return sortBy(m, recipients, func(r *Recipient) string { return q.opts.Router.Destination(&m.Envelope, r) })
}

// sortBy is sort with destinations from elsewhere.
func sortBy(m *Message, recipients []Recipient, destination func(*Recipient) string) []*Delivery {
	var all []*Delivery
	open := make(map[string]*Delivery, 1)
	for _, r := range recipients {
		to := destination(&r)
		d := open[to]
		if d == nil || len(d.Recipients) == maxTogether {
			d = &Delivery{
				ID: m.ID, Index: uint16(len(all)), Destination: to, Size: m.Size, Class: m.Class, Priority: m.Priority, HoldUntil: m.HoldUntil,
				Next: m.begin(), Warned: m.ReversePath.IsNull(),
			}
			d.setDeadline(&m.Envelope)
			open[to] = d
			all = append(all, d)
		}
		d.Recipients = append(d.Recipients, r)
	}
	return all
}

func (p *prepared) put(b *batch) error {
	b.insert(p.message.ID, p.record, p.records)
	b.count(p.message.Class, p.tally)
	p.draft.committed = true
	p.draft.queue.ids.done(p.message.ID) // its record shows it now
	return nil
}

// enqueued schedules what is on disk now.
func (q *Queue) enqueued(p *prepared) {
	for _, d := range p.deliveries {
		q.reschedule(d)
	}
}
