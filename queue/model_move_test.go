package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// Copies of the model: backups, archives, and the history.

// backup makes a copy that must have the same, and returns where it is.
func (m *machine) backup(*rapid.T) { m.backedUp() }

func (m *machine) backedUp() (dir string) {
	dir = filepath.Join(m.dir(), "backup")
	if _, err := m.queue.Backup(m.Context(), dir); err != nil {
		m.Fatal(err)
	}
	q := m.opened(dir)
	defer m.close(q)
	m.same(q)
	return dir
}

// restore goes on with a backup in the place of the queue. It has no history.
func (m *machine) restore(*rapid.T) {
	dir := m.backedUp()
	m.stop()
	copied := files{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return copied.read(dir, strings.TrimPrefix(name, dir+"/"))
	})
	if err != nil {
		m.Fatal(err)
	}
	m.open(copied)
	clear(m.stories)
	m.begin()
}

// move exports messages, removes them, and imports them again: first a part of
// the archive, perhaps until the power goes, then all of it, then all of it again.
func (m *machine) move(*rapid.T) {
	var ids []ID
	for _, id := range slices.Sorted(maps.Keys(m.messages)) {
		// The ID of a time to come would be drawn anew.
		if !id.Arrived().After(m.now()) && rapid.Bool().Draw(m.T, "moved") {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	o := ExportOptions{Filter: Filter{IDs: ids}, Hold: rapid.Bool().Draw(m.T, "held for the export")}
	archive := m.export(m.queue, o, len(ids))
	m.take(m.queue, archive, 0, len(ids)) // they are there
	archive = m.elsewhere(archive, len(ids))
	if _, err := m.queue.Remove(Filter{IDs: ids}); err != nil {
		m.Fatal(err)
	}
	moved := map[ID]*modelMessage{}
	for _, id := range ids {
		moved[id] = m.moved(m.messages[id])
		delete(m.messages, id)
	}
	m.settle()
	before := m.cutOff(archive, moved)
	m.take(m.queue, archive, len(ids)-before, before)
	for id, message := range moved {
		if m.messages[id] == nil {
			m.messages[id] = message
		}
	}
	m.settle()
	m.take(m.queue, archive, 0, len(ids))
	m.settle()
}

func (m *machine) export(q *Queue, o ExportOptions, messages int) []byte {
	var archive bytes.Buffer
	if done, err := q.Export(m.Context(), &archive, o); err != nil || done.Messages != int64(messages) {
		m.Fatalf("exported %+v of %d messages: %v", done, messages, err)
	}
	return archive.Bytes()
}

// elsewhere takes an archive into another queue, and returns that one's.
func (m *machine) elsewhere(archive []byte, messages int) []byte {
	q := m.opened(m.dir())
	defer m.close(q)
	m.take(q, archive, messages, 0)
	return m.export(q, ExportOptions{}, messages)
}

func (m *machine) close(q *Queue) {
	if err := q.Close(); err != nil {
		m.Errorf("close: %v", err)
	}
}

// take imports an archive, of which so many messages are new, and so many not.
func (m *machine) take(q *Queue, archive []byte, messages, before int) {
	done, err := q.Import(m.Context(), bytes.NewReader(archive), HoldAll)
	if err != nil || done.Messages != int64(messages) || done.Before != int64(before) {
		m.Fatalf("imported %+v, %v; want %d and %d there before", done, err, messages, before)
	}
}

// cutOff imports a part of an archive. What is there then are whole messages, and
// it returns how many.
func (m *machine) cutOff(archive []byte, moved map[ID]*modelMessage) (taken int) {
	part := archive[:rapid.IntRange(0, len(archive)-1).Draw(m.T, "octets of the archive")]
	if rapid.Bool().Draw(m.T, "power goes") {
		m.disk.goAt(rapid.IntRange(0, 3).Draw(m.T, "syncs"))
	}
	_, err := m.queue.Import(m.Context(), bytes.NewReader(part), HoldAll)
	crashed := m.queue.Err() != nil
	if !crashed {
		m.disk.goAt(-1)
		if err != nil && !errors.Is(err, ErrArchive) {
			m.Fatalf("import of a part: %v", err)
		}
	} else {
		rest, err := m.disk.off()
		if err != nil {
			m.Fatal(err)
		}
		m.stop()
		m.open(rest)
	}
	for id, message := range moved {
		if _, err := m.queue.Show(id); err == nil {
			m.messages[id] = message.clone()
			taken++
		} else if !errors.Is(err, ErrUnknown) {
			m.Fatal(err)
		} else if crashed {
			// Where a content is left, the message would get another ID.
			_ = os.Remove(filepath.Join(m.disk.dir, contentPath(id)))
		}
	}
	if crashed {
		m.begin()
	}
	m.settle()
	return taken
}

// moved is a message as it comes back: on hold, and along today's routes.
func (m *machine) moved(was *modelMessage) *modelMessage {
	is := was.clone()
	is.deliveries = nil
	for _, d := range was.clone().deliveries {
		if end := is.env.begin().Add(m.retry.Lifetime); d.Next.After(end) {
			d.Next = end
		}
		parts := []*modelDelivery{d}
		if d.Open() > 0 {
			parts = m.resorted(is, d)
		}
		for _, part := range parts {
			part.Held, part.Index = true, uint16(len(is.deliveries))
			is.deliveries = append(is.deliveries, part)
		}
	}
	return is
}

// resorted sorts the recipients of a delivery by today's routes. Those that are
// final stay with the first that waits.
func (m *machine) resorted(message *modelMessage, d *modelDelivery) []*modelDelivery {
	first := slices.IndexFunc(d.Recipients, func(r Recipient) bool { return r.State.Open() })
	home := m.world.Destination(nil, &d.Recipients[first])
	var all []*modelDelivery
	for _, r := range d.Recipients {
		to := home
		if r.State.Open() {
			to = m.world.Destination(nil, &r)
		}
		at := slices.IndexFunc(all, func(p *modelDelivery) bool { return p.Destination == to })
		if at < 0 {
			part := *d
			part.Destination, part.Recipients = to, nil
			at, all = len(all), append(all, &part)
		}
		all[at].Recipients = append(all[at].Recipients, r)
	}
	return all
}

// leave has what is done with leave, and returns what that is.
func (m *machine) leave() (left []ID) {
	for id, message := range m.messages {
		if message.open() > 0 {
			continue
		}
		delete(m.messages, id)
		m.stories[id] = message.story()
		left = append(left, id)
	}
	return left
}

// told compares the story of a message that has left.
func (m *machine) told(id ID) {
	stories, _, err := m.queue.Trace(id.String(), 10)
	if err != nil {
		m.Fatal(err)
	}
	for i := range stories {
		if got := modelOf(&stories[i].Entry).story(); !stories[i].Left.IsZero() && got == m.stories[id] {
			return
		}
	}
	m.Fatalf("of %s there are the stories %+v, want\n%s", id, stories, m.stories[id])
}

// story is what must be the same in the history and in the model.
func (message *modelMessage) story() string {
	var b strings.Builder
	for _, d := range message.deliveries {
		fmt.Fprintf(&b, "%d to %s, attempts %d", d.Index, d.Destination, d.Attempts)
		for i := range d.Recipients {
			fmt.Fprintf(&b, " %s=%s", d.Recipients[i].Path, d.Recipients[i].State)
		}
	}
	return b.String()
}
