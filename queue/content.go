package queue

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// inlineLimit is the largest content that is kept in the index. A larger one
// has a file of its own: an index page is copied at every change, so large
// values would be written many times.
const inlineLimit = 64 << 10

// orphanAge is how old a content without a record must be to be removed at
// start. No acknowledged message looks like that unless an older index was
// put back, and then the operator has this long to notice.
const orphanAge = 36 * time.Hour

// Draft is a message that is being received. Its content goes to memory as
// long as it is small and to disk beyond that. A Draft ends in Commit or in
// Discard; it is not safe for concurrent use.
type Draft struct {
	queue *Queue
	id    ID
	buf   []byte
	file  *os.File
	size  int64
	sum   hash.Hash32
	// committed says that content and ID belong to the queue, or will when the
	// commit that is under way succeeds.
	committed bool
}

// NewDraft begins a message and gives it its ID.
func (q *Queue) NewDraft() *Draft { return q.newDraft(q.ids.next()) }

func (q *Queue) newDraft(id ID) *Draft {
	return &Draft{queue: q, id: id, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
}

// ID returns the queue ID that the message has, or will have once committed.
func (d *Draft) ID() ID { return d.id }

// Size returns the number of octets written so far.
func (d *Draft) Size() int64 { return d.size }

// Write appends to the content.
func (d *Draft) Write(p []byte) (int, error) {
	if d.file == nil && len(d.buf)+len(p) > inlineLimit {
		if err := d.spill(); err != nil {
			return 0, fmt.Errorf("store content of %s: %w", d.id, err)
		}
	}
	if d.file == nil {
		d.buf = append(d.buf, p...)
	} else if _, err := d.file.Write(p); err != nil {
		return 0, fmt.Errorf("store content of %s: %w", d.id, err)
	}
	d.sum.Write(p)
	d.size += int64(len(p))
	return len(p), nil
}

// spill moves the content to a file.
func (d *Draft) spill() error {
	f, err := os.OpenFile(d.queue.contentFile(d.id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	d.file = f
	_, err = f.Write(d.buf)
	d.buf = nil
	return err
}

// sync makes a content that has a file durable, its name included. The one in
// memory becomes durable with the index.
func (d *Draft) sync() error {
	if d.file == nil {
		return nil
	}
	// A file that cannot be synced is given up: a second try could succeed
	// without anything having been written.
	err := errors.Join(d.queue.opts.disk.sync(d.file), d.file.Close(), d.queue.opts.disk.syncDir(d.queue.contentDir()))
	if err != nil {
		return fmt.Errorf("sync content of %s: %w", d.id, err)
	}
	return nil
}

// Discard gives the message up. After a successful Commit it does nothing.
func (d *Draft) Discard() {
	if d.committed {
		return
	}
	d.queue.ids.done(d.id)
	if d.file != nil {
		d.file.Close()
		// After a failed commit nobody knows whether the message is on disk.
		// If it is, it needs its content; if not, the file is an orphan, and
		// those are found at start.
		if d.queue.Err() == nil {
			os.Remove(d.file.Name())
		}
		d.file = nil
	}
	d.buf = nil
}

// message returns the record of the draft.
func (d *Draft) message(env Envelope) *Message {
	env.Size = d.size
	return &Message{ID: d.id, Envelope: env, queue: d.queue, inline: d.buf, sum: d.sum.Sum32(), file: d.file != nil}
}

func (q *Queue) contentDir() string { return filepath.Join(q.dir, contentName) }

func (q *Queue) contentFile(id ID) string { return filepath.Join(q.contentDir(), id.String()) }

// hasContent reports whether there is a file for the content of that ID.
func (q *Queue) hasContent(id ID) bool {
	_, err := os.Lstat(q.contentFile(id))
	return err == nil
}

// openContent opens the content of a message.
func (q *Queue) openContent(m *Message) (io.ReadCloser, error) {
	if !m.file {
		if checksum(m.inline) != m.sum {
			return nil, fmt.Errorf("content of %s is %w", m.ID, ErrDamaged)
		}
		return io.NopCloser(bytes.NewReader(m.inline)), nil
	}
	f, err := openRegular(q.contentFile(m.ID), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("content of %s is %w: its file is missing", m.ID, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("open content of %s: %w", m.ID, err)
	}
	return &checkedFile{file: f, left: m.Size, message: m, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}, nil
}

// checkedFile says ErrDamaged instead of io.EOF when what was read is not what
// was written. The file is no embedded one: its WriteTo would pass by the check.
type checkedFile struct {
	file    *os.File
	left    int64 // octets of the content; the trailer behind it is not read
	message *Message
	sum     hash.Hash32
}

// Read reads on, and compares the checksum at the end.
func (f *checkedFile) Read(p []byte) (int, error) {
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := 0, io.EOF
	if f.left > 0 {
		n, err = f.file.Read(p)
	}
	f.left -= int64(n)
	f.sum.Write(p[:n])
	if err == io.EOF && f.sum.Sum32() != f.message.sum {
		err = fmt.Errorf("content of %s is %w", f.message.ID, ErrDamaged)
		f.message.noteDamage(err)
	}
	return n, err
}

// Close closes the file.
func (f *checkedFile) Close() error { return f.file.Close() }

// sweepContent removes the files of messages that were never acknowledged, and
// notes the IDs that have a file.
func (q *Queue) sweepContent() error {
	entries, err := readDirectory(q.contentDir())
	if err != nil {
		return err
	}
	return q.store.view(func(v *view) error {
		for _, e := range entries {
			id, err := ParseID(e.Name())
			if err != nil {
				continue
			}
			q.ids.last = max(q.ids.last, id) // no other content may have its name
			// One of which a record is left is damaged, and may be had back by a repair.
			if record, _ := v.message(id); record != nil || len(v.deliveries(id)) > 0 {
				continue
			}
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < orphanAge {
				continue
			}
			q.log.Warn("removing content without a message", "queue_id", id.String())
			if err := os.Remove(q.contentFile(id)); err != nil {
				return err
			}
		}
		return nil
	})
}
