package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"
)

// Ledger knows of each message what was acknowledged, and for which
// recipients it has arrived.
type Ledger struct {
	load     *Load
	run      string // keeps what an earlier run left in the relay apart
	contents *contents
	started  time.Time
	width    int // words of seen for each message

	mu       sync.Mutex
	entries  []entry
	seen     []uint64 // recipients that arrived, as bits
	counts   Counts   // all but Lost, which is missing
	missing  int      // recipients of acknowledged messages that did not arrive yet
	last     struct{ acknowledged, arrived time.Time }
	progress chan struct{} // holds one token after an arrival or an acknowledgement
}

// entry is one message.
type entry struct {
	begun          time.Time
	acked, arrived time.Duration // after begun; 0 when it has not happened
	open           int           // recipients for which it has not arrived
}

// Counts is what a Ledger comes to. Acknowledged and Arrived count messages,
// the second those that came for every recipient; the others count recipients.
type Counts struct {
	Acknowledged int `json:"acknowledged"`
	Arrived      int `json:"arrived"`
	// Lost were acknowledged and did not arrive, so far.
	Lost int `json:"lost"`
	// Doubled arrived again.
	Doubled int `json:"doubled"`
	// Damaged arrived with another content than was sent.
	Damaged int `json:"damaged"`
	// Strange arrived and were not sent, or not in this run.
	Strange int `json:"strange"`
}

// NewLedger makes the ledger for one Run of a Load.
func NewLedger(l *Load) *Ledger {
	var run [4]byte
	_, _ = rand.Read(run[:]) // it never fails
	b := &Ledger{load: l, run: hex.EncodeToString(run[:]), progress: make(chan struct{}, 1), width: (max(l.Recipients.High, 1) + 63) / 64}
	b.entries = make([]entry, l.Messages)
	b.seen = make([]uint64, l.Messages*b.width)
	b.contents = newContents(l, b.run)
	for n := range b.entries {
		b.entries[n].open = b.recipients(n)
	}
	return b
}

// sum returns the checksum of message n.
func (b *Ledger) sum(n int) uint32 { return b.contents.shapes[b.load.shapeOf(n)].sum }

func (b *Ledger) recipients(n int) int { return b.load.Recipients.at(n) }

func (b *Ledger) begin() { b.started = time.Now() }

// sending writes down that message n is sent, and from when its latencies
// count.
func (b *Ledger) sending(n int, begun time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[n].begun = begun
}

// acknowledged writes down that the target took message n.
func (b *Ledger) acknowledged(n int) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &b.entries[n]
	e.acked = max(now.Sub(e.begun), 1)
	b.missing += e.open
	b.counts.Acknowledged++
	b.last.acknowledged = now
	b.tell()
}

// arrived writes down that message n of a run came for a recipient.
func (b *Ledger) arrived(run string, n int, recipients []int, sum uint32) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if run != b.run || n < 0 || n >= len(b.entries) {
		b.counts.Strange += max(len(recipients), 1)
		return
	}
	e := &b.entries[n]
	for _, r := range recipients {
		if r < 0 || r >= b.recipients(n) {
			b.counts.Strange++
			continue
		}
		word, bit := &b.seen[n*b.width+r/64], uint64(1)<<(r%64)
		if sum != b.sum(n) {
			b.counts.Damaged++
		}
		if *word&bit != 0 {
			b.counts.Doubled++
			continue
		}
		*word |= bit
		e.open--
		if e.acked > 0 {
			b.missing--
		}
	}
	if e.open == 0 && e.arrived == 0 {
		b.counts.Arrived++
		b.last.arrived = now
		e.arrived = max(now.Sub(e.begun), 1)
	}
	b.tell()
}

func (b *Ledger) tell() {
	select {
	case b.progress <- struct{}{}:
	default:
	}
}

// Wait returns when all that was acknowledged has arrived, or when nothing has
// arrived for so long.
func (b *Ledger) Wait(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for b.Counts().Lost > 0 {
		select {
		case <-b.progress:
			timer.Reset(patience)
		case <-timer.C:
			return nil // Counts says what is missing
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Counts returns what there is so far.
func (b *Ledger) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts
	c.Lost = b.missing
	return c
}

// Accepted returns how fast messages were acknowledged.
func (b *Ledger) Accepted() Rate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate(b.started, b.last.acknowledged, func(e entry) time.Duration { return e.acked })
}

// ArrivedSince returns how fast messages arrived, counted from a moment on;
// zero is when the first was begun. The latencies are those from its begin to
// the arrival for the last recipient.
func (b *Ledger) ArrivedSince(moment time.Time) Rate {
	b.mu.Lock()
	defer b.mu.Unlock()
	if moment.IsZero() {
		moment = b.started
	}
	return b.rate(moment, b.last.arrived, func(e entry) time.Duration { return e.arrived })
}

// rate collects latencies. The caller holds the lock.
func (b *Ledger) rate(from, to time.Time, latency func(entry) time.Duration) Rate {
	var all []time.Duration
	for _, e := range b.entries {
		if d := latency(e); d > 0 && e.acked > 0 {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	r := Rate{Messages: len(all), Latency: percentiles(all)}
	if r.Seconds = to.Sub(from).Seconds(); len(all) == 0 || r.Seconds <= 0 {
		r.Seconds = 0
		return r
	}
	r.PerSecond = float64(len(all)) / r.Seconds
	return r
}
