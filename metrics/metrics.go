package metrics

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics holds every collector. All fields are usable from many goroutines at
// once. The zero value has no collectors: use [New].
type Metrics struct {
	// Sessions counts inbound sessions that were greeted.
	Sessions prometheus.Counter
	// SessionPanics counts inbound sessions that a fault of ours ended.
	SessionPanics prometheus.Counter
	// InboundConnections is the number of inbound connections open now.
	InboundConnections prometheus.Gauge
	// InboundRefused counts connections turned away before a session began, by
	// "reason": [OverLimit], [OverAddressLimit] or [OverNetworkLimit].
	InboundRefused *prometheus.CounterVec

	// MessagesAccepted counts messages that were stored and acknowledged.
	MessagesAccepted prometheus.Counter
	// AcceptedBytes counts the content of those messages, in bytes as received.
	AcceptedBytes prometheus.Counter
	// RecipientsAccepted counts the recipients of those messages.
	RecipientsAccepted prometheus.Counter
	// Refused counts commands and messages refused with a 4yz or 5yz reply, by
	// "reason": one of the Refused constants.
	Refused *prometheus.CounterVec

	// Auth counts attempts of clients to log in, by "mechanism" (its name, or
	// [AuthOther]) and "result" (one of the Auth constants).
	Auth *prometheus.CounterVec
	// Verifications counts recipients that were looked for at their next hop, by
	// "source" and "result" (the Verified constants).
	Verifications *prometheus.CounterVec

	// DKIMSignatures counts what became of messages that were to be signed, by
	// "result": the algorithm of each signature, or why there is none (one of the
	// DKIM constants).
	DKIMSignatures *prometheus.CounterVec
	// DKIMKeys is the number of signing keys, by "state" of their DNS record:
	// published, missing, other (of another key) or unknown.
	DKIMKeys *prometheus.GaugeVec

	// RecipientsDelivered counts recipients that a next hop took over.
	RecipientsDelivered prometheus.Counter
	// RecipientsDeferred counts deferrals: one recipient may count many times.
	RecipientsDeferred prometheus.Counter
	// RecipientsBounced counts recipients that failed for good.
	RecipientsBounced prometheus.Counter
	// RecipientsExpired counts recipients given up because their lifetime was over.
	RecipientsExpired prometheus.Counter
	// Reports counts delivery status notifications put in the queue, by "kind":
	// [ReportFailure], [ReportDelay] or [ReportSuccess].
	Reports *prometheus.CounterVec
	// DeliveryLatency observes seconds from acceptance to delivery, per recipient.
	DeliveryLatency prometheus.Histogram

	// Attempts counts finished delivery attempts, by "outcome": one of the
	// Attempt constants.
	Attempts *prometheus.CounterVec
	// AttemptPanics counts attempts, reports on them, and look-ups in the DNS that
	// a fault of ours ended.
	AttemptPanics prometheus.Counter
	// ClassAttempts counts the same by "class" (see [Metrics.AddClass]) and
	// "outcome".
	ClassAttempts *prometheus.CounterVec
	// AttemptDuration observes the seconds that one attempt took, waiting for a
	// connection included.
	AttemptDuration prometheus.Histogram
	// OutboundConnections is the number of connections to next hops open now.
	OutboundConnections prometheus.Gauge
	// OutboundOpened counts connections to next hops that were established.
	OutboundOpened prometheus.Counter
	// OutboundFailed counts connections to next hops that could not be established.
	OutboundFailed prometheus.Counter
	// OutboundLoginsFailing is the number of next hops at which our login failed
	// when it was tried last.
	OutboundLoginsFailing prometheus.Gauge
	// ReplyRules counts refusals by the rule that said what they mean, by "rule"
	// (see [Metrics.AddReplyRule]).
	ReplyRules *prometheus.CounterVec
	// PaceWindow is how many attempts may run at once under a rule on pace, and
	// PaceAttempts how many do, by "pace", its name.
	PaceWindow   *prometheus.GaugeVec
	PaceAttempts *prometheus.GaugeVec
	// PaceWaiting is the number of destinations that wait for their turn.
	PaceWaiting prometheus.Gauge
	// PaceWaits counts how often one had to, by "limit" (one of the Pace
	// constants).
	PaceWaits *prometheus.CounterVec
	// AmbiguousEnds counts transfers whose connection was lost after the final
	// dot and before the reply, which may lead to a duplicate.
	AmbiguousEnds prometheus.Counter

	// TLSHandshakes counts handshakes, by "direction" ([DirectionIn] or
	// [DirectionOut]) and "version" (see [TLSVersion]).
	TLSHandshakes *prometheus.CounterVec

	// TLSPolicies counts mail hosts about to be used that have a policy for TLS,
	// by "policy" ([PolicyDANE] or [PolicySTS]) and "result" (one of the Policy
	// results).
	TLSPolicies *prometheus.CounterVec

	// STSFetches counts fetches of MTA-STS policies, by "result" (one of the Fetch
	// constants).
	STSFetches *prometheus.CounterVec

	// CertificateExpiry is the earliest end of the certificates that listeners
	// present, in seconds since 1970; 0 where there are none.
	CertificateExpiry prometheus.Gauge

	// CommitDuration observes the seconds that one commit of the queue took.
	CommitDuration prometheus.Histogram
	// CommitOperations observes how many operations shared one commit.
	CommitOperations prometheus.Histogram
	// HistoryLost counts messages that left the queue without a story in the
	// history, because it could not be written.
	HistoryLost prometheus.Counter
	// DeliveriesDamaged counts what was found to be damaged on the disk, by message
	// and destination: put on hold at an attempt, or set aside at a start.
	DeliveriesDamaged prometheus.Counter
	// Compactions counts the times that the queue's index was copied to a
	// smaller file, and CompactionDuration observes the seconds that it took.
	Compactions        prometheus.Counter
	CompactionDuration prometheus.Histogram

	// DNSQueries counts questions sent to DNS servers, by "type" (see
	// [DNSType]) and "result" (one of DNSOK … DNSError).
	DNSQueries *prometheus.CounterVec
	// DNSDuration observes the seconds from a question to its outcome.
	DNSDuration prometheus.Histogram

	queue *queueCollector
}

// New makes all collectors, with every labelled series at zero, and registers
// them with reg together with those of the Go runtime and of the process. A nil
// reg registers nothing, and the fields count all the same, which is what a test
// of another package wants. Like prometheus.MustRegister it panics when reg
// already holds one of these names: give it a registry of its own.
func New(reg prometheus.Registerer) *Metrics {
	m := &Metrics{queue: newQueueCollector()}
	f := factory{promauto.With(reg)}
	m.makeInbound(f)
	m.makeDelivery(f)
	m.makeOutbound(f)
	m.makeStore(f)
	build := f.gauges("build_info", "Constant 1, labelled by the running version and the Go version that built it.", "version", "goversion")
	build.WithLabelValues(version(), runtime.Version()).Set(1)
	if reg != nil {
		reg.MustRegister(
			m.queue,
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
	}
	return m
}

func (m *Metrics) makeInbound(f factory) {
	m.Sessions = f.counter("sessions_total", "Inbound sessions greeted.")
	m.SessionPanics = f.counter("session_panics_total", "Inbound sessions that a fault of the program ended.")
	m.InboundConnections = f.gauge("inbound_connections", "Inbound connections open now.")
	m.InboundRefused = f.counters("inbound_connections_refused_total", "Inbound connections turned away before a session began.", label{"reason", inboundReasons()})
	m.MessagesAccepted = f.counter("messages_accepted_total", "Messages stored and acknowledged.")
	m.AcceptedBytes = f.counter("accepted_bytes_total", "Content of acknowledged messages, in bytes as received.")
	m.RecipientsAccepted = f.counter("recipients_accepted_total", "Recipients of acknowledged messages.")
	m.Refused = f.counters("refused_total", "Commands and messages refused with a 4yz or 5yz reply.", label{"reason", refusals()})
	m.CertificateExpiry = f.gauge("certificate_expiry_timestamp_seconds", "Earliest end of the certificates that listeners present, in seconds since 1970; 0 for none.")
	m.Auth = f.counters("auth_total", "Attempts of clients to log in.", label{"mechanism", authMechanisms()}, label{"result", authResults()})
	m.DKIMSignatures = f.counters("dkim_signatures_total", "DKIM signatures made, and messages to be signed that could not be.", label{"result", dkimResults()})
	m.DKIMKeys = f.gauges("dkim_keys", "Signing keys by the state of their DNS record.", "state")
	for _, state := range dkimStates() {
		m.DKIMKeys.WithLabelValues(state)
	}
	m.Verifications = f.counters("recipient_verifications_total", "Recipients looked for at their next hop.", label{"source", verifiedSources()}, label{"result", verifiedResults()})
	m.TLSHandshakes = f.counters("tls_handshakes_total", "TLS handshakes by direction and resulting version.", label{"direction", directions()}, label{"version", tlsVersions()})
}

func (m *Metrics) makeDelivery(f factory) {
	m.RecipientsDelivered = f.counter("recipients_delivered_total", "Recipients that a next hop took over.")
	m.RecipientsDeferred = f.counter("recipients_deferred_total", "Deferrals of a recipient; one recipient may count many times.")
	m.RecipientsBounced = f.counter("recipients_bounced_total", "Recipients that failed for good.")
	m.RecipientsExpired = f.counter("recipients_expired_total", "Recipients given up because their lifetime was over.")
	m.Reports = f.counters("reports_total", "Delivery status notifications put in the queue.", label{"kind", reportKinds()})
	m.DeliveryLatency = f.histogram("delivery_latency_seconds", "Time from acceptance to delivery, per recipient.", latencyBuckets())
}

func (m *Metrics) makeOutbound(f factory) {
	m.Attempts = f.counters("attempts_total", "Finished delivery attempts.", label{"outcome", attemptOutcomes()})
	m.AttemptPanics = f.counter("attempt_panics_total", "Delivery attempts, reports and look-ups that a fault of the program ended.")
	m.ClassAttempts = f.counters("class_attempts_total", "Finished delivery attempts, by message class.", label{"class", nil}, label{"outcome", attemptOutcomes()})
	m.AttemptDuration = f.histogram("attempt_duration_seconds", "Time that one delivery attempt took.", attemptBuckets())
	m.OutboundConnections = f.gauge("outbound_connections", "Connections to next hops open now.")
	m.OutboundOpened = f.counter("outbound_connections_opened_total", "Connections to next hops established.")
	m.OutboundFailed = f.counter("outbound_connect_failures_total", "Connections to next hops that could not be established.")
	m.OutboundLoginsFailing = f.gauge("outbound_logins_failing", "Next hops at which our login failed last.")
	m.TLSPolicies = f.counters("tls_policies_total", "Mail hosts held against a policy for TLS.", label{"policy", tlsPolicies()}, label{"result", policyResults()})
	m.STSFetches = f.counters("mta_sts_fetches_total", "Fetches of MTA-STS policies.", label{"result", fetchResults()})
	m.ReplyRules = f.counters("reply_rules_total", "Refusals of hosts by the rule that said what they mean.", label{"rule", nil})
	m.PaceWindow = f.gauges("pace_window", "Attempts that may run at once under a rule on pace.", "pace")
	m.PaceAttempts = f.gauges("pace_attempts", "Attempts that run under a rule on pace.", "pace")
	m.PaceWaiting = f.gauge("pace_destinations_waiting", "Destinations that wait for a limit.")
	m.PaceWaits = f.counters("pace_waits_total", "Times that a destination had to wait for a limit.", label{"limit", paceLimits()})
	m.AmbiguousEnds = f.counter("ends_of_data_ambiguous_total", "Transfers whose connection was lost between the final dot and its reply.")
}

func (m *Metrics) makeStore(f factory) {
	m.CommitDuration = f.histogram("commit_duration_seconds", "Time that one commit of the queue took.", commitBuckets())
	m.CommitOperations = f.histogram("commit_operations", "Operations that shared one commit of the queue.", prometheus.ExponentialBuckets(1, 2, 12))
	m.HistoryLost = f.counter("history_lost_total", "Messages whose story could not be kept in the history.")
	m.DeliveriesDamaged = f.counter("deliveries_damaged_total", "Messages, by destination, that were found to be damaged on the disk and are not sent.")
	m.Compactions = f.counter("compactions_total", "Times that the queue's index was copied to a smaller file.")
	m.CompactionDuration = f.histogram("compaction_duration_seconds", "Time that copying the queue's index to a smaller file took.", prometheus.ExponentialBuckets(0.01, 4, 9))
	m.DNSQueries = f.counters("dns_queries_total", "Questions sent to DNS servers.", label{"type", dnsTypes()}, label{"result", dnsResults()})
	m.DNSDuration = f.histogram("dns_duration_seconds", "Time from a DNS question to its outcome.", dnsBuckets())
}

// AddClass makes the series of a message class, at zero. The configuration
// names the classes, and so bounds them.
func (m *Metrics) AddClass(name string) {
	for _, outcome := range attemptOutcomes() {
		m.ClassAttempts.WithLabelValues(name, outcome)
	}
}

// AddReplyRule makes the series of a reply rule, at zero. The configuration names
// the rules, and so bounds them.
func (m *Metrics) AddReplyRule(name string) { m.ReplyRules.WithLabelValues(name) }

// version is that of the main module, or "(devel)" where the build did not say.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
