package queue

import (
	"os"
	"time"

	"waypost/metrics"
)

// removeContent removes the file of a message that has left the index. What
// is left behind by a crash is found at start.
func (q *Queue) removeContent(m *Message) {
	if !m.file {
		return
	}
	if err := os.Remove(q.contentFile(m.ID)); err != nil {
		q.log.Warn("content not removed", "queue_id", m.ID.String(), "error", err.Error())
	}
}

// account logs what is on disk now, and counts it for the metrics.
func (s *settlement) account() {
	q := s.queue
	if s.gone {
		q.removeContent(s.message)
	}
	for _, kind := range []struct {
		label string
		of    []Recipient
	}{{metrics.ReportFailure, s.failed}, {metrics.ReportDelay, s.delayed}, {metrics.ReportSuccess, s.relayed}} {
		if len(kind.of) > 0 && len(s.reports) > 0 {
			q.metrics.Reports.WithLabelValues(kind.label).Inc()
		}
	}
	for i := range s.results {
		s.accountRecipient(&s.results[i])
	}
}

func (s *settlement) accountRecipient(r *Recipient) {
	q, status := s.queue, ""
	delay := s.now.Sub(s.message.Arrival)
	switch r.State {
	case Delivered:
		status = "sent"
		q.metrics.RecipientsDelivered.Inc()
		q.metrics.DeliveryLatency.Observe(delay.Seconds())
	case Failed:
		status = "bounced"
		q.metrics.RecipientsBounced.Inc()
	case Expired:
		status = "expired"
		q.metrics.RecipientsExpired.Inc()
	default:
		status = "deferred"
		q.metrics.RecipientsDeferred.Inc()
	}
	q.log.Info("delivery", "queue_id", s.message.ID.String(), "next_hop", s.after.Destination, "host", r.Last.Host,
		"rcpt", r.Path.String(), "reply", r.Last.Text(), "status", status, "delay", delay.Round(time.Millisecond).Seconds())
}
