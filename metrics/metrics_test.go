package metrics

import (
	"crypto/tls"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// gathered returns the label values of every series of ours by name and label:
// found["waypost_refused_total"]["reason"] is all reasons. Histograms and
// unlabelled metrics have an empty map.
func gathered(t *testing.T, g prometheus.Gatherer) (labels map[string]map[string][]string, kinds map[string]string) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	labels, kinds = map[string]map[string][]string{}, map[string]string{}
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, namespace+"_") {
			continue
		}
		labels[name] = map[string][]string{}
		kinds[name] = strings.ToLower(family.GetType().String())
		for _, series := range family.GetMetric() {
			for _, pair := range series.GetLabel() {
				values := labels[name][pair.GetName()]
				if !slices.Contains(values, pair.GetValue()) {
					labels[name][pair.GetName()] = append(values, pair.GetValue())
				}
			}
		}
	}
	return labels, kinds
}

// complete returns a registry with everything registered, the queue included.
func complete() (*prometheus.Registry, *Metrics) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg)
	m.AddClass("default")
	m.AddReplyRule("greylisting")
	m.PaceWindow.WithLabelValues("example")
	m.PaceAttempts.WithLabelValues("example")
	m.WatchQueue(func() QueueStats { return QueueStats{Classes: []ClassStats{{Name: "default"}}} })
	return reg, m
}

func TestReadmeAgreesWithTheCollectors(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	heading := regexp.MustCompile("(?m)^### `([a-z_]+)`$")
	at := heading.FindAllStringSubmatchIndex(string(text), -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		entries[string(text[m[2]:m[3]])] = string(text[m[1]:end])
	}

	reg, _ := complete()
	labels, kinds := gathered(t, reg)
	for name := range entries {
		if _, ok := labels[name]; !ok {
			t.Errorf("README.md describes %s, which no collector publishes", name)
		}
	}
	for name, byLabel := range labels {
		entry, ok := entries[name]
		if !ok {
			t.Errorf("README.md has no entry for %s", name)
			continue
		}
		checkEntry(t, name, kinds[name], entry, byLabel)
	}
}

// checkEntry compares one entry of README.md with what is published.
func checkEntry(t *testing.T, name, kind, entry string, byLabel map[string][]string) {
	t.Helper()
	if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(entry)), kind) {
		t.Errorf("README.md: the entry of %s does not begin with %q", name, kind)
	}
	if !strings.Contains(entry, "?") {
		t.Errorf("README.md: the entry of %s asks no question", name)
	}
	if len(byLabel) == 0 != strings.Contains(entry, "No labels.") {
		t.Errorf("README.md: the entry of %s is wrong about having labels: %v", name, slices.Collect(maps.Keys(byLabel)))
	}
	for label, values := range byLabel {
		if !strings.Contains(entry, "`"+label+"`") {
			t.Errorf("README.md: the entry of %s lacks the label %q", name, label)
		}
		if name == "waypost_build_info" {
			continue // its values depend on the build
		}
		for _, value := range values {
			if !strings.Contains(entry, "`"+value+"`") {
				t.Errorf("README.md: the entry of %s lacks the value %q of %q", name, value, label)
			}
		}
	}
}

func TestNamesPassTheLinter(t *testing.T) {
	reg, _ := complete()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// Metrics of the Go runtime are named by the Go project.
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestEverySeriesExistsFromTheStart(t *testing.T) {
	reg, _ := complete()
	labels, _ := gathered(t, reg)
	for name, want := range map[string]map[string]int{
		"waypost_refused_total":                     {"reason": 14},
		"waypost_inbound_connections_refused_total": {"reason": 3},
		"waypost_reports_total":                     {"kind": 3},
		"waypost_attempts_total":                    {"outcome": 4},
		"waypost_tls_handshakes_total":              {"direction": 2, "version": 4},
		"waypost_dns_queries_total":                 {"type": 7, "result": 6},
		"waypost_mta_sts_fetches_total":             {"result": 2},
		"waypost_tls_policies_total":                {"policy": 2, "result": 5},
		"waypost_queue_recipients":                  {"state": 3},
		"waypost_build_info":                        {"version": 1, "goversion": 1},
		"waypost_outbound_connections_opened_total": {},
		"waypost_delivery_latency_seconds":          {},
		"waypost_ends_of_data_ambiguous_total":      {},
		"waypost_queue_oldest_age_seconds":          {},
		"waypost_inbound_connections":               {},
		"waypost_commit_operations":                 {},
		"waypost_compactions_total":                 {},
		"waypost_history_lost_total":                {},
		"waypost_deliveries_damaged_total":          {},
		"waypost_compaction_duration_seconds":       {},
		"waypost_queue_index_bytes":                 {},
		"waypost_queue_index_free_bytes":            {},
		"waypost_outbound_connect_failures_total":   {},
	} {
		got := map[string]int{}
		for label, values := range labels[name] {
			got[label] = len(values)
		}
		if _, ok := labels[name]; !ok || !maps.Equal(got, want) {
			t.Errorf("%s: number of values by label %v, want %v", name, got, want)
		}
	}
	if n, err := testutil.GatherAndCount(reg, "waypost_dns_queries_total"); err != nil || n != 42 {
		t.Errorf("waypost_dns_queries_total has %d series (%v), want 42", n, err)
	}
}

func TestUnregisteredMetricsCount(t *testing.T) {
	m := New(nil)
	m.Sessions.Inc()
	m.Refused.WithLabelValues(RefusedRelay).Add(2)
	m.DeliveryLatency.Observe(1)
	m.WatchQueue(func() QueueStats { return QueueStats{} })
	if got := testutil.ToFloat64(m.Sessions); got != 1 {
		t.Errorf("sessions %v, want 1", got)
	}
	if got := testutil.ToFloat64(m.Refused.WithLabelValues(RefusedRelay)); got != 2 {
		t.Errorf("refused %v, want 2", got)
	}
}

func TestWatchQueue(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg)
	names := []string{
		"waypost_queue_messages", "waypost_queue_recipients", "waypost_queue_destinations", "waypost_queue_destinations_waiting",
		"waypost_queue_bytes", "waypost_queue_oldest_age_seconds", "waypost_queue_disk_free_bytes",
		"waypost_queue_history_bytes", "waypost_queue_history_oldest_age_seconds",
		"waypost_queue_index_bytes", "waypost_queue_index_free_bytes",
	}
	if n, err := testutil.GatherAndCount(reg, names...); err != nil || n != 0 {
		t.Fatalf("before WatchQueue: %d series (%v), want none", n, err)
	}
	calls := 0
	m.WatchQueue(func() QueueStats {
		calls++
		return QueueStats{
			Messages: 1, Queued: 2, Deferred: 3, Held: 4, Destinations: 5, Waiting: 6,
			Bytes: 7, OldestAge: 90 * time.Second, DiskFree: 8, HistoryBytes: 9, HistoryAge: time.Minute, IndexBytes: 9, IndexFree: 5,
		}
	})
	want := `
# HELP waypost_queue_bytes Size of the content in the queue.
# TYPE waypost_queue_bytes gauge
waypost_queue_bytes 7
# HELP waypost_queue_destinations Destinations that have messages in the queue.
# TYPE waypost_queue_destinations gauge
waypost_queue_destinations 5
# HELP waypost_queue_destinations_waiting Destinations not tried before a later time because the last attempt to reach them failed.
# TYPE waypost_queue_destinations_waiting gauge
waypost_queue_destinations_waiting 6
# HELP waypost_queue_disk_free_bytes Space left for the queue on its file system.
# TYPE waypost_queue_disk_free_bytes gauge
waypost_queue_disk_free_bytes 8
# HELP waypost_queue_history_bytes Size of what is kept of messages that have left the queue.
# TYPE waypost_queue_history_bytes gauge
waypost_queue_history_bytes 9
# HELP waypost_queue_history_oldest_age_seconds Time since the oldest message that is kept in the history left the queue.
# TYPE waypost_queue_history_oldest_age_seconds gauge
waypost_queue_history_oldest_age_seconds 60
# HELP waypost_queue_index_bytes Size of the file of the queue's index.
# TYPE waypost_queue_index_bytes gauge
waypost_queue_index_bytes 9
# HELP waypost_queue_index_free_bytes Size of the free pages in the queue's index.
# TYPE waypost_queue_index_free_bytes gauge
waypost_queue_index_free_bytes 5
# HELP waypost_queue_messages Messages in the queue.
# TYPE waypost_queue_messages gauge
waypost_queue_messages 1
# HELP waypost_queue_oldest_age_seconds Time since the oldest message in the queue was accepted.
# TYPE waypost_queue_oldest_age_seconds gauge
waypost_queue_oldest_age_seconds 90
# HELP waypost_queue_recipients Recipients in the queue, by state.
# TYPE waypost_queue_recipients gauge
waypost_queue_recipients{state="deferred"} 3
waypost_queue_recipients{state="held"} 4
waypost_queue_recipients{state="queued"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if calls != 1 {
		t.Errorf("one scrape read the queue %d times, want once", calls)
	}
	m.WatchQueue(nil)
	if n, err := testutil.GatherAndCount(reg, names...); err != nil || n != 0 {
		t.Errorf("after WatchQueue(nil): %d series (%v), want none", n, err)
	}
}

func TestLabelHelpers(t *testing.T) {
	for version, want := range map[uint16]string{
		0: TLSFailed, tls.VersionTLS10: TLSOther, tls.VersionTLS12: TLS12, tls.VersionTLS13: TLS13, 0x7f17: TLSOther,
	} {
		if got := TLSVersion(version); got != want {
			t.Errorf("TLSVersion(%#x) = %q, want %q", version, got, want)
		}
	}
	for mnemonic, want := range map[string]string{"MX": DNSTypeMX, "AAAA": DNSTypeAAAA, "TXT": DNSTypeTXT, "SRV": DNSTypeOther, "": DNSTypeOther} {
		if got := DNSType(mnemonic); got != want {
			t.Errorf("DNSType(%q) = %q, want %q", mnemonic, got, want)
		}
	}
}

func TestBucketsRise(t *testing.T) {
	for name, buckets := range map[string][]float64{
		"latency": latencyBuckets(), "attempt": attemptBuckets(), "commit": commitBuckets(), "dns": dnsBuckets(),
	} {
		if !slices.IsSorted(buckets) || len(slices.Compact(slices.Clone(buckets))) != len(buckets) {
			t.Errorf("%s: buckets do not rise strictly: %v", name, buckets)
		}
	}
	latency := latencyBuckets()
	if latency[0] != 0.001 || latency[len(latency)-1] != (5*24*time.Hour).Seconds() {
		t.Errorf("latency buckets span %v to %v, want 1 ms to 5 days", latency[0], latency[len(latency)-1])
	}
}

// TestHistogramsAreNativeToo: a Prometheus that asks gets fine buckets, and every
// other one those that stand in the documentation.
func TestHistogramsAreNativeToo(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg)
	for n := range 100_000 {
		m.DeliveryLatency.Observe(float64(n) * float64(n) / 1e5)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var seen int
	for _, family := range families {
		h := family.GetMetric()[0].GetHistogram()
		if h == nil {
			continue
		}
		seen++
		if h.Schema == nil || len(h.Bucket) == 0 {
			t.Errorf("%s has %d fixed buckets, and native ones: %v", family.GetName(), len(h.Bucket), h.Schema != nil)
		}
		if n := len(h.PositiveDelta); n > 160 {
			t.Errorf("%s has %d native buckets", family.GetName(), n)
		}
	}
	if seen < 5 {
		t.Errorf("%d histograms; have they been gathered?", seen)
	}
}

// I-13: names that are odd.
//
// TestNamedDestinations: nothing that a destination is called costs the scrape,
// nor makes two series of one.
func TestNamedDestinations(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg)
	m.WatchQueue(func() QueueStats {
		return QueueStats{
			Top: []DestinationStats{
				{Name: "a.test", Queued: 5, Deferred: 1, Attempts: 2}, {Name: "other", Queued: 40}, {Name: "\xff", Deferred: 3, Waiting: 1}, {Name: "\xfe", Queued: 7},
			},
			Other: DestinationStats{Queued: 100, Waiting: 9},
		}
	})
	want := `
# HELP waypost_queue_destination_recipients Recipients that wait for the destinations with the most, by state.
# TYPE waypost_queue_destination_recipients gauge
waypost_queue_destination_recipients{destination="?",state="deferred"} 3
waypost_queue_destination_recipients{destination="?",state="queued"} 0
waypost_queue_destination_recipients{destination="a.test",state="deferred"} 1
waypost_queue_destination_recipients{destination="a.test",state="queued"} 5
waypost_queue_destination_recipients{destination="other",state="deferred"} 0
waypost_queue_destination_recipients{destination="other",state="queued"} 147
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "waypost_queue_destination_recipients"); err != nil {
		t.Error(err)
	}
}
