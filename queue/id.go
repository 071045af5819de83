package queue

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"
)

// ID names one message in the queue: the millisecond of its arrival and a
// counter, so that IDs sort by age and new records go to the end of the
// index. It is never given twice. The zero ID names nothing.
type ID uint64

const (
	counterBits = 22
	// Crockford's base 32: no I, L, O or U, so an ID survives being read
	// out over the telephone.
	idDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	idLength = 13
)

// ErrBadID means that a text is not a queue ID.
var ErrBadID = errors.New("not a queue ID")

// String returns the ID as it stands in Received fields, replies and logs:
// 13 capital letters and digits.
func (id ID) String() string {
	var b [idLength]byte
	for i := idLength - 1; i >= 0; i-- {
		b[i] = idDigits[id&31]
		id >>= 5
	}
	return string(b[:])
}

// ParseID reads an ID in either case.
func ParseID(s string) (ID, error) {
	if len(s) != idLength {
		return 0, ErrBadID
	}
	var id ID
	for i := range idLength {
		digit := strings.IndexByte(idDigits, upper(s[i]))
		if digit < 0 || (i == 0 && digit > 15) {
			return 0, ErrBadID
		}
		id = id<<5 | ID(digit)
	}
	if id == 0 {
		return 0, ErrBadID
	}
	return id, nil
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// Arrived returns the time in the ID, to the millisecond.
func (id ID) Arrived() time.Time { return time.UnixMilli(int64(id >> counterBits)) }

func (id ID) key() []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 10), uint64(id)) }

// idSource gives out IDs that always grow, also when the clock goes back. It
// knows those of the drafts, which nothing else shows yet.
type idSource struct {
	now    func() time.Time
	mu     sync.Mutex
	last   ID
	drafts map[ID]struct{}
}

func (s *idSource) next() ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, ID(s.now().UnixMilli())<<counterBits)
	s.take(s.last)
	return s.last
}

// newest returns the last ID that was given.
func (s *idSource) newest() ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// claim takes an ID that another queue gave. It fails for one that a draft
// has, and for one of a time to come, which would draw ours after it. Whether
// a message has it is for the caller to find out.
func (s *idSource) claim(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.drafts[id]; taken || id.Arrived().After(s.now()) {
		return false
	}
	s.last = max(s.last, id)
	s.take(id)
	return true
}

func (s *idSource) take(id ID) {
	if s.drafts == nil {
		s.drafts = map[ID]struct{}{}
	}
	s.drafts[id] = struct{}{}
}

// done ends the draft of that ID.
func (s *idSource) done(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.drafts, id)
}
