package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
)

// ImportHold says what becomes of the holds of imported messages.
type ImportHold uint8

// What becomes of them.
const (
	KeepHold   ImportHold = iota // held is what was held
	HoldAll                      // everything is
	ReleaseAll                   // nothing is
)

// Imported is what became of an import.
type Imported struct {
	// Messages is how many messages were taken, and Bytes the size of their
	// contents in octets.
	Messages, Bytes int64
	// Before is how many were not taken because they had been before, whatever
	// has become of them since.
	Before int64
}

// Import takes the messages of an archive that Export wrote, each with what is
// known of its recipients and with what is left of its lifetime. Recipients
// wait where today's routes lead them. A message keeps its ID when that is
// free, and gets one of the same time when it is not.
//
// Each message is taken once: what was imported in the last 30 days is
// remembered in the same commit as the message. So an import that was cut off
// can be repeated. An error leaves what was taken before in the queue, and the
// result says how much. It is ErrArchive for an archive that is bad, and
// ErrNoRoom when the disk is filling.
func (q *Queue) Import(ctx context.Context, r io.Reader, hold ImportHold) (Imported, error) {
	i := &importer{queue: q, hold: hold, buffer: make([]byte, 64<<10)}
	err := i.run(ctx, r)
	// What came before an error is sound, and stays.
	if err = errors.Join(err, i.flush()); err != nil {
		i.discard()
		err = fmt.Errorf("import: %w", err)
	}
	q.log.Info("import ended", "from_queue", i.from.String(), "messages", i.done.Messages, "bytes", i.done.Bytes,
		"taken_before", i.done.Before, "error", errorText(err))
	return i.done, err
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// One commit takes up to so many messages and octets.
const (
	importPage  = 200
	importBytes = 1 << 20
)

// importer is one import under way.
type importer struct {
	queue  *Queue
	hold   ImportHold
	from   identity
	page   []*incoming // to be taken by the next commit
	bytes  int
	done   Imported
	buffer []byte
}

// incoming is a message that only needs to be written.
type incoming struct {
	*prepared
	origin   origin
	attempts []attemptRow
	taken    bool // by the commit; it had not been before
}

func (i *importer) run(ctx context.Context, r io.Reader) error {
	archive, err := newArchiveReader(r)
	if err != nil {
		return err
	}
	i.from = archive.from
	for {
		m, err := archive.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.Join(ctx.Err(), i.add(m))
		}
		if err != nil {
			return err
		}
		if len(i.page) == importPage || i.bytes >= importBytes {
			if err := i.flush(); err != nil {
				return err
			}
		}
	}
}

// add puts a message among those that the next commit takes.
func (i *importer) add(m *archived) error {
	from := origin{i.from, m.id}
	var before bool
	err := i.queue.store.view(func(v *view) error {
		before = v.hasOrigin(from)
		return nil
	})
	if err != nil {
		return err
	}
	if before {
		i.done.Before++
		return nil
	}
	env, deliveries, err := parseExported(&m.message)
	if err != nil {
		return badArchive("%s.json: %v", m.id, err)
	}
	if err := i.queue.Room(m.message.Content.Size); err != nil {
		return err
	}
	draft, err := i.draft(m)
	if err != nil {
		return err
	}
	in, err := i.prepare(draft, env, deliveries)
	if err != nil {
		draft.Discard()
		return err
	}
	in.origin = from
	i.page = append(i.page, in)
	i.bytes += in.size()
	return nil
}

// draft writes the content of a message where it belongs.
func (i *importer) draft(m *archived) (*Draft, error) {
	id, err := i.queue.freeID(m.id)
	if err != nil {
		return nil, err
	}
	draft := i.queue.newDraft(id)
	if _, err := io.CopyBuffer(draft, m.content, i.buffer); err != nil {
		draft.Discard()
		return nil, err
	}
	return draft, nil
}

// freeID claims an ID: the one that is wanted, or one of the same time, so that
// IDs still sort by age.
func (q *Queue) freeID(want ID) (ID, error) {
	at := ID(min(want.Arrived().UnixMilli(), q.now().UnixMilli())) << counterBits
	for id := want; ; id = at | ID(1+rand.Uint64N(1<<counterBits-1)) {
		if !q.ids.claim(id) {
			continue
		}
		free := false
		err := q.store.view(func(v *view) error {
			record, _ := v.message(id)
			free = record == nil && len(v.deliveries(id)) == 0 && !q.hasContent(id)
			return nil
		})
		if free && err == nil {
			return id, nil
		}
		q.ids.done(id)
		if err != nil {
			return 0, err
		}
	}
}

// prepare makes the content durable, and sorts the recipients that wait by
// today's routes.
func (i *importer) prepare(draft *Draft, env Envelope, deliveries []importedDelivery) (*incoming, error) {
	now := i.queue.now()
	in := &incoming{}
	if env.Arrival.IsZero() || env.Arrival.After(now) {
		env.Arrival = now // or it would never expire
	}
	p, err := draft.prepareAs(env, func(m *Message) (sorted []*Delivery) {
		for _, d := range deliveries {
			d.Held = i.hold == HoldAll || i.hold == KeepHold && d.Held
			if end := i.queue.opts.Retry.expiry(m.begin()); d.Next.After(end) {
				d.Next = end
			}
			for _, a := range d.log {
				a.Index = uint16(len(sorted))
				in.attempts = append(in.attempts, newAttemptRow(m.ID, &a))
			}
			sorted = append(sorted, i.queue.resorted(m, d.Delivery)...)
		}
		for index, d := range sorted {
			d.Index = uint16(index)
		}
		return sorted
	})
	in.prepared = p
	return in, err
}

// size is about how much the journal has of it.
func (in *incoming) size() int {
	n := len(in.record)
	for _, row := range in.records {
		n += len(row.record)
	}
	for _, row := range in.attempts {
		n += len(row.record)
	}
	return n
}

// resorted makes deliveries along today's routes of one from elsewhere. What
// is known of it is true of each of them; the first has its attempts.
func (q *Queue) resorted(m *Message, d *Delivery) []*Delivery {
	if d.Open() == 0 {
		d.ID, d.Size, d.Class, d.Priority, d.HoldUntil = m.ID, m.Size, m.Class, m.Priority, m.HoldUntil
		d.setDeadline(&m.Envelope)
		return []*Delivery{d}
	}
	// Those that are final stay with the first that waits.
	first := slices.IndexFunc(d.Recipients, func(r Recipient) bool { return r.State.Open() })
	home := q.opts.Router.Destination(&m.Envelope, &d.Recipients[first])
	parts := sortBy(m, d.Recipients, func(r *Recipient) string {
		if !r.State.Open() {
			return home
		}
		return q.opts.Router.Destination(&m.Envelope, r)
	})
	for _, part := range parts {
		part.Attempts, part.Notices, part.Next, part.Held, part.Warned = d.Attempts, d.Notices, d.Next, d.Held, d.Warned
	}
	return parts
}

// flush commits what was prepared.
func (i *importer) flush() error {
	page := i.page
	if len(page) == 0 {
		return nil
	}
	if err := i.queue.commit(func(b *batch) error { return takeAll(b, page) }); err != nil {
		return err
	}
	i.page, i.bytes = i.page[:0], 0
	for _, in := range page {
		i.account(in)
	}
	return nil
}

// takeAll runs in the committer. Another import may have been quicker.
func takeAll(b *batch, page []*incoming) error {
	today := day(page[0].draft.queue.now())
	for _, in := range page {
		if b.hasOrigin(in.origin) {
			continue
		}
		in.taken = true
		b.imported(in.origin, imported{in.message.ID, today})
		if err := in.put(b); err != nil {
			return err
		}
		for _, a := range in.attempts {
			b.attempt(in.message.ID, a)
		}
	}
	return nil
}

// account counts, logs and schedules what is on disk now.
func (i *importer) account(in *incoming) {
	if !in.taken {
		i.done.Before++
		in.draft.Discard()
		return
	}
	i.done.Messages++
	i.done.Bytes += in.message.Size
	i.queue.log.Info("imported", "queue_id", in.message.ID.String(), "original_id", in.origin.id.String(), "from_queue", i.from.String())
	i.queue.enqueued(in.prepared)
}

// discard gives up what could not be committed.
func (i *importer) discard() {
	for _, in := range i.page {
		in.draft.Discard()
	}
	i.page = slices.Delete(i.page, 0, len(i.page))
}
