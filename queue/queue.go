package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"waypost/metrics"
	"waypost/relay/smtp"
)

// Deliverer makes one attempt. It is called from many goroutines at once. It may
// be a [Pacer], too.
type Deliverer interface {
	// Deliver tries the open recipients of d. The outcome has one result for
	// each of them. It returns soon after ctx ends.
	Deliver(ctx context.Context, m *Message, d *Delivery) Outcome
}

// Router says which destination a recipient waits for. It is pure, and
// called again before each attempt, so that a changed configuration reaches
// mail that is queued already.
//
// A destination whose name has no colon is named by the one domain of all its
// recipients, as smtp.Path.DomainKey has it, up to a space.
type Router interface {
	Destination(e *Envelope, r *Recipient) string
}

// ReportKind is what a report tells its reader.
type ReportKind uint8

// The kinds of reports.
const (
	ReportFailure ReportKind = iota
	ReportDelay
	ReportSuccess
)

var reportNames = [...]string{"failure", "delay", "success"}

// String returns the kind's word.
func (k ReportKind) String() string {
	if int(k) < len(reportNames) {
		return reportNames[k]
	}
	return "unknown"
}

// Report is what a Reporter composes a report of.
type Report struct {
	Kind    ReportKind
	Message *Message
	// Recipients are those reported on, with their newest results.
	Recipients []Recipient
	// RetryUntil is when a delayed message will be given up.
	RetryUntil time.Time
}

// Reporter writes reports to senders (RFC 3464).
type Reporter interface {
	// Compose writes the report's content, and says what its envelope must.
	Compose(w io.Writer, r Report) (eightBit, utf8 bool, err error)
}

// Options configures a queue. Dir, Deliverer, Router and Reporter are
// required.
type Options struct {
	// Dir is the directory that holds the index and the contents. It is made
	// when it does not exist.
	Dir       string
	Deliverer Deliverer
	Router    Router
	Reporter  Reporter
	// Retry says when attempts are made and given up, in the default class.
	Retry RetryPolicy
	// Classes are the other classes of messages. One called DefaultClass
	// takes the place of the default one, Retry included.
	Classes []Class
	// ReportClass returns the class of a report to that recipient; nil puts
	// reports into the default one.
	ReportClass func(smtp.Path) (class, rule string)
	// ReportTo returns who receives a report to that sender, at least one; nil
	// has the sender itself.
	ReportTo func(smtp.Path) []smtp.Path
	// Workers bounds the attempts that run at once at destinations that are
	// known to answer promptly; 0 means 500.
	Workers int
	// SlowWorkers bounds those at all others: destinations of which nothing
	// is known yet, that cannot be reached, or that take long; 0 means four
	// times Workers.
	SlowWorkers int
	// PerDestination bounds those for one destination; 0 means 20.
	PerDestination int
	// TopDestinations is how many destinations Stats names; 0 means none.
	TopDestinations int
	// MinFree is the free space in octets below which Room says that there
	// is none.
	MinFree int64
	// Reserve is how much space is set aside on the disk, in octets, to be given
	// up when it is full, so that the queue can go on and deliver; 0 means none.
	Reserve int64
	// History bounds what is kept of messages that have left; its zero value
	// keeps nothing.
	History HistoryOptions
	// Look opens a queue so that it can be looked at: nothing is written, and every
	// change fails with ErrReadOnly. One of an old version is upgraded before, which
	// takes a file system that can be written.
	Look bool
	// Log receives one line per outcome; nil discards them.
	Log *slog.Logger
	// Metrics counts; nil counts into nothing.
	Metrics *metrics.Metrics
	// Rand returns a number from 0 up to 1 for the jitter; nil is the usual
	// source.
	Rand func() float64

	segment int64            // of the journal, in octets; 0 means segmentSize
	disk    disk             // nil is the kernel's
	now     func() time.Time // what the clock says; nil is time.Now
	// turn is called before what is due is looked at, by an attempt or at the end of
	// a by-time, so that a simulation can have one begin after the other; nil does
	// nothing.
	turn func(by string, key deliveryKey)
}

func (o *Options) setDefaults() {
	if o.Workers == 0 {
		o.Workers = 500
	}
	if o.SlowWorkers == 0 {
		o.SlowWorkers = 4 * o.Workers
	}
	if o.PerDestination == 0 {
		o.PerDestination = 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	if o.ReportClass == nil {
		o.ReportClass = func(smtp.Path) (string, string) { return "", "" }
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.segment == 0 {
		o.segment = segmentSize
	}
	if o.disk == nil {
		o.disk = kernel{}
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.turn == nil {
		o.turn = func(string, deliveryKey) {}
	}
	o.Retry.setDefaults()
}

// Queue is an open queue. It is safe for concurrent use.
type Queue struct {
	opts    Options
	dir     string
	log     *slog.Logger
	metrics *metrics.Metrics
	lock    *os.File
	store   *store
	ids     idSource
	classes *classes
	sched   *schedule
	changes sync.Mutex // held from the commit of a change until the schedule knows it
	holding sync.Mutex // for as long as a destination's hold changes
	room    room
	// scanning holds one token while a scan has its turn, when mail comes in.
	scanning chan struct{}

	ops      chan *op
	closing  chan struct{} // closed by Close
	stopped  chan struct{} // closed when the committer has ended
	failed   chan struct{}
	failure  atomic.Pointer[error]
	failOnce sync.Once
	loaded   chan struct{} // closed when everything that was on disk is scheduled
	ends     deadlines
	ended    error // of changes once the committer has ended
}

// Open opens the queue in o.Dir, or makes a new one. It returns an
// *InUseError when another process has it. Messages may be added at once;
// deliveries begin with Run.
func Open(o Options) (*Queue, error) {
	o.setDefaults()
	if err := checkDirectory(o.Dir); err != nil {
		return nil, err
	}
	if o.Look {
		if q, err := openToLook(o); !errors.Is(err, errOld) || readOnly(o.Dir) {
			return q, err
		}
	}
	if err := makeDirectory(filepath.Join(o.Dir, contentName)); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(o.Dir, fmt.Sprintf("pid %d, since %s", os.Getpid(), time.Now().UTC().Format(time.RFC3339)))
	if err != nil {
		return nil, err
	}
	q := newQueue(o, lock)
	keep := o.History
	keep.minFree, keep.lost = o.MinFree, func(n int) { q.metrics.HistoryLost.Add(float64(n)) }
	if q.store, err = openStore(o.Dir, o.segment, o.disk, q.fail, keep, o.Log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	q.store.minFree, q.store.compacted = o.MinFree, q.noteCompaction
	q.store.reserve = newReserve(o.Dir, o.Reserve, o.Log)
	q.store.reserve.adjust(2 * q.store.journal.space())
	var snapshot *bolt.Tx
	err = q.store.guard(func() (err error) {
		if snapshot, err = q.store.db.Begin(false); err == nil {
			q.resumeIDs(snapshot)
			err = q.loadHolds(snapshot)
		}
		return err
	})
	if err == nil {
		err = q.sweepContent()
	}
	if err != nil {
		if snapshot != nil {
			err = errors.Join(err, snapshot.Rollback())
		}
		return nil, errors.Join(fmt.Errorf("open queue: %w", err), q.store.close(), lock.Close())
	}
	go q.committer()
	go q.pruneHistory()
	q.sched.loading = true
	go q.load(snapshot)
	go q.maintain()
	return q, nil
}

// newQueue returns a queue without its store.
func newQueue(o Options, lock *os.File) *Queue {
	q := &Queue{
		opts: o, dir: o.Dir, log: o.Log, metrics: o.Metrics, lock: lock,
		classes: newClasses(o.Classes, o.Retry, o.Log),
		ids:     idSource{now: o.now},
		room:    room{dir: o.Dir},
		ends:    newDeadlines(), ended: ErrClosed,
		ops: make(chan *op), closing: make(chan struct{}), stopped: make(chan struct{}),
		failed: make(chan struct{}), loaded: make(chan struct{}), scanning: make(chan struct{}, 1),
	}
	for _, c := range q.classes.all {
		q.metrics.AddClass(c.Name)
	}
	q.sched = newSchedule(q.classes, o.Workers, o.SlowWorkers, o.PerDestination, o.now)
	q.sched.pacer, _ = o.Deliverer.(Pacer)
	return q
}

// pruneHistory removes what has become too old, also when nothing is added.
func (q *Queue) pruneHistory() {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			q.store.history.prune(time.Now())
		case <-q.closing:
			return
		}
	}
}

// noteCompaction counts and logs a compaction.
func (q *Queue) noteCompaction(c Compacted, err error) {
	if err != nil {
		q.log.Warn("index not compacted", "error", err.Error())
		return
	}
	q.metrics.Compactions.Inc()
	q.metrics.CompactionDuration.Observe(c.Took.Seconds())
	q.log.Info("index compacted", "before", c.Before, "after", c.After, "took", c.Took.Seconds(), "pause", c.Pause.Seconds())
}

// resumeIDs continues after the newest ID that is in use. A key that is damaged
// would have all that come be of another time.
func (q *Queue) resumeIDs(snapshot *bolt.Tx) {
	c := snapshot.Bucket(bucketDelivery).Cursor()
	for key, record := c.Last(); key != nil; key, record = c.Prev() {
		if goodRecord(key, record) {
			k, _ := parseDeliveryKey(key)
			q.ids.last = k.id
			return
		}
	}
}

// now is what the clock says. Only what is compared with times of records asks
// it: how long something takes does not depend on the clock.
func (q *Queue) now() time.Time { return q.opts.now() }

// Failed is closed when a commit or a sync failed. The process must then
// end: what is on disk is found out only by opening it anew.
func (q *Queue) Failed() <-chan struct{} { return q.failed }

// Err returns why the queue failed, or nil.
func (q *Queue) Err() error {
	if err := q.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close ends the queue. Run must have returned, and nobody may be adding
// messages.
func (q *Queue) Close() error {
	close(q.closing)
	<-q.stopped
	<-q.loaded
	if err := q.Err(); err != nil {
		return errors.Join(q.store.abandon(), q.lock.Close())
	}
	return errors.Join(q.store.close(), q.lock.Close())
}

// Run delivers until ctx ends, and returns when every attempt in progress has
// been given up or has ended. grace is how long these may go on after ctx
// ended.
func (q *Queue) Run(ctx context.Context, grace time.Duration) {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	workers := hands{work: func(w *worker) { q.work(attempts, w) }, next: make(chan *worker)}
	workers.all.Go(func() { q.watchClock(ctx) })
	workers.all.Go(func() { q.watchDeadlines(ctx) })
	q.sched.run(ctx, func(w *worker) { workers.start(ctx, w) })
	timer := time.AfterFunc(grace, cancel)
	defer timer.Stop()
	go func() {
		select {
		case <-q.failed: // nothing that an attempt achieves could be recorded
			cancel()
		case <-attempts.Done():
		}
	}()
	workers.all.Wait()
}

// load schedules what was on disk when the queue was opened.
func (q *Queue) load(snapshot *bolt.Tx) {
	defer close(q.loaded)
	defer q.sched.loaded()
	var late []deliveryKey
	// What is wrong ends the process, and who watches Failed says it.
	_ = q.store.guard(func() error {
		defer snapshot.Rollback()
		late = q.loadAll(snapshot)
		return nil
	})
	// The transaction has ended: a checkpoint that makes the index larger may have
	// to wait for that, and a commit for the checkpoint.
	if len(late) > 0 {
		q.log.Warn("the clock has gone back since the last run, or long waits were configured then", "deliveries", len(late))
		q.boundWaits(late)
	}
}

// loadAll returns what is to be due sooner than its record says.
func (q *Queue) loadAll(snapshot *bolt.Tx) (late []deliveryKey) {
	now := q.now()
	c := snapshot.Bucket(bucketDelivery).Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		select {
		case <-q.closing:
			return nil
		default:
		}
		k, ok := parseDeliveryKey(key)
		if !ok {
			continue
		}
		d, err := decodeDelivery(k, value)
		if err != nil {
			q.metrics.DeliveriesDamaged.Inc()
			q.log.Error("message set aside", "queue_id", k.id.String(), "error", err.Error())
			continue
		}
		if _, yes := q.tooFar(d, now); yes {
			late = append(late, k)
		}
		q.restore(d)
	}
	return late
}

// restore schedules what was in the queue when it was opened.
func (q *Queue) restore(d *Delivery) {
	if d.awaitsDeadline() {
		q.ends.add(d.Deadline, d.key())
	}
	if h := q.hint(d); h != nil {
		q.sched.restore(d.Destination, *h)
	}
}

// reschedule lets d be attempted, or warned about, when it is due.
func (q *Queue) reschedule(d *Delivery) {
	if d.awaitsDeadline() {
		q.ends.add(d.Deadline, d.key())
	}
	if h := q.hint(d); h != nil {
		q.sched.push(d.Destination, *h)
	}
}

// hint returns what the schedule needs to know of d; nil when it is not to be
// attempted.
func (q *Queue) hint(d *Delivery) *hint {
	if d.Held || d.Open() == 0 {
		return nil
	}
	c := q.classes.of(d.Class)
	return &hint{class: c, priority: d.Priority, item: item{
		due: later(c.Retry.due(d), d.HoldUntil).UnixMilli(), id: d.ID, index: d.Index, warned: d.Warned, tried: d.Attempts > 0, open: uint16(d.Open()),
	}}
}

// retry returns the retry policy of a class.
func (q *Queue) retry(class string) *RetryPolicy { return &q.classes.of(class).Retry }
