package metrics

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Values of the label "state" of waypost_queue_recipients.
const (
	stateQueued   = "queued"
	stateDeferred = "deferred"
	stateHeld     = "held"
)

// Values of the label "lane" of waypost_queue_attempts_running.
const (
	laneFast = "fast"
	laneSlow = "slow"
)

// QueueStats is one consistent view of the queue. The zero value is an empty
// queue on a full disk.
type QueueStats struct {
	// Messages is the number of messages in the queue.
	Messages int64
	// Queued is the number of recipients not tried yet and not held.
	Queued int64
	// Deferred is the number of recipients waiting for another attempt and not held.
	Deferred int64
	// Held is the number of recipients on hold, tried or not.
	Held int64
	// Destinations is the number of destinations that have messages.
	Destinations int64
	// Waiting is the number of destinations that are not tried before some
	// later time, because the last attempt to reach them failed.
	Waiting int64
	// Top has the destinations for which the most recipients wait, and Other the
	// sum of all others. None is named where no destination is to be.
	Top   []DestinationStats
	Other DestinationStats
	// Classes has the recipients by message class.
	Classes []ClassStats
	// FastAttempts and SlowAttempts are the delivery attempts that run now, at
	// destinations that answer promptly and at all others.
	FastAttempts, SlowAttempts int64
	// Bytes is the size of the content held, in bytes.
	Bytes int64
	// OldestAge is the time since the oldest message was accepted, zero for an
	// empty queue.
	OldestAge time.Duration
	// HistoryBytes is the size of the history on disk, in bytes, and
	// HistoryAge the time since the oldest message in it left; both are zero
	// where there is none.
	HistoryBytes int64
	HistoryAge   time.Duration
	// DiskFree is the space left for the queue on its file system, in bytes.
	DiskFree int64
	// IndexBytes is the size of the index's file, and IndexFree how much of it
	// is on free pages, in bytes.
	IndexBytes, IndexFree int64
}

// DestinationStats is what waits for one destination, or for several.
type DestinationStats struct {
	// Name is the destination's.
	Name string
	// Queued and Deferred are as in QueueStats; recipients on hold along with
	// their destination count too.
	Queued, Deferred int64
	// Attempts is how many run now.
	Attempts int64
	// Waiting is how many of the destinations are not tried before some later
	// time: 0 or 1 for a single one.
	Waiting int64
}

// other is the label "destination" of all that is not named.
const other = "other"

// ClassStats is what the queue holds of one message class.
type ClassStats struct {
	// Name is the class's, one of those given to [Metrics.AddClass].
	Name string
	// Queued, Deferred and Held are as in QueueStats.
	Queued, Deferred, Held int64
}

// WatchQueue has the queue's gauges read from f at every scrape. f is called
// once a scrape, from the scrape's goroutine, and must be quick and safe for
// concurrent use. A later call replaces f; nil removes the gauges, which is also
// how they begin.
func (m *Metrics) WatchQueue(f func() QueueStats) {
	if f == nil {
		m.queue.source.Store(nil)
		return
	}
	m.queue.source.Store(&f)
}

// queueCollector turns one QueueStats into gauges, so that the figures of one
// scrape always belong together.
type queueCollector struct {
	source atomic.Pointer[func() QueueStats]

	messages, recipients, destinations, waiting   *prometheus.Desc
	classes, attempts, bytes, oldestAge, diskFree *prometheus.Desc
	historyBytes, historyAge                      *prometheus.Desc
	indexBytes, indexFree                         *prometheus.Desc
	top, topAttempts, topWaiting                  *prometheus.Desc
}

func newQueueCollector() *queueCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "queue", name), help, labels, nil)
	}
	return &queueCollector{
		messages:     desc("messages", "Messages in the queue."),
		recipients:   desc("recipients", "Recipients in the queue, by state.", "state"),
		destinations: desc("destinations", "Destinations that have messages in the queue."),
		waiting:      desc("destinations_waiting", "Destinations not tried before a later time because the last attempt to reach them failed."),
		top:          desc("destination_recipients", "Recipients that wait for the destinations with the most, by state.", "destination", "state"),
		topAttempts:  desc("destination_attempts_running", "Delivery attempts that run now at the destinations with the most recipients.", "destination"),
		topWaiting:   desc("destination_waiting", "Whether a destination is not tried before a later time.", "destination"),
		classes:      desc("class_recipients", "Recipients in the queue, by message class and state.", "class", "state"),
		attempts:     desc("attempts_running", "Delivery attempts that run now, by lane.", "lane"),
		bytes:        desc("bytes", "Size of the content in the queue."),
		oldestAge:    desc("oldest_age_seconds", "Time since the oldest message in the queue was accepted."),
		historyBytes: desc("history_bytes", "Size of what is kept of messages that have left the queue."),
		historyAge:   desc("history_oldest_age_seconds", "Time since the oldest message that is kept in the history left the queue."),
		diskFree:     desc("disk_free_bytes", "Space left for the queue on its file system."),
		indexBytes:   desc("index_bytes", "Size of the file of the queue's index."),
		indexFree:    desc("index_free_bytes", "Size of the free pages in the queue's index."),
	}
}

// Describe sends the descriptions of the queue's gauges.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.messages, c.recipients, c.destinations, c.waiting, c.classes, c.attempts, c.bytes, c.oldestAge, c.diskFree, c.historyBytes, c.historyAge,
		c.indexBytes, c.indexFree, c.top, c.topAttempts, c.topWaiting,
	} {
		ch <- d
	}
}

// Collect reads the queue's figures once and sends them.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	source := c.source.Load()
	if source == nil {
		return
	}
	s := (*source)()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	send(c.messages, float64(s.Messages))
	send(c.recipients, float64(s.Queued), stateQueued)
	send(c.recipients, float64(s.Deferred), stateDeferred)
	send(c.recipients, float64(s.Held), stateHeld)
	send(c.destinations, float64(s.Destinations))
	send(c.waiting, float64(s.Waiting))
	c.sendTop(s, send)
	for _, class := range s.Classes {
		send(c.classes, float64(class.Queued), class.Name, stateQueued)
		send(c.classes, float64(class.Deferred), class.Name, stateDeferred)
		send(c.classes, float64(class.Held), class.Name, stateHeld)
	}
	send(c.attempts, float64(s.FastAttempts), laneFast)
	send(c.attempts, float64(s.SlowAttempts), laneSlow)
	send(c.bytes, float64(s.Bytes))
	send(c.oldestAge, s.OldestAge.Seconds())
	send(c.historyBytes, float64(s.HistoryBytes))
	send(c.historyAge, s.HistoryAge.Seconds())
	send(c.diskFree, float64(s.DiskFree))
	send(c.indexBytes, float64(s.IndexBytes))
	send(c.indexFree, float64(s.IndexFree))
}

// sendTop sends the gauges of the destinations that have a name.
func (c *queueCollector) sendTop(s QueueStats, send func(*prometheus.Desc, float64, ...string)) {
	rest := s.Other
	named := map[string]bool{other: true}
	one := func(name string, d DestinationStats) {
		send(c.top, float64(d.Queued), name, stateQueued)
		send(c.top, float64(d.Deferred), name, stateDeferred)
		send(c.topAttempts, float64(d.Attempts), name)
		send(c.topWaiting, float64(d.Waiting), name)
	}
	for _, d := range s.Top {
		// The same series twice would cost the whole scrape.
		if name := strings.ToValidUTF8(d.Name, "?"); !named[name] {
			named[name] = true
			one(name, d)
			continue
		}
		rest.Queued, rest.Deferred = rest.Queued+d.Queued, rest.Deferred+d.Deferred
		rest.Attempts, rest.Waiting = rest.Attempts+d.Attempts, rest.Waiting+d.Waiting
	}
	one(other, rest)
}
