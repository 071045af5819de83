package queue

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"waypost/relay/smtp"
)

// settlement is what an outcome makes of a delivery.
type settlement struct {
	queue         *Queue
	message       *Message
	outcome       Outcome
	judged        *Delivery    // what the outcome is for
	before, after *Delivery    // what is on disk, and what is to be
	retry         *RetryPolicy // of the message's class
	now           time.Time
	tried         []int       // recipients whose result counts, by index
	attempted     bool        // they were tried, and an operator did not only say so
	results       []Recipient // the same, as they were written
	// Recipients whose sender is to hear of them.
	failed, delayed, relayed []Recipient
	reports                  []*prepared
	sent                     []SentReport // what reports are
	attempt                  attemptRow   // without a record when there is nothing to keep
	record                   []byte       // of after
	keys                     []uint64     // of the story, where there may be one
	gone                     bool         // the message has left the index
}

// settle puts an outcome on disk together with the reports that it calls for:
// one operation, so that a crash leaves either both or neither.
func (q *Queue) settle(to *destination, m *Message, d *Delivery, out Outcome) {
	q.settleAll(to.name, []*settlement{q.conclusion(m, d, out)})
}

// conclusion is what is to be put on disk for an outcome.
func (q *Queue) conclusion(m *Message, d *Delivery, out Outcome) *settlement {
	s := q.judge(m, d, out)
	if err := s.compose(); err != nil {
		// Without its report a failure must not become final.
		q.log.Error("report not written, trying again later", "queue_id", m.ID.String(), "error", err.Error())
		s.postpone()
	}
	if m.isDamaged() && s.after.Open() > 0 {
		s.after.Held = true // to try again would find the same
	}
	s.encode()
	return s
}

// settleAll puts settlements on disk in one operation. Of one that fails nothing
// is done.
func (q *Queue) settleAll(to string, all []*settlement) {
	failed := make([]error, len(all))
	err := q.commit(func(b *batch) error {
		for i, s := range all {
			failed[i] = s.apply(b)
		}
		return nil
	})
	for i, s := range all {
		s.finish(to, cmp.Or(err, failed[i]))
	}
}

// errChanged means that an operator was faster than an attempt.
var errChanged = errors.New("changed during an attempt")

// finish ends the flight of a delivery, and says when it is due again.
func (s *settlement) finish(to string, err error) {
	q := s.queue
	if err != nil {
		s.discardReports()
		if errors.Is(err, errChanged) {
			var again *settlement
			if again, err = s.again(); err == nil {
				q.settleAll(to, []*settlement{again})
				return
			}
		}
		q.sched.done(s.before.key(), to, nil)
		if errors.Is(err, ErrUnknown) {
			q.log.Info("removed during an attempt", "queue_id", s.message.ID.String())
		}
		return
	}
	s.account()
	if !s.after.Deadline.IsZero() && !s.after.awaitsDeadline() {
		q.ends.forget(s.after.key())
	}
	if s.after.Held && !s.before.Held {
		q.metrics.DeliveriesDamaged.Inc()
		q.log.Error("content is damaged, message put on hold", "queue_id", s.message.ID.String(), "next_hop", s.after.Destination)
	}
	q.sched.done(s.before.key(), to, q.hint(s.after))
	for _, p := range s.reports {
		p.draft.file = nil
		q.enqueued(p)
	}
}

// again judges an outcome anew, on the delivery as it is now. What was removed
// meanwhile stays so, unless it has arrived.
func (s *settlement) again() (*settlement, error) {
	m, now, err := s.queue.read(s.before.key())
	if err != nil {
		return nil, err
	}
	m.damaged = atomic.LoadUint32(&s.message.damaged)
	d, out, results := *now, s.outcome, s.outcome.Results
	d.Recipients, out.Results = slices.Clone(now.Recipients), nil
	for i := range s.judged.Recipients {
		if !s.judged.Recipients[i].State.Open() || len(results) == 0 {
			continue
		}
		r := &d.Recipients[i]
		if r.State == Removed && results[0].State == Delivered {
			r.State = Deferred
		}
		if r.State.Open() {
			out.Results = append(out.Results, results[0])
		}
		results = results[1:]
	}
	again := s.queue.conclusion(m, &d, out)
	again.before = now
	return again, nil
}

// judge applies an outcome to a copy of d.
func (q *Queue) judge(m *Message, d *Delivery, out Outcome) *settlement {
	after := *d
	after.Recipients = slices.Clone(d.Recipients)
	s := &settlement{queue: q, message: m, outcome: out, judged: d, before: d, after: &after, retry: q.retry(m.Class), now: q.now()}
	ended := !s.now.Before(d.within(s.retry.expiry(m.begin())))
	results := out.Results
	for i := range after.Recipients {
		r := &after.Recipients[i]
		if !r.State.Open() {
			continue
		}
		result := Result{State: Deferred, Reason: "the attempt was not made"}
		if len(results) > 0 {
			result, results = results[0], results[1:]
		}
		if out.late {
			result = r.lateResult()
		}
		if out.Interrupted && result.State == Deferred {
			continue
		}
		s.tried = append(s.tried, i)
		r.Last, r.State = result, result.State
		if !out.late || r.LastAttempt.IsZero() {
			r.LastAttempt = s.now
		}
		if r.State == Deferred && ended {
			r.State = Expired
		}
	}
	if s.attempted = len(s.tried) > 0 && !out.decided; s.attempted {
		after.Attempts++
		wait := s.retry.interval(after.Attempts, q.opts.Rand())
		if out.RetryAfter > 0 {
			wait = s.retry.jittered(out.RetryAfter, q.opts.Rand())
		}
		after.Next = d.hasten(s.retry.next(m.begin(), wait, s.now), s.now)
	}
	s.selectReports(out)
	return s
}

// selectReports says of whom the sender is to hear. Nothing ever answers a
// null reverse-path (RFC 5321 §4.5.5, RFC 3461 §6.1).
func (s *settlement) selectReports(out Outcome) {
	warn := s.retry.warnAt(s.after, s.message.begin())
	warnNow := !s.after.Warned && !warn.IsZero() && !s.now.Before(warn)
	if warnNow {
		s.after.Warned = true
	}
	if s.message.ReversePath.IsNull() {
		return
	}
	for _, i := range s.tried {
		switch r := s.after.Recipients[i]; {
		case (r.State == Failed || r.State == Expired) && r.Notify.Failure():
			s.failed = append(s.failed, r)
		case r.State == Delivered && (r.Notify.Success() && !r.Last.Reported || r.Last.Relayed && r.Notify != smtp.NotifyNever):
			s.relayed = append(s.relayed, r)
		}
	}
	if !warnNow {
		return
	}
	for _, r := range s.after.Recipients {
		if r.State.Open() && r.Notify.Delay() {
			if r.LastAttempt.IsZero() && len(out.Results) > 0 && out.Results[0].State == Deferred {
				r.Last, r.LastAttempt = out.Results[0], s.now
			}
			s.delayed = append(s.delayed, r)
		}
	}
}

// encode makes what the committer is to write, so that it need not.
func (s *settlement) encode() {
	for _, i := range s.tried {
		s.results = append(s.results, s.after.Recipients[i])
	}
	if len(s.tried)+len(s.sent) == 0 {
		s.record = encodeDelivery(s.after)
		return
	}
	if !s.attempted {
		s.after.Notices++
	}
	a := Attempt{
		Index: s.after.Index, Number: uint32(s.after.Attempts + s.after.Notices),
		Time: s.now, Destination: s.after.Destination, Reports: s.sent, Results: make([]Tried, 0, len(s.results)),
	}
	for i := range s.results {
		r := &s.results[i]
		a.Results = append(a.Results, Tried{Path: r.Path, State: r.State, Result: r.Last})
	}
	s.attempt = newAttemptRow(s.after.ID, &a)
	s.record = encodeDelivery(s.after)
	if s.after.Open() == 0 && s.queue.store.history.on() {
		s.keys = storyKeys(s.message, s.after)
	}
}

// apply runs in the committer.
func (s *settlement) apply(b *batch) error {
	key := s.after.key()
	record := b.delivery(key)
	if record == nil {
		return ErrUnknown
	}
	if recordSum(record) != s.before.sum {
		return errChanged
	}
	for _, p := range s.reports {
		if err := p.put(b); err != nil {
			return err
		}
	}
	change := tallyOf(s.after).minus(tallyOf(s.before))
	var rows []deliveryRow
	open := s.after.Open() > 0
	if !open {
		rows = b.deliveries(key.id)
		open = othersOpen(rows, key)
	}
	if open {
		b.put(key, s.record)
		if s.attempt.record != nil {
			b.attempt(key.id, s.attempt)
		}
		b.count(s.message.Class, change)
		return nil
	}
	s.gone = true
	s.leave(b, rows)
	b.count(s.message.Class, change.minus(tally{messages: 1, bytes: s.message.Size}))
	return nil
}

// leave takes the message out. Most have one delivery and took one attempt, and
// then everything is at hand.
func (s *settlement) leave(b *batch, rows []deliveryRow) {
	if !b.store.history.on() {
		b.remove(s.message.ID)
		return
	}
	var attempts []attemptRow
	if len(rows) > 1 || s.attempt.record == nil || s.attempt.number > 1 {
		attempts = b.attempts(s.message.ID)
	}
	if s.attempt.record != nil {
		attempts = append(attempts, s.attempt)
	}
	for i := range rows {
		if rows[i].index == s.after.Index {
			rows[i].record = s.record
		}
	}
	if len(rows) > 1 || s.keys == nil {
		s.keys = storyKeys(s.message, decodeDeliveries(s.message.ID, rows)...)
	}
	b.leave(s.message, s.keys, rows, attempts)
}

// decodeDeliveries leaves out what is damaged.
func decodeDeliveries(id ID, rows []deliveryRow) (all []*Delivery) {
	for _, row := range rows {
		if d, err := decodeDelivery(deliveryKey{id, row.index}, row.record); err == nil {
			all = append(all, d)
		}
	}
	return all
}

// othersOpen reports whether another delivery of the message is not done.
func othersOpen(all []deliveryRow, key deliveryKey) bool {
	return slices.ContainsFunc(all, func(d deliveryRow) bool { return d.index != key.index && d.record[0]&flagDone == 0 })
}
