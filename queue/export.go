package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ExportOptions says what an archive is to have.
type ExportOptions struct {
	// Filter selects messages; a message is exported whole when one of its
	// recipients fits. The zero value selects all.
	Filter Filter
	// Hold puts what is selected on hold before any of it is written, and
	// waits for the attempts that are under way. So nothing that is in the
	// archive is delivered from here as well. The archive says of each
	// message whether it was on hold before.
	Hold bool
}

// Exported is what became of an export.
type Exported struct {
	// Messages is how many messages the archive has, and Bytes the size of
	// their contents in octets.
	Messages, Bytes int64
	// Held is how many of them were put on hold.
	Held int
	// Damaged are those that were left out because a record or the content
	// does not match its checksum.
	Damaged []ID
	// Unknown are the IDs of the filter that no message has.
	Unknown []ID
}

// Export writes the selected messages to w, as an archive that README.md in
// this folder describes. Messages that come after it began are not in it. One
// that leaves meanwhile is either in it as a whole or not at all. After an
// error the archive has no end, and Import will say so.
func (q *Queue) Export(ctx context.Context, w io.Writer, o ExportOptions) (Exported, error) {
	e := &exporter{queue: q, before: map[deliveryKey]struct{}{}}
	if err := e.run(ctx, w, o); err != nil {
		return e.done, fmt.Errorf("export: %w", err)
	}
	q.log.Info("exported", "messages", e.done.Messages, "bytes", e.done.Bytes, "put_on_hold", e.done.Held, "damaged", len(e.done.Damaged))
	return e.done, nil
}

// exporter is one export under way.
type exporter struct {
	queue *Queue
	out   *archiveWriter
	done  Exported
	// hold says that before counts: the deliveries that were on hold already.
	hold   bool
	before map[deliveryKey]struct{}
	ids    []ID // what was put on hold
}

func (e *exporter) run(ctx context.Context, w io.Writer, o ExportOptions) (err error) {
	if e.out, err = newArchiveWriter(w, e.queue.store.identity); err != nil {
		return err
	}
	if e.hold = o.Hold; !e.hold {
		err = e.selected(ctx, o.Filter, e.writePage)
	} else if err = e.selected(ctx, o.Filter, e.holdPage); err == nil {
		err = e.writeHeld(ctx)
	}
	if err != nil {
		return err
	}
	return e.out.end()
}

// selected calls page with the selected messages, oldest first, some at a
// time. Those that come after it began are left out.
func (e *exporter) selected(ctx context.Context, f Filter, page func(context.Context, []ID) error) error {
	last := e.queue.ids.newest()
	some := func(f Filter) error {
		for after, more := ID(0), true; more; {
			var entries []Entry
			var err error
			if entries, more, err = e.queue.List(f, after, changePage); err != nil {
				return err
			}
			var ids []ID
			for i := range entries {
				if after = entries[i].ID; after <= last {
					ids = append(ids, after)
				}
			}
			if len(ids) < len(entries) || len(entries) == 0 {
				more = false
			}
			if err := errors.Join(ctx.Err(), page(ctx, ids)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(f.IDs) == 0 {
		return some(f)
	}
	all := slices.Compact(slices.Sorted(slices.Values(f.IDs)))
	for f.IDs = range slices.Chunk(all, changePage) {
		for _, id := range f.IDs {
			if _, err := e.queue.Show(id); errors.Is(err, ErrUnknown) {
				e.done.Unknown = append(e.done.Unknown, id)
			}
		}
		if err := some(f); err != nil {
			return err
		}
	}
	return nil
}

// holdPage holds messages, and remembers which deliveries were on hold.
func (e *exporter) holdPage(_ context.Context, ids []ID) error {
	if len(ids) == 0 {
		return nil // and not everything, which no IDs would mean
	}
	e.ids = append(e.ids, ids...)
	n, err := e.queue.change(Filter{IDs: ids}, func(d *Delivery, _ func(*Recipient) bool) bool {
		if d.Held {
			e.before[d.key()] = struct{}{}
			return false
		}
		d.Held = true
		return true
	})
	e.done.Held += n
	return err
}

// writeHeld writes what was put on hold, each message when no attempt of it is
// under way any more.
func (e *exporter) writeHeld(ctx context.Context) error {
	for _, id := range e.ids {
		if err := e.queue.waitIdle(ctx, id); err != nil {
			return err
		}
		if err := e.write(id); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) writePage(ctx context.Context, ids []ID) error {
	for _, id := range ids {
		if err := errors.Join(ctx.Err(), e.write(id)); err != nil {
			return err
		}
	}
	return nil
}

// write writes one message, unless it has left.
func (e *exporter) write(id ID) error {
	entry, m, err := e.queue.whole(id)
	var contents *exportedContents
	if err == nil {
		contents, err = openExported(m)
	}
	if errors.Is(err, ErrDamaged) {
		// The file of a message that has just left is gone too.
		if _, err := e.queue.Show(id); errors.Is(err, ErrUnknown) {
			return nil
		}
	}
	switch {
	case errors.Is(err, ErrUnknown):
		return nil
	case errors.Is(err, ErrDamaged):
		e.leaveOut(id, err)
		return nil
	case err != nil:
		return err
	}
	defer contents.Close()
	if e.hold {
		for _, d := range entry.Deliveries {
			_, d.Held = e.before[d.key()]
		}
	}
	out := describe(&entry)
	out.Content.SHA256 = contents.sum
	if err := e.out.message(out, contents.second); errors.Is(err, errExported) {
		e.leaveOut(id, err)
		return nil
	} else if err != nil {
		return fmt.Errorf("write %s: %w", id, err)
	}
	e.done.Messages++
	e.done.Bytes += m.Size
	return nil
}

func (e *exporter) leaveOut(id ID, err error) {
	e.queue.log.Error("message not exported", "queue_id", id.String(), "error", err.Error())
	e.done.Damaged = append(e.done.Damaged, id)
}

// whole returns everything that is known of a message.
func (q *Queue) whole(id ID) (e Entry, m *Message, err error) {
	err = q.store.view(func(v *view) error {
		if e, err = q.entry(v, id); err != nil {
			return err
		}
		e.Attempts = decodeAttempts(id, v.attempts(id))
		m, err = q.readMessage(v, id)
		return err
	})
	return e, m, err
}

// exportedContents is a content that was read once, to know that it is whole
// before any of it is written, and can be read a second time, whatever becomes
// of the message.
type exportedContents struct {
	sum           string
	first, second io.ReadCloser
}

func openExported(m *Message) (*exportedContents, error) {
	c := &exportedContents{}
	var err error
	if c.first, err = m.Content(); err != nil {
		return nil, err
	}
	if c.second, err = m.Content(); err != nil {
		return nil, errors.Join(err, c.first.Close())
	}
	sum := sha256.New()
	n, err := io.Copy(sum, struct{ io.Reader }{c.first})
	if err == nil && n != m.Size {
		err = fmt.Errorf("content of %s is %w: it has %d of %d octets", m.ID, ErrDamaged, n, m.Size)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.sum = hexSum(sum)
	return c, nil
}

// Close closes both.
func (c *exportedContents) Close() {
	_, _ = c.first.Close(), c.second.Close() // both were only read
}

// idlePoll is how often it is looked whether an attempt has ended.
const idlePoll = 50 * time.Millisecond

// waitIdle returns when no attempt of a message is under way. None begins
// while it is on hold.
func (q *Queue) waitIdle(ctx context.Context, id ID) error {
	for {
		e, err := q.Show(id)
		if err != nil {
			return nil // whoever reads it next finds out why
		}
		if !q.sched.attempting(e.Deliveries) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.failed:
			return q.Err()
		case <-time.After(idlePoll):
		}
	}
}

// attempting reports whether an attempt of one of the deliveries is under way.
func (s *schedule) attempting(all []*Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(all, func(d *Delivery) bool {
		_, busy := s.inFlight[d.key()]
		return busy
	})
}
