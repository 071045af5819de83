//go:build interop

package main_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"waypost/relay/relaytest"
)

// relays are what is compared, each with one connection to its next hop, which it
// keeps.
var relays = []struct {
	name  string
	start func(b *testing.B, nextHop string) (address string)
}{
	{"waypost", func(b *testing.B, nextHop string) string {
		return start(b, build(b), writeConfig(b, settings{nextHop: nextHop, more: "[delivery]\nconnections_per_destination = 1\n"})).smtp[0]
	}},
	{"Postfix", func(b *testing.B, nextHop string) string {
		return startPostfix(b, nextHop, "smtp_tls_security_level = none", "smtp_destination_concurrency_limit = 1",
			"initial_destination_concurrency = 1", "smtp_connection_cache_destinations = static:all").address
	}},
}

// hostOffers are what the next hop can do, and the round trips that the better of
// the relays needs for a message then, which says how many to send.
var hostOffers = []struct {
	name  string
	lines []string
	trips time.Duration
}{
	{"neither", []string{"8BITMIME", "SIZE"}, 4},
	{"PIPELINING", []string{"8BITMIME", "SIZE", "PIPELINING"}, 2},
	{"PIPELINING, CHUNKING", []string{"8BITMIME", "SIZE", "PIPELINING", "CHUNKING"}, 1},
}

// BenchmarkSlowLinks measures how many messages of 5 KB whole relays move over one
// connection to a host that is some way off, and prints a table for README.md:
//
//	go test -tags interop -run '^$' -bench SlowLinks -benchtime 1x ./cmd/waypost
//
// All messages are queued before the first is sent.
func BenchmarkSlowLinks(b *testing.B) {
	const each = time.Second // about as long as the quicker one takes, but for very few messages
	table := "| round trip | the host offers |"
	rule := "|---:|---|"
	for _, r := range relays {
		table, rule = table+" "+r.name+" |", rule+"---:|"
	}
	table += " times |\n" + rule + "---:|\n"
	for _, rtt := range []time.Duration{0, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		for _, offer := range hostOffers {
			messages := 900
			if rtt > 0 {
				messages = max(int(each/(rtt*offer.trips)), 10)
			}
			var rates []float64
			for _, r := range relays {
				b.Run(fmt.Sprintf("%v/%s/%s", rtt, offer.name, r.name), func(b *testing.B) {
					for b.Loop() {
						sink := relaytest.NewSink(b, "127.0.0.1:0", relaytest.WithExtensions(offer.lines...), relaytest.WithCounting())
						link := relaytest.NewLink(b, sink.Address(), rtt)
						smtpSource(b, r.start(b, link.Address), messages)
						link.Open()
						sink.Wait(1)
						begin := time.Now()
						sink.Wait(messages)
						rate := float64(messages-1) / time.Since(begin).Seconds()
						if n := sink.Connections(); n != 1 {
							b.Logf("%d connections were used", n)
						}
						b.ReportMetric(rate, "messages/s")
						rates = append(rates, rate)
					}
				})
			}
			if len(rates) < len(relays) {
				continue // not all were asked for
			}
			last := rates[len(rates)-len(relays):]
			table += fmt.Sprintf("| %d ms | %s | %.1f | %.1f | %.1f |\n", rtt.Milliseconds(), offer.name, last[0], last[1], last[0]/last[1])
		}
	}
	_, _ = fmt.Fprintln(os.Stderr, table) // a lost table shows
}
