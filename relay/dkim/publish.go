package dkim

import (
	"context"
	"crypto"
	"errors"
	"sync"
	"time"

	"waypost/relay/watch"
)

// How long what was found in the DNS is believed.
const (
	recheckPublished = time.Hour
	recheckMissing   = time.Minute
	recheckUnknown   = 30 * time.Second
	lookTimeout      = 30 * time.Second
)

// key is a key in use.
type key struct {
	Key
	file  *watch.Value[crypto.Signer]
	waits bool // for its record

	mu      sync.Mutex
	looked  crypto.Signer // of the file when the DNS was asked last
	signer  crypto.Signer // the one that is published; nil for none
	finding Finding
	due     time.Time // when to ask again
}

// usable returns what signs, if anything does: a key whose record was seen, or
// one of whose record nothing is known yet. A key file that has changed is looked
// up first, by again; until then the key before goes on.
func (k *key) usable(again func()) (crypto.Signer, State) {
	file := k.file.Get()
	if !k.waits {
		return file, Published
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.looked != nil && !sameSigner(k.looked, file) {
		k.looked, k.due = file, time.Time{}
		again()
	}
	switch k.finding.State {
	case Published:
		return k.signer, Published
	case Unknown:
		return file, Unknown
	}
	return nil, k.finding.State
}

func (k *key) name() string { return RecordName(k.Domain, k.Selector) }

// why says why the key does not sign.
func (k *key) why() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.finding.Err != nil {
		return k.finding.Err.Error()
	}
	return "another key of its kind comes first"
}

// state is what is known of the record.
func (k *key) state() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.waits {
		return Published
	}
	return k.finding.State
}

func sameSigner(a, b crypto.Signer) bool {
	type comparable interface{ Equal(crypto.PrivateKey) bool }
	c, ok := a.(comparable)
	return ok && c.Equal(b)
}

// again has the DNS asked soon.
func (s *Set) again() {
	select {
	case s.check <- struct{}{}:
	default:
	}
}

// inherit takes over what an earlier set has seen.
func (s *Set) inherit(before *Set) {
	if before == nil {
		return
	}
	for _, k := range s.keys {
		for _, old := range before.keys {
			if !k.waits || !old.waits || old.Domain != k.Domain || old.Selector != k.Selector {
				continue
			}
			old.mu.Lock()
			k.looked, k.signer, k.finding = old.looked, old.signer, old.finding
			old.mu.Unlock()
		}
	}
}

// Run asks the DNS for the keys' records, at once and from time to time, until
// ctx ends.
func (s *Set) Run(ctx context.Context) {
	for {
		next := s.lookAll(ctx)
		s.count()
		select {
		case <-ctx.Done():
			return
		case <-s.check:
		case <-time.After(time.Until(next)):
		}
	}
}

// Look asks the DNS once for the keys' records.
func (s *Set) Look(ctx context.Context) { s.lookAll(ctx) }

// lookAll asks for the records that are due, and returns when the next one is.
func (s *Set) lookAll(ctx context.Context) (next time.Time) {
	next = time.Now().Add(recheckPublished)
	for _, k := range s.keys {
		if !k.waits {
			continue
		}
		k.mu.Lock()
		due := k.due
		k.mu.Unlock()
		if !time.Now().Before(due) {
			due = s.look(ctx, k)
		}
		if due.Before(next) {
			next = due
		}
	}
	return next
}

// look asks for one record. A key that was published and is not found now for a
// failure of the DNS stays what it was; so does the key before one that has
// replaced it in the file, as long as the record is its own.
func (s *Set) look(ctx context.Context, k *key) (due time.Time) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	file := k.file.Get()
	found := Look(ctx, s.TXT, k.Domain, k.Selector, file.Public())
	if errors.Is(ctx.Err(), context.Canceled) {
		return time.Now() // we are to stop
	}
	signer := file
	k.mu.Lock()
	before, old := k.finding.State, k.signer
	k.mu.Unlock()
	if found.State == Other && old != nil && !sameSigner(old, file) {
		if still := Look(ctx, s.TXT, k.Domain, k.Selector, old.Public()); still.State == Published {
			found, signer = Finding{Published, errors.New("its record is of the key before, which goes on signing"), still.Testing}, old
		}
	}
	wait := map[State]time.Duration{Published: recheckPublished, Unknown: recheckUnknown}[found.State]
	if wait == 0 || found.Err != nil && found.State == Published {
		wait = recheckMissing
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked, k.due = file, time.Now().Add(wait)
	switch {
	case found.State == Unknown && before != Unknown:
		return k.due
	case found.State == Published:
		k.signer = signer
	default:
		k.signer = nil
	}
	s.tell(k, found)
	k.finding = found
	return k.due
}

// tell logs what has changed.
func (s *Set) tell(k *key, found Finding) {
	text := ""
	if found.Err != nil {
		text = found.Err.Error()
	}
	if k.finding.State == found.State && (k.finding.Err == nil) == (found.Err == nil) {
		return
	}
	log := s.Log.With("domain", k.Domain, "selector", k.Selector)
	switch {
	case found.State == Published && found.Err == nil:
		log.Info("DKIM key is published, and signs", "testing", found.Testing)
	case found.State == Published:
		log.Warn("DKIM key waits for its record", "reason", text)
	case found.State == Unknown:
		log.Warn("record of DKIM key not found out", "error", text)
	default:
		log.Warn("DKIM key signs nothing before its record is published", "reason", text)
	}
}

// count tells the metrics how many keys are in which state.
func (s *Set) count() {
	counts := map[State]int{}
	for _, k := range s.keys {
		counts[k.state()]++
	}
	for _, state := range []State{Unknown, Published, Missing, Other} {
		s.Metrics.DKIMKeys.WithLabelValues(state.String()).Set(float64(counts[state]))
	}
}
