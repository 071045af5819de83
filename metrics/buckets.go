package metrics

// Seconds in the longer units that the buckets are written in.
const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

// latencyBuckets reach from a message that passes straight through to one that
// is delivered on the last day of the usual lifetime; between them stand the
// steps of the retry schedule, where deliveries gather.
func latencyBuckets() []float64 {
	return []float64{
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
		minute, 5 * minute, 15 * minute, 35 * minute, 2 * hour, 4 * hour, 12 * hour,
		day, 2 * day, 3 * day, 5 * day,
	}
}

// attemptBuckets end above the ten minutes that a next hop has for its reply to
// the final dot (RFC 5321 §4.5.3.2.6).
func attemptBuckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, minute, 5 * minute, 15 * minute}
}

// commitBuckets are fine around a disk's time to sync, from flash to a tired
// spindle.
func commitBuckets() []float64 {
	return []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}
}

// dnsBuckets reach from a resolver on the same host to the longest wait.
func dnsBuckets() []float64 {
	return []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
}
