package queue

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"waypost/relay/smtp"
)

// Story is what is known of a message, in the queue or after it has left.
type Story struct {
	Entry
	// Left is when the message left the queue, to the millisecond; zero while
	// it is there.
	Left time.Time
}

// story is that of a message that has left, as it goes into the journal and
// then into a block of the history.
type story struct {
	keys   []uint64 // hashes of what it is found by
	record []byte
}

// encodeStory writes a record of what is on disk already:
//
//	story  flags ID 8 left length, message record without content
//	       n deliveries: index 2, length, record
//	       n attempts: index 2, number 4, length, record [fields] crc
func encodeStory(id ID, left time.Time, message []byte, deliveries []deliveryRow, attempts []attemptRow) []byte {
	size := 64 + len(message)
	for _, d := range deliveries {
		size += 8 + len(d.record)
	}
	for _, a := range attempts {
		size += 12 + len(a.record)
	}
	b := append(make([]byte, 0, size), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(id))
	b = appendTime(b, left)
	b = appendBytes(b, message)
	b = binary.AppendUvarint(b, uint64(len(deliveries)))
	for _, d := range deliveries {
		b = appendBytes(binary.BigEndian.AppendUint16(b, d.index), d.record)
	}
	b = binary.AppendUvarint(b, uint64(len(attempts)))
	for _, a := range attempts {
		b = binary.BigEndian.AppendUint16(b, a.index)
		b = appendBytes(binary.BigEndian.AppendUint32(b, a.number), a.record)
	}
	return appendSum(b)
}

func decodeStory(b []byte) (*Story, error) {
	d := decoder{b: b}
	flags := d.flags(flagFields)
	s := &Story{Entry: Entry{ID: d.id()}, Left: d.time()}
	message := d.bytes()
	var deliveries []deliveryRow
	for range min(d.number(), uint64(len(b))) {
		deliveries = append(deliveries, deliveryRow{d.index(), d.bytes()})
		if d.bad {
			break
		}
	}
	var attempts []attemptRow
	for range min(d.number(), uint64(len(b))) {
		attempts = append(attempts, attemptRow{d.index(), d.sum(), d.bytes()})
		if d.bad {
			break
		}
	}
	d.fields(flags, func(uint64, *decoder) bool { return false })
	d.check()
	if err := d.err(); err != nil {
		return nil, fmt.Errorf("story is %w", err)
	}
	m, err := decodeMessage(s.ID, message)
	if err != nil {
		return nil, err
	}
	s.Envelope = m.Envelope
	for _, row := range deliveries {
		delivery, err := decodeDelivery(deliveryKey{s.ID, row.index}, row.record)
		if err != nil {
			return nil, err
		}
		s.Deliveries = append(s.Deliveries, delivery)
	}
	s.Attempts = decodeAttempts(s.ID, attempts)
	return s, nil
}

// id returns the queue ID of a story.
func (s *story) id() ID {
	d := decoder{b: s.record, at: min(1, len(s.record))}
	return d.id()
}

// leftAt returns when the message of a story left, in Unix milliseconds.
func (s *story) leftAt() int64 {
	d := decoder{b: s.record, at: min(9, len(s.record))}
	return d.time().UnixMilli()
}

// encodeHead writes the record of a message without its content.
func encodeHead(m *Message) []byte {
	head := *m
	head.inline = nil
	return encodeMessage(&head)
}

// storyKeys returns the hashes of what a message is found by: its queue ID and
// Message-ID, its sender and recipients, and the IDs that next hops gave it.
func storyKeys(m *Message, deliveries ...*Delivery) []uint64 {
	keys := make([]uint64, 0, 8)
	add := func(hash uint64) {
		if !slices.Contains(keys, hash) {
			keys = append(keys, hash)
		}
	}
	add(hashText(m.ID.String()))
	if m.MessageID != "" {
		add(hashText(m.MessageID))
	}
	if !m.ReversePath.IsNull() {
		add(hashPath(m.ReversePath))
	}
	for _, d := range deliveries {
		for i := range d.Recipients {
			r := &d.Recipients[i]
			add(hashPath(r.Path))
			if r.State == Delivered {
				if id := nextHopID(r.Last.Reply); id != "" {
					add(hashText(id))
				}
			}
		}
	}
	return keys
}

// keyHash is FNV-1a, with ASCII letters in lower case.
type keyHash uint64

const noText keyHash = 14695981039346656037

func (h keyHash) add(s string) keyHash {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ keyHash(c)) * 1099511628211
	}
	return h
}

func hashText(s string) uint64 { return uint64(noText.add(s)) }

func hashPath(p smtp.Path) uint64 { return uint64(noText.add(p.Local).add("@").add(domainKey(p))) }

// domainKey is Path.DomainKey, but for the case of letters, and quick where
// there is nothing to do.
func domainKey(p smtp.Path) string {
	for i := range len(p.Domain) {
		if p.Domain[i] >= 0x80 {
			return p.DomainKey()
		}
	}
	return p.Domain
}

// traceKey is something that messages are found by.
type traceKey struct {
	text   string
	id     ID // 0 when it is none
	path   smtp.Path
	isPath bool
}

// newTraceKey reads what an operator asks for, with or without angle brackets.
func newTraceKey(s string) traceKey {
	s = strings.TrimSpace(s)
	k := traceKey{text: strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")}
	k.id, _ = ParseID(k.text)
	path, rest, err := smtp.ParsePath("<"+k.text+">", true)
	k.path, k.isPath = path, err == nil && rest == "" && !path.IsNull()
	return k
}

// hashes are those of the stories that may be meant.
func (k *traceKey) hashes() []uint64 {
	all := []uint64{hashText(k.text)}
	if k.isPath {
		if h := hashPath(k.path); h != all[0] {
			all = append(all, h)
		}
	}
	return all
}

// matches reports whether a message is meant.
func (k *traceKey) matches(e *Entry) bool {
	if k.id == e.ID && k.id != 0 || k.isText(e.MessageID) || k.isMailbox(e.ReversePath) {
		return true
	}
	for _, d := range e.Deliveries {
		for i := range d.Recipients {
			r := &d.Recipients[i]
			if k.isMailbox(r.Path) || r.State == Delivered && k.isText(nextHopID(r.Last.Reply)) {
				return true
			}
		}
	}
	return false
}

func (k *traceKey) isText(s string) bool { return s != "" && strings.EqualFold(s, k.text) }

func (k *traceKey) isMailbox(p smtp.Path) bool {
	return k.isPath && strings.EqualFold(p.Local, k.path.Local) && strings.EqualFold(domainKey(p), domainKey(k.path))
}
