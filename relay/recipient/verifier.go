package recipient

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// Answer is what is known of a recipient.
type Answer struct {
	// Known says that its mail host has been asked and has answered.
	Known bool
	// Exists says that it would take mail for the recipient.
	Exists bool
	// Status is the enhanced code of its refusal; zero where it gave none.
	Status smtp.EnhancedCode
	// Silent says that nothing at all was heard from the host, so that there is no
	// sense in asking it for others now.
	Silent bool
	// Reason says in words what is known, or why nothing is.
	Reason string
}

// Key names a recipient at its next hop.
type Key struct{ Destination, Recipient string }

// all is the key under which it stands that nothing is heard from a next hop.
func (k Key) all() Key { return Key{Destination: k.Destination} }

// Probe asks the next hop for a recipient. It returns soon after ctx ends.
type Probe func(ctx context.Context) Answer

// How long answers are remembered. What exists today will hardly be gone within
// hours, and then its mail comes back as it always did; who was made a moment ago
// must not be refused for long. An unknown is remembered so that a host in trouble
// is not asked by every client.
const (
	keepExists  = 12 * time.Hour
	keepMissing = 10 * time.Minute
	keepUnknown = time.Minute
	// maxAnswers bounds the answers that are remembered: the ones that were used
	// longest ago go first.
	maxAnswers = 100_000
	// maxProbes is how many recipients are asked for at once.
	maxProbes = 50
	// probeTime is how long it is tried to find out, which can be longer than
	// the client waits: whoever asks next has the answer.
	probeTime = time.Minute
)

// Verifier remembers what next hops have said of recipients. It is safe for
// concurrent use.
type Verifier struct {
	metrics *metrics.Metrics
	probes  chan struct{}

	mu      sync.Mutex
	answers map[Key]*list.Element
	recent  list.List         // of *entry, the latest use in front
	asking  map[Key]*question // what is being found out
}

type entry struct {
	key    Key
	answer Answer
	until  time.Time
}

type question struct {
	done   chan struct{}
	answer Answer
}

// NewVerifier returns a verifier that remembers nothing yet.
func NewVerifier(m *metrics.Metrics) *Verifier {
	if m == nil {
		m = metrics.New(nil)
	}
	return &Verifier{metrics: m, probes: make(chan struct{}, maxProbes), answers: map[Key]*list.Element{}, asking: map[Key]*question{}}
}

// Remembered returns what is known of a key without asking anybody.
func (v *Verifier) Remembered(key Key) (Answer, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.remembered(key, time.Now())
}

func (v *Verifier) remembered(key Key, now time.Time) (Answer, bool) {
	if a, ok := v.lookup(key, now); ok {
		return a, true
	}
	return v.lookup(key.all(), now)
}

func (v *Verifier) lookup(key Key, now time.Time) (Answer, bool) {
	e, ok := v.answers[key]
	if !ok {
		return Answer{}, false
	}
	one := e.Value.(*entry)
	if !now.Before(one.until) {
		v.forget(key)
		return Answer{}, false
	}
	v.recent.MoveToFront(e)
	return one.answer, true
}

// Verify returns what is known of a recipient. What is not remembered is asked for
// by probe, once for all who want to know at the same time. It waits no longer
// than until ctx ends, and a next hop that was silent for so long is not waited
// for again so soon.
func (v *Verifier) Verify(ctx context.Context, key Key, probe Probe) Answer {
	v.mu.Lock()
	if a, ok := v.remembered(key, time.Now()); ok {
		v.mu.Unlock()
		v.count(metrics.VerifiedRemembered, a)
		return a
	}
	q, ok := v.asking[key]
	if !ok {
		select {
		case v.probes <- struct{}{}:
		default:
			v.mu.Unlock()
			return v.count(metrics.VerifiedAsked, Answer{Reason: "too many recipients are being asked for"})
		}
		q = &question{done: make(chan struct{})}
		v.asking[key] = q
		go v.ask(key, q, probe)
	}
	v.mu.Unlock()
	select {
	case <-q.done:
		return v.count(metrics.VerifiedAsked, q.answer)
	case <-ctx.Done():
		a := Answer{Silent: true, Reason: "its mail host has not answered in time"}
		v.mu.Lock()
		v.remember(key.all(), a, time.Now())
		v.mu.Unlock()
		return v.count(metrics.VerifiedAsked, a)
	}
}

// ask finds out, and remembers it.
func (v *Verifier) ask(key Key, q *question, probe Probe) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), probeTime, errors.New("it took too long to verify the recipient"))
	defer cancel()
	q.answer = probe(ctx)
	<-v.probes
	v.mu.Lock()
	delete(v.asking, key)
	v.remember(key, q.answer, time.Now())
	if q.answer.Silent {
		v.remember(key.all(), q.answer, time.Now())
	} else {
		v.forget(key.all())
	}
	v.mu.Unlock()
	close(q.done)
}

// forget drops what is remembered of a key.
func (v *Verifier) forget(key Key) {
	if e, ok := v.answers[key]; ok {
		v.recent.Remove(e)
		delete(v.answers, key)
	}
}

func (v *Verifier) remember(key Key, a Answer, now time.Time) {
	keep := keepUnknown
	switch {
	case a.Known && a.Exists:
		keep = keepExists
	case a.Known:
		keep = keepMissing
	}
	v.forget(key)
	for len(v.answers) >= maxAnswers {
		last := v.recent.Back()
		v.recent.Remove(last)
		delete(v.answers, last.Value.(*entry).key)
	}
	v.answers[key] = v.recent.PushFront(&entry{key, a, now.Add(keep)})
}

// count counts an answer for the metrics, and returns it.
func (v *Verifier) count(how string, a Answer) Answer {
	result := metrics.VerifiedUnknown
	switch {
	case a.Known && a.Exists:
		result = metrics.VerifiedExists
	case a.Known:
		result = metrics.VerifiedMissing
	}
	v.metrics.Verifications.WithLabelValues(how, result).Inc()
	return a
}
