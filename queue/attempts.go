package queue

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"waypost/relay/smtp"
)

// Attempt is what one attempt of a delivery came to, kept as long as its
// message is. A warning that was sent between two attempts is one without
// results.
type Attempt struct {
	// Index is the delivery's. Number grows with each of its attempts.
	Index  uint16
	Number uint32
	// Time is when the attempt ended, to the millisecond.
	Time time.Time
	// Destination is the next hop that was tried.
	Destination string
	// Results are those of the recipients that were tried.
	Results []Tried
	// Reports are those that were sent on account of it.
	Reports []SentReport
}

// Tried is what an attempt meant for one recipient.
type Tried struct {
	Path smtp.Path
	// State is what the recipient became. It is that of the result, or Expired.
	State State
	Result
}

// SentReport is a report that was put in the queue.
type SentReport struct {
	Kind ReportKind
	// ID is the report's own.
	ID ID
}

// A delivery keeps the first of its attempts and the newest of them: what went
// wrong to begin with, and what goes wrong now.
const newestAttempts = 99

// superseded is the attempt that is not kept any more when there is one with
// this number; 0 is none.
func superseded(number uint32) uint32 {
	if number <= newestAttempts+1 {
		return 0
	}
	return number - newestAttempts
}

// attemptKey names one attempt of a delivery.
type attemptKey struct {
	deliveryKey
	number uint32
}

func (k attemptKey) bytes() []byte {
	return binary.BigEndian.AppendUint32(k.deliveryKey.bytes(), k.number)
}

func parseAttemptKey(b []byte) (attemptKey, bool) {
	if len(b) != 14 {
		return attemptKey{}, false
	}
	k, ok := parseDeliveryKey(b[:10])
	return attemptKey{k, binary.BigEndian.Uint32(b[10:])}, ok
}

type attemptRow struct {
	index  uint16
	number uint32
	record []byte
}

func newAttemptRow(id ID, a *Attempt) attemptRow {
	return attemptRow{a.Index, a.Number, encodeAttempt(id, a)}
}

// encodeAttempt writes a record. Recipients that came to the same stand
// together, so that what the host said stands once:
//
//	attempt  flags time destination n groups n reports [fields] crc
//	group    state result n paths
//	report   kind ID 8
func encodeAttempt(id ID, a *Attempt) []byte {
	b := append(make([]byte, 0, 256), flagKeyed)
	b = appendTime(b, a.Time)
	b = appendString(b, a.Destination)
	groups := sameResults(a.Results)
	b = binary.AppendUvarint(b, uint64(len(groups)))
	for _, group := range groups {
		b = appendResult(append(b, byte(group[0].State)), &group[0].Result)
		b = binary.AppendUvarint(b, uint64(len(group)))
		for _, r := range group {
			b = appendPath(b, r.Path)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(a.Reports)))
	for _, r := range a.Reports {
		b = binary.BigEndian.AppendUint64(append(b, byte(r.Kind)), uint64(r.ID))
	}
	return appendKeyedSum(b, attemptKey{deliveryKey{id, a.Index}, a.Number}.bytes())
}

// sameResults cuts results where the next differs from the one before.
func sameResults(all []Tried) (groups [][]*Tried) {
	for i := range all {
		r := &all[i]
		if n := len(groups); n > 0 && groups[n-1][0].sameAs(r) {
			groups[n-1] = append(groups[n-1], r)
		} else {
			groups = append(groups, []*Tried{r})
		}
	}
	return groups
}

func (t *Tried) sameAs(o *Tried) bool {
	a, b := &t.Result, &o.Result
	return t.State == o.State && a.State == b.State && a.Reply.Code == b.Reply.Code && a.Reply.Enhanced == b.Reply.Enhanced &&
		slices.Equal(a.Reply.Lines, b.Reply.Lines) && a.Reason == b.Reason && a.Status == b.Status && a.Host == b.Host &&
		a.Reported == b.Reported && a.Relayed == b.Relayed && a.TLS == b.TLS && a.Duration == b.Duration
}

func decodeAttempt(k attemptKey, b []byte) (*Attempt, error) {
	d := decoder{b: b}
	flags := d.flags(flagKeyed | flagFields)
	a := &Attempt{Index: k.index, Number: k.number, Time: d.time(), Destination: d.string()}
	for range min(d.number(), uint64(len(b))) {
		t := Tried{State: State(d.octet())}
		d.result(&t.Result)
		for range min(d.number(), uint64(len(b))) {
			if t.Path = d.path(); d.bad {
				break
			}
			a.Results = append(a.Results, t)
		}
		if d.bad {
			break
		}
	}
	for range min(d.number(), uint64(len(b))) {
		r := SentReport{Kind: ReportKind(d.octet()), ID: d.id()}
		if d.bad {
			break
		}
		a.Reports = append(a.Reports, r)
	}
	d.fields(flags, func(uint64, *decoder) bool { return false })
	d.checkKeyed(flags, k.bytes())
	if err := d.err(); err != nil {
		return nil, fmt.Errorf("message %s: record of attempt %d is %w", k.id, k.number, err)
	}
	return a, nil
}

// addAttempt keeps an attempt in the place of the one that it supersedes.
func (r *row) addAttempt(a attemptRow) {
	old := superseded(a.number)
	r.attempts = slices.DeleteFunc(r.attempts, func(o attemptRow) bool {
		return o.index == a.index && (o.number == a.number || old != 0 && o.number == old)
	})
	r.attempts = append(r.attempts, a)
}

func bringInAttempt(tx *bolt.Tx, id ID, a attemptRow) error {
	bucket := tx.Bucket(bucketAttempt)
	key := attemptKey{deliveryKey{id, a.index}, a.number}
	if old := superseded(a.number); old != 0 {
		if err := bucket.Delete(attemptKey{key.deliveryKey, old}.bytes()); err != nil {
			return err
		}
	}
	return bucket.Put(key.bytes(), a.record)
}

// attempts returns the records of all attempts that are kept of a message, by
// delivery and number.
func (v *view) attempts(id ID) []attemptRow {
	var all []attemptRow
	deeper := true
	for _, r := range v.rows(id) {
		if r != nil && deeper {
			all = append(all, r.attempts...)
			deeper = !r.gone && !r.fresh
		}
	}
	if deeper && v.index() != nil {
		c := v.tx.Bucket(bucketAttempt).Cursor()
		for key, record := c.Seek(id.key()); key != nil; key, record = c.Next() {
			k, ok := parseAttemptKey(key)
			if !ok || k.id != id {
				break
			}
			all = append(all, attemptRow{k.index, k.number, record})
		}
	}
	newest := map[uint16]uint32{}
	for _, a := range all {
		newest[a.index] = max(newest[a.index], a.number)
	}
	all = slices.DeleteFunc(all, func(a attemptRow) bool { return a.number > 1 && a.number <= superseded(newest[a.index]) })
	slices.SortFunc(all, func(a, b attemptRow) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.number, b.number))
	})
	return all
}

// decodeAttempts returns attempts in the order of their time. What is damaged
// is left out.
func decodeAttempts(id ID, rows []attemptRow) (all []Attempt) {
	for _, row := range rows {
		if a, err := decodeAttempt(attemptKey{deliveryKey{id, row.index}, row.number}, row.record); err == nil {
			all = append(all, *a)
		}
	}
	slices.SortStableFunc(all, func(a, b Attempt) int { return a.Time.Compare(b.Time) })
	return all
}
