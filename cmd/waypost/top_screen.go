package main

import (
	"fmt"
	"strings"
	"time"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

// maxRecent is how many failures are remembered to fill a screen.
const maxRecent = 100

// screen is what top shows.
type screen struct {
	before, now *control.Top
	failures    []string // the newest last
}

// next brings in the next look.
func (s *screen) next(t *control.Top) {
	s.before, s.now = s.now, t
	for _, line := range t.Failures {
		s.failures = append(s.failures, eventText(line))
	}
	if t.Missed > 0 {
		s.failures = append(s.failures, fmt.Sprintf("and %d more in this time", t.Missed))
	}
	s.failures = s.failures[max(len(s.failures)-maxRecent, 0):]
}

// rates are the columns of the first table: what they are called, and the
// counters that they sum up.
var rates = []struct {
	name     string
	counters []string
}{
	{"accepted", []string{"waypost_messages_accepted_total"}},
	{"refused", []string{"waypost_refused_total", "waypost_inbound_connections_refused_total"}},
	{"sessions", []string{"waypost_sessions_total"}},
	{"delivered", []string{"waypost_recipients_delivered_total"}},
	{"deferred", []string{"waypost_recipients_deferred_total"}},
	{"bounced", []string{"waypost_recipients_bounced_total", "waypost_recipients_expired_total"}},
	{"attempts", []string{"waypost_attempts_total"}},
}

// lines are the screen, each printable, and no more or wider than the terminal
// has room for; 0 is any.
func (s *screen) lines(columns, rows int) []string {
	t := s.now
	lines := []string{
		fmt.Sprintf("waypost  %s  queue %s, %s, oldest %s  free on disk %s", t.Time.Local().Format("15:04:05"),
			count(t.Queue.Messages, "message"), size(t.Queue.Bytes), span(time.Duration(t.Queue.OldestAgeSeconds*float64(time.Second))), size(t.Queue.DiskFreeBytes)),
		fmt.Sprintf("%d queued, %d deferred, %d held  next hops %d, %d waiting  connections %.0f in, %.0f out",
			t.Queue.Queued, t.Queue.Deferred, t.Queue.Held, t.Queue.Destinations, t.Queue.DestinationsWaiting,
			t.Gauges["waypost_inbound_connections"], t.Gauges["waypost_outbound_connections"]),
		"",
	}
	lines = append(lines, s.rateLines()...)
	lines = append(lines, "")
	lines = append(lines, s.destinationLines(columns, rows)...)
	lines = append(lines, "", "LAST FAILURES")
	recent := s.failures
	if rows > 0 {
		recent = recent[max(len(recent)-max(rows-len(lines), 0), 0):]
	}
	if len(recent) == 0 {
		lines = append(lines, "none")
	}
	lines = append(lines, recent...)
	if rows > 0 {
		lines = lines[:min(len(lines), rows)]
	}
	for i, line := range lines {
		line = smtp.Printable(line)
		if columns > 0 {
			line = shorten(line, columns)
		}
		lines[i] = line
	}
	return lines
}

// rateLines are what happens a second.
func (s *screen) rateLines() []string {
	head, values := "PER SECOND", pad("", len("PER SECOND"))
	for _, r := range rates {
		text := "-"
		if s.before != nil {
			change := 0.0
			for _, name := range r.counters {
				change += s.now.Counters[name] - s.before.Counters[name]
			}
			text = fmt.Sprintf("%.1f", change/s.now.Time.Sub(s.before.Time).Seconds())
		}
		head += fmt.Sprintf(" %9s", r.name)
		values += fmt.Sprintf(" %9s", text)
	}
	return []string{head, values}
}

// destinationLines are the next hops for which the most waits: as many as leave
// half of the screen to failures.
func (s *screen) destinationLines(columns, rows int) []string {
	all := s.now.Destinations
	if rows > 0 {
		all = all[:min(len(all), max((rows-8)/2, 3))]
	}
	const figures = 41 // the columns behind the name
	name := len("NEXT HOP")
	for _, d := range all {
		name = max(name, len([]rune(d.Name)))
	}
	if columns > 0 {
		name = min(name, max(columns-figures, minGroup))
	}
	lines := []string{pad("NEXT HOP", name) + fmt.Sprintf("  %9s  %9s  %8s  %s", "QUEUED", "DEFERRED", "RUNNING", "STATE")}
	for _, d := range all {
		state := ""
		switch {
		case d.Held:
			state = "on hold"
		case d.Waiting:
			state = "waiting"
		}
		lines = append(lines, strings.TrimRight(pad(d.Name, name)+fmt.Sprintf("  %9d  %9d  %8d  %s", d.Queued, d.Deferred, d.Running, state), " "))
	}
	return lines
}
