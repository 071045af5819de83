package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/relay/control"
)

// topScreen is a screen after two looks that are two seconds apart.
func topScreen(failures ...string) *screen {
	s := &screen{}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for i := range 2 {
		t := &control.Top{
			Time:     begin.Add(time.Duration(2*i) * time.Second),
			Queue:    control.Stats{Messages: 12, Queued: 3, Deferred: 4, Held: 5, Bytes: 35_000_000, OldestAgeSeconds: 7500, DiskFreeBytes: 12_000_000_000, Destinations: 2, DestinationsWaiting: 1},
			Counters: map[string]float64{"waypost_messages_accepted_total": float64(100 + 25*i), "waypost_recipients_bounced_total": float64(i), "waypost_recipients_expired_total": float64(2 * i)},
			Gauges:   map[string]float64{"waypost_inbound_connections": 20},
		}
		for range 30 {
			t.Destinations = append(t.Destinations, control.TopDestination{Name: "a-\x1b[31m-destination.example.org", Queued: 3, Deferred: 4, Running: 2, Waiting: true})
		}
		for _, f := range failures {
			t.Failures = append(t.Failures, json.RawMessage(f))
		}
		s.next(t)
	}
	return s
}

func TestTopScreen(t *testing.T) {
	line := `{"time":"2026-01-02T03:04:05.6Z","level":"INFO","msg":"delivery","queue_id":"A","reply":"550 \\u001b]0;evil\\u0007 \u202e"}`
	s := topScreen(line)
	for _, terminal := range []struct{ columns, rows int }{{80, 24}, {200, 60}, {40, 10}, {20, 3}, {1, 1}} {
		lines := s.lines(terminal.columns, terminal.rows)
		if len(lines) > terminal.rows {
			t.Errorf("%v: %d lines", terminal, len(lines))
		}
		for _, line := range lines {
			if len([]rune(line)) > terminal.columns {
				t.Errorf("%v: %q is too wide", terminal, line)
			}
		}
	}
	lines := s.lines(80, 24)
	all := strings.Join(lines, "\n")
	if strings.ContainsAny(all, "\x1b\x07\u202e") {
		t.Errorf("what steers a terminal gets there: %q", all)
	}
	for _, want := range []string{
		"waypost  03:04:07  queue 12 messages, 35 MB, oldest 2h05m  free on disk 12 GB",
		"3 queued, 4 deferred, 5 held  next hops 2, 1 waiting  connections 20 in, 0 out",
		"PER SECOND  accepted   refused  sessions delivered  deferred   bounced  attempts",
		"                12.5       0.0       0.0       0.0       0.0       1.5       0.0",
		"NEXT HOP                            QUEUED   DEFERRED   RUNNING  STATE",
		"a-?[31m-destination.example.org          3          4         2  waiting",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no line %q in\n%s", want, all)
		}
	}
	if !strings.Contains(all, "delivery  queue_id=A reply=") {
		t.Errorf("the failure is missing in\n%s", all)
	}
}

func TestEventText(t *testing.T) {
	for line, want := range map[string]string{
		`{"msg":"delivery","n":12.5,"status":"sent","reply":"250 ok","host":""}`: `delivery  n=12.5 status=sent reply="250 ok" host=""`,
		`{"msg":"a","x":"\u001b[2J","l":["y"]}`:                                  `a  x=?[2J l=[y]`,
		`nonsense`:                                                               ``, `{"msg":"cut`: ``, ``: ``,
	} {
		if got := eventText(json.RawMessage(line)); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}
