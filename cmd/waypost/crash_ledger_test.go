package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ledger has what was sent and what arrived. A client writes a message down
// before it sends it, and its queue ID after the 250.
type ledger struct {
	mu      sync.Mutex
	sent    map[string]*entry // by Message-ID
	queueID map[string]string // Message-ID by queue ID
	missing int               // messages acknowledged and not arrived
	changed chan struct{}     // holds one token after an arrival
	faults  []string

	// After a power cut nothing counts that the program says: it writes to a
	// disk that nobody will see again.
	dark             bool
	arrivedInTheDark int
}

// entry is one message.
type entry struct {
	to       []string
	sum      string // of the body, in hexadecimal
	id       string // queue ID; empty as long as nobody said one
	acked    bool
	arrivals int
}

func newLedger() *ledger {
	return &ledger{sent: map[string]*entry{}, queueID: map[string]string{}, changed: make(chan struct{}, 1)}
}

// compose makes a message, and writes it down as one that may arrive from now
// on.
func (l *ledger) compose(messageID string, to []string, body []byte) []byte {
	sum := sha256.Sum256(body)
	e := &entry{to: slices.Sorted(slices.Values(to)), sum: hex.EncodeToString(sum[:])}
	l.mu.Lock()
	l.sent[messageID] = e
	l.mu.Unlock()
	header := "From: sender@a.example\r\nMessage-ID: " + messageID + "\r\nX-Body-SHA256: " + e.sum + "\r\n\r\n"
	return append([]byte(header), body...)
}

// acknowledged writes down a 250.
func (l *ledger) acknowledged(messageID, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	e := l.sent[messageID]
	e.acked = true
	l.identify(messageID, e, id)
	if e.arrivals == 0 {
		l.missing++
	}
}

// light says that the program runs on the disk that is left.
func (l *ledger) light() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dark = false
}

// identify notes that a message has a queue ID, and that no other has it. The
// caller holds the lock.
func (l *ledger) identify(messageID string, e *entry, id string) {
	if e.id != "" && e.id != id {
		l.fault("%s was acknowledged as %s and arrived as %s, or arrived under both", messageID, e.id, id)
	}
	if other, ok := l.queueID[id]; ok && other != messageID {
		l.fault("queue ID %q was given to both %s and %s", id, other, messageID)
	}
	e.id, l.queueID[id] = id, messageID
}

// arrived writes down a message at the next hop.
func (l *ledger) arrived(content []byte, to []string) {
	trace, rest, err := cutTrace(content)
	header, body, _ := strings.Cut(rest, "\r\n\r\n")
	sum := sha256.Sum256([]byte(body))
	messageID, stated := strings.Clone(field(header, "Message-ID")), field(header, "X-Body-SHA256")
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.sent[messageID]
	if err != nil || e == nil {
		l.fault("a message arrived that was never sent: %.300q (%v)", content, err)
		return
	}
	l.identify(messageID, e, traceID(trace))
	if got := hex.EncodeToString(sum[:]); got != stated || got != e.sum {
		l.fault("%s arrived with a body of %d octets and the checksum %s: its header says %s, and %s was sent", messageID, len(body), got, stated, e.sum)
	}
	if got := slices.Sorted(slices.Values(to)); !slices.Equal(got, e.to) {
		l.fault("%s arrived for %q, and was sent to %q", messageID, got, e.to)
	}
	if l.dark {
		l.arrivedInTheDark++
	}
	if e.arrivals++; e.arrivals == 1 && e.acked {
		l.missing--
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// field returns the value of a header field that stands on one line.
func field(header, name string) string {
	for line := range strings.SplitSeq(header, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value
		}
	}
	return ""
}

// fault notes what must not be. The caller holds the lock.
func (l *ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// report is fault for those who do not hold the lock.
func (l *ledger) report(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault(format, args...)
}

// complete reports whether everything acknowledged has arrived.
func (l *ledger) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missing == 0
}

// promised returns what has been acknowledged so far.
func (l *ledger) promised() (all []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.sent {
		if e.acked {
			all = append(all, e)
		}
	}
	return all
}

// tally is what a ledger comes to.
type tally struct {
	attempted, acknowledged, arrived, duplicates int
	lost                                         []string // queue IDs
}

func (l *ledger) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{attempted: len(l.sent)}
	for e := range maps.Values(l.sent) {
		if e.acked {
			t.acknowledged++
		}
		if e.arrivals > 0 {
			t.arrived++
			t.duplicates += e.arrivals - 1
		} else if e.acked {
			t.lost = append(t.lost, e.id)
		}
	}
	slices.Sort(t.lost)
	return t
}

func (t tally) String() string {
	return fmt.Sprintf("%d messages attempted, %d acknowledged, %d arrived, %d duplicates, %d lost",
		t.attempted, t.acknowledged, t.arrived, t.duplicates, len(t.lost))
}
