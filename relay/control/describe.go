package control

import (
	"fmt"
	"math"
	"time"

	"waypost/queue"
)

// message describes an entry of the queue.
func (h *handler) message(e *queue.Entry, now time.Time) Message {
	m := Message{
		ID: e.ID.String(), From: e.ReversePath.String(), Size: e.Size,
		Arrival: e.Arrival.UTC(), AgeSeconds: seconds(max(now.Sub(e.Arrival), 0)),
		Client: e.Client, EnvelopeID: e.EnvelopeID, MessageID: e.MessageID, Login: e.Login,
		Listener: e.Listener, Protocol: e.Protocol, TLS: e.TLS, Class: e.Class, ClassRule: e.ClassRule, Priority: e.Priority, RequireTLS: e.RequireTLS,
		HoldUntil: known(e.HoldUntil), DeliverBy: known(e.DeliverBy.Deadline),
		Recipients: []Recipient{}, AttemptLog: attempts(e.Attempts),
	}
	if e.ReportOn != 0 {
		m.ReportOn = e.ReportOn.String()
	}
	for _, d := range e.Deliveries {
		next := h.queue.WaitsUntil(d)
		for i := range d.Recipients {
			r := recipient(d, &d.Recipients[i], next, h.queue.DestinationHeld(d.Destination))
			if r.NextAttempt != nil && next.After(now) {
				r.NextReason = reason(d, next)
			}
			m.Recipients = append(m.Recipients, r)
		}
	}
	m.sumUp()
	if e.Damaged {
		m.State, m.Held = StateDamaged, false
	}
	return m
}

// reason says why a delivery is tried at that time and not before.
func reason(d *queue.Delivery, next time.Time) string {
	switch {
	case next.After(d.Next):
		return "the last attempt for this next hop reached no host of it, or one asked for a pause"
	case !d.HoldUntil.IsZero() && !next.After(d.HoldUntil):
		return "the sender asked for it to be held until then"
	case d.Attempts == 1:
		return "it is the retry after 1 attempt"
	case d.Attempts > 1:
		return fmt.Sprintf("it is the retry after %d attempts", d.Attempts)
	}
	return ""
}

func recipient(d *queue.Delivery, r *queue.Recipient, next time.Time, held bool) Recipient {
	held = held && r.State.Open()
	out := Recipient{
		Address: r.Path.String(), State: r.State.String(), Destination: d.Destination,
		Held: d.Held && r.State.Open() || held, DestinationHeld: held, Attempts: d.Attempts,
		Host: r.Last.Host, Status: r.Last.Status.String(),
	}
	if r.State.Open() && !out.Held {
		out.NextAttempt = moment(next)
	}
	if !r.LastAttempt.IsZero() {
		out.LastAttempt, out.Reply = moment(r.LastAttempt), r.Last.Text()
	}
	return out
}

// stand adds to the recipients that wait how their destinations stand.
func (h *handler) stand(m *Message, e *queue.Entry) {
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if !r.Waits() {
			continue
		}
		until, why := h.queue.Paused(&queue.Delivery{Destination: r.Destination, Class: e.Class})
		r.PausedUntil, r.PausedWhy = known(until), why
		if h.pace != nil {
			r.Pace = h.pace(r.Destination)
		}
	}
}

// attempts describes attempts.
func attempts(all []queue.Attempt) (out []Attempt) {
	for i := range all {
		a := Attempt{Time: all[i].Time.UTC(), Destination: all[i].Destination}
		for j := range all[i].Results {
			r := &all[i].Results[j]
			a.Results = append(a.Results, AttemptResult{
				Address: r.Path.String(), State: r.State.String(), Host: r.Host, TLS: r.TLS, Seconds: seconds(r.Duration),
				Status: r.Status.String(), Reply: r.Text(), Lines: r.Reply.Lines,
			})
		}
		for _, r := range all[i].Reports {
			a.Reports = append(a.Reports, Report{Kind: r.Kind.String(), ID: r.ID.String()})
		}
		out = append(out, a)
	}
	return out
}

// sumUp sets what the message says of its recipients.
func (m *Message) sumUp() {
	m.State, m.Held = StateQueued, true
	for i := range m.Recipients {
		r := &m.Recipients[i]
		m.Attempts = max(m.Attempts, r.Attempts)
		if !r.Waits() || r.Held {
			continue
		}
		m.Held = false
		if r.State == StateDeferred {
			m.State = StateDeferred
		}
		if m.NextAttempt == nil || r.NextAttempt.Before(*m.NextAttempt) {
			m.NextAttempt = r.NextAttempt
		}
	}
	if m.Held {
		m.State = StateHeld
	}
}

// known is moment, but nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return moment(t)
}

func moment(t time.Time) *time.Time {
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// seconds is d to the millisecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
