package queue

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A destination on hold is one record, whatever waits there: nothing that waits
// for it is attempted, expires or is warned about, and new mail for it waits
// too. The record has the name of the destination behind "=" for a key, and
// since when it is held for a value.

// changeHold is a change in the journal: length, destination, length, time and
// its CRC-32C; without a time the hold has ended.
const changeHold = 20

// bucketHold has the destinations on hold. It is made when it is needed.
var bucketHold = []byte("hold")

// maxDestination is how long the name of a destination may be, in octets, to be
// put on hold.
const maxDestination = 4096

// ErrDestination means that a text cannot be the name of a destination.
var ErrDestination = errors.New("not a next hop")

// HeldDestination is a destination on hold.
type HeldDestination struct {
	Name  string
	Since time.Time
	// Queued and Deferred are the recipients that wait there.
	Queued, Deferred int64
}

// HoldDestination puts a destination on hold until ReleaseDestination, also
// when nothing waits for it yet. Attempts that are under way are not
// interrupted. It returns how many recipients wait there, and whether it was
// not on hold already. The time that it takes does not depend on them.
func (q *Queue) HoldDestination(name string) (waiting int64, changed bool, err error) {
	if name == "" || len(name) > maxDestination || strings.ContainsRune(name, 0) {
		return 0, false, fmt.Errorf("%.60q is %w", name, ErrDestination)
	}
	return q.changeHold(name, q.now())
}

// ReleaseDestination ends a hold. What became due meanwhile is attempted at
// once. Messages that are on hold themselves stay so.
func (q *Queue) ReleaseDestination(name string) (waiting int64, changed bool, err error) {
	return q.changeHold(name, time.Time{})
}

// changeHold makes a hold durable before it has an effect, and an end too.
func (q *Queue) changeHold(name string, since time.Time) (waiting int64, changed bool, err error) {
	q.holding.Lock()
	defer q.holding.Unlock()
	if q.sched.isHeld(name) == since.IsZero() {
		err = q.commit(func(b *batch) error {
			b.hold(name, since)
			return nil
		})
		if err != nil {
			return 0, false, err
		}
		changed = true
		q.sched.hold(name, since)
	}
	return q.sched.waiting(name), changed, nil
}

// RetryDestination has everything that waits for a destination tried now, and
// returns how many recipients that are. No record is touched: what is not
// tried before the process ends is due then as before. A destination on hold
// stays so.
func (q *Queue) RetryDestination(name string) (waiting int64, held bool) {
	return q.sched.wantAll(name)
}

// DestinationHeld reports whether a destination is on hold.
func (q *Queue) DestinationHeld(name string) bool { return q.sched.isHeld(name) }

// Destinations returns the names of destinations that begin with prefix: as many
// as limit, those for which the most waits first. Some for which nothing waits
// any more are among them.
func (q *Queue) Destinations(prefix string, limit int) []string {
	return q.sched.names(prefix, limit)
}

// HeldDestinations returns the destinations on hold, by name.
func (q *Queue) HeldDestinations() []HeldDestination {
	all := q.sched.heldDestinations()
	slices.SortFunc(all, func(a, b HeldDestination) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (b *batch) hold(name string, since time.Time) {
	b.store.active.holds[name] = since
	b.changes = appendHold(b.changes, name, since)
}

func appendHold(b []byte, name string, since time.Time) []byte {
	b = appendString(append(b, changeHold), name)
	if since.IsZero() {
		return appendBytes(b, nil)
	}
	return appendBytes(b, appendSum(appendTime(nil, since)))
}

func (d *decoder) hold() (name string, since time.Time) {
	name = d.string()
	if b := d.bytes(); len(b) > 0 {
		record := decoder{b: b}
		since = record.time()
		record.check()
		d.bad = d.bad || record.bad
	}
	return name, since
}

func holdKey(name string) []byte { return append([]byte{'='}, name...) }

// parseHold reads an element of the bucket in an index of that version.
func parseHold(version uint32, key, record []byte) (name string, since time.Time, err error) {
	value, ok := unseal(version, key, record)
	d := decoder{b: value}
	since = d.time()
	if rest, is := bytes.CutPrefix(key, []byte{'='}); is && len(rest) > 0 && ok && !d.bad && d.at == len(value) {
		return string(rest), since, nil
	}
	return "", since, fmt.Errorf("the hold of a destination is %w", ErrDamaged)
}

func putHold(bucket *bolt.Bucket, name string, since time.Time) error {
	key := holdKey(name)
	return bucket.Put(key, seal(key, appendTime(nil, since)))
}

func bringInHolds(tx *bolt.Tx, o *overlay) error {
	if len(o.holds) == 0 {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(bucketHold)
	for name, since := range o.holds {
		switch {
		case err != nil:
			return err
		case since.IsZero():
			err = bucket.Delete(holdKey(name))
		default:
			err = putHold(bucket, name, since)
		}
	}
	return err
}

// loadHolds puts on hold what the index says. A record that is damaged is
// logged and left where it is.
func (q *Queue) loadHolds(tx *bolt.Tx) error {
	bucket := tx.Bucket(bucketHold)
	if bucket == nil {
		return nil
	}
	return bucket.ForEach(func(key, record []byte) error {
		name, since, err := parseHold(formatVersion, key, record)
		if err != nil {
			q.log.Error("hold set aside", "next_hop", string(key), "error", err.Error())
			return nil
		}
		q.sched.hold(name, since)
		return nil
	})
}

// isHeld reports whether a destination is on hold.
func (s *schedule) isHeld(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[name] != nil
}

// hold puts a destination on hold, or ends that when since is zero.
func (s *schedule) hold(name string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destination(name)
	if d.heldSince = since; d.held() {
		s.held[name] = d
	} else {
		delete(s.held, name)
	}
	s.place(d)
}

// wantAll makes everything due now that waits for a destination.
func (s *schedule) wantAll(name string) (waiting int64, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destinations[name]
	if d == nil {
		return 0, false
	}
	d.wanted, d.pausedSince, d.asked, d.why, d.hurried = s.now(), 0, 0, "", false
	for _, f := range d.flows {
		waiting += f.queued + f.deferred
		f.wantAll()
	}
	s.place(d)
	return waiting, d.held()
}

// waitingAt returns the messages that wait for destinations by their names, but
// for those that are in flight.
func (s *schedule) waitingAt(name func(string) bool) (ids []ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.destinations {
		if len(d.flows) == 0 || !name(d.name) {
			continue
		}
		for _, f := range d.flows {
			for _, h := range append(f.wanted[:len(f.wanted):len(f.wanted)], f.items) {
				for _, it := range h {
					ids = append(ids, it.id)
				}
			}
		}
	}
	return ids
}

// waiting returns how many recipients wait for a destination.
func (s *schedule) waiting(name string) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.destinations[name]; d != nil {
		for _, f := range d.flows {
			n += f.queued + f.deferred
		}
	}
	return n
}

func (s *schedule) heldDestinations() []HeldDestination {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]HeldDestination, 0, len(s.held))
	for name, d := range s.held {
		h := HeldDestination{Name: name, Since: d.heldSince}
		for _, f := range d.flows {
			h.Queued, h.Deferred = h.Queued+f.queued, h.Deferred+f.deferred
		}
		all = append(all, h)
	}
	return all
}

// heldByClass returns what waits for destinations on hold, by class.
func (s *schedule) heldByClass() []tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]tally, len(s.classes.all))
	for _, d := range s.held {
		for _, f := range d.flows {
			t := &all[f.class.index]
			t.queued, t.deferred = t.queued+f.queued, t.deferred+f.deferred
		}
	}
	return all
}
