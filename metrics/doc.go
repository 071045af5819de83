// Package metrics defines every measurement that waypost publishes, and the
// HTTP endpoint that publishes them.
//
// All names, help texts, buckets and label values stand here and nowhere else,
// so that dashboards and alerts have one place to agree with; README.md beside
// this file has one entry per metric. The other packages receive a *Metrics and
// only count.
//
// The package refuses to keep state of its own: there is no default registry
// and no init function. It refuses unbounded labels: every label value is a
// constant of this package, created at zero when the collectors are made, so
// that a rate over a series that has not happened yet is 0 and not absent. An
// address, a domain or a queue ID is never a label. It knows nothing of SMTP or
// of the queue; the queue's figures come through a function given to
// [Metrics.WatchQueue].
//
// The steps, in order:
//
//  1. [New] makes the collectors and registers them.
//  2. [Metrics.WatchQueue] names the source of the queue's figures.
//  3. [Handler] builds the pages /metrics, /healthz and /readyz.
//  4. [Serve] answers them on a listener, with every wait and size bounded.
//
// Nothing here outlives the process: after a crash all counters start again at
// zero, which Prometheus' rate functions expect.
package metrics
