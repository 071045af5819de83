package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// namespace begins every name that this package defines.
const namespace = "waypost"

// label is a label's name with every value that it can take.
type label struct {
	name   string
	values []string
}

// factory makes collectors in the namespace and registers them.
type factory struct{ auto promauto.Factory }

func (f factory) counter(name, help string) prometheus.Counter {
	return f.auto.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	return f.auto.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return f.auto.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// histogram makes one with fixed buckets and, for a Prometheus that asks for
// them, native ones: each within a tenth of the next, and bounded in number.
func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return f.auto.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	})
}

// counters makes a counter for every combination of the labels' values, so that
// each series exists, at zero, from the first scrape.
func (f factory) counters(name, help string, labels ...label) *prometheus.CounterVec {
	names := make([]string, len(labels))
	for i, l := range labels {
		names[i] = l.name
	}
	vec := f.auto.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, names)
	for _, values := range combinations(labels) {
		vec.WithLabelValues(values...)
	}
	return vec
}

// combinations lists every choice of one value per label.
func combinations(labels []label) [][]string {
	all := [][]string{nil}
	for _, l := range labels {
		var next [][]string
		for _, head := range all {
			for _, value := range l.values {
				next = append(next, append(head[:len(head):len(head)], value))
			}
		}
		all = next
	}
	return all
}
