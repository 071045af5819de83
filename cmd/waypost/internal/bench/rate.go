package bench

import (
	"math"
	"time"
)

// Rate is how fast something went.
type Rate struct {
	Messages  int     `json:"messages"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	Latency   Latency `json:"latency"`
}

// Latency is in seconds. Each but Max is what that many of a hundred messages
// stay at or under.
type Latency struct {
	P50 float64 `json:"p50_seconds"`
	P90 float64 `json:"p90_seconds"`
	P99 float64 `json:"p99_seconds"`
	Max float64 `json:"max_seconds"`
}

// percentiles reads them from sorted latencies, by the nearest rank.
func percentiles(sorted []time.Duration) Latency {
	if len(sorted) == 0 {
		return Latency{}
	}
	at := func(p float64) float64 {
		return sorted[max(int(math.Ceil(p*float64(len(sorted))))-1, 0)].Seconds()
	}
	return Latency{P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1)}
}
