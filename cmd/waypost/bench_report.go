package main

import (
	"bufio"
	"fmt"
	"io"
	"text/tabwriter"

	"waypost/cmd/waypost/internal/bench"
)

// benchReport is one measurement.
type benchReport struct {
	// Work says what it is; empty with --target.
	Work     string        `json:"work,omitempty"`
	Accepted bench.Rate    `json:"accepted"`
	Arrived  *bench.Rate   `json:"arrived,omitempty"`
	Drained  bool          `json:"drained,omitempty"` // Arrived counts from when the next hop came back
	Process  *benchProcess `json:"process,omitempty"`
	Ledger   *bench.Counts `json:"ledger,omitempty"`
}

// benchProcess is what the relay used.
type benchProcess struct {
	bench.Usage
	// Per1000 is processor time in seconds for each 1,000 messages.
	Per1000 float64 `json:"cpu_seconds_per_1000"`
}

// verdict is an error when the relay did what a relay must not do.
func (r *benchReport) verdict() error {
	if c := r.Ledger; c.Lost+c.Doubled+c.Damaged+c.Strange > 0 {
		return &codedError{exitData, fmt.Errorf("%d deliveries were lost, %d doubled, %d damaged, and %d came that were never sent",
			c.Lost, c.Doubled, c.Damaged, c.Strange)}
	}
	return nil
}

// printReports prints a table, and below it what has no place in a table.
func printReports(w io.Writer, reports []*benchReport) error {
	out := bufio.NewWriter(w)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, r bench.Rate) {
		// An error here is Flush's, too.
		_, _ = fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\n", name, r.Messages, r.PerSecond,
			millis(r.Latency.P50), millis(r.Latency.P90), millis(r.Latency.P99), millis(r.Latency.Max))
	}
	_, _ = fmt.Fprintln(table, "WORK\tMESSAGES\tPER SECOND\t50 %\t90 %\t99 %\tWORST")
	for _, r := range reports {
		if r == nil {
			continue
		}
		prefix := ""
		if r.Work != "" {
			prefix = r.Work + ": "
		}
		row(prefix+"accepted", r.Accepted)
		switch {
		case r.Arrived == nil:
		case r.Drained:
			row(prefix+"drained", *r.Arrived)
		default:
			row(prefix+"arrived", *r.Arrived)
		}
	}
	if err := table.Flush(); err != nil {
		return outputError(err)
	}
	for _, r := range reports {
		if r != nil {
			r.printDetails(out)
		}
	}
	return outputError(out.Flush())
}

func (r *benchReport) printDetails(out io.Writer) {
	if r.Process == nil && r.Ledger == nil {
		return
	}
	_, _ = fmt.Fprintln(out) // an error is Flush's, too
	if r.Work != "" {
		_, _ = fmt.Fprintf(out, "%s\n", r.Work)
	}
	if p := r.Process; p != nil {
		_, _ = fmt.Fprintf(out, "Processor     %.2f s, %.3f s for each 1,000 messages\n", p.CPUSeconds, p.Per1000)
		_, _ = fmt.Fprintf(out, "Memory        at most %s resident, %s with shared pages divided (PSS); processes at most %d\n",
			size(p.PeakRSS), size(p.PeakPSS), p.Processes)
	}
	if c := r.Ledger; c != nil {
		_, _ = fmt.Fprintf(out, "Messages      %d acknowledged, %d arrived\n", c.Acknowledged, c.Arrived)
		_, _ = fmt.Fprintf(out, "Deliveries    %d lost, %d doubled, %d damaged, %d never sent\n", c.Lost, c.Doubled, c.Damaged, c.Strange)
	}
}

func millis(seconds float64) string { return fmt.Sprintf("%.2f ms", seconds*1000) }
