package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waypost/relay/smtp"
)

// outputError says that standard output failed; nil when it did not.
func outputError(err error) error {
	if err == nil {
		return nil
	}
	return &codedError{exitIO, fmt.Errorf("write the output: %w", err)}
}

// count is like "1 message" or "2 messages".
func count[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(int64(n), 10) + " " + noun + "s"
}

// span is a length of time in its two largest units: "45s", "12m", "3h05m",
// "2d04h".
func span(d time.Duration) string {
	minutes, hours := int(d.Minutes()), int(d.Hours())
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", minutes)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", hours, minutes%60)
	}
	return fmt.Sprintf("%dd%02dh", hours/24, hours%24)
}

// size is a number of octets with a unit: "512 B", "1.2 kB", "35 MB".
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value := float64(n)
	for _, unit := range []string{"kB", "MB", "GB"} {
		// What rounds to 1000 is one of the next unit.
		if value /= 1000; value < 999.5 {
			return significant(value) + " " + unit
		}
	}
	return significant(value/1000) + " TB"
}

func significant(value float64) string {
	if value < 9.95 {
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.0f", value)
}

// mailbox is a path in angle brackets, as it may be shown.
func mailbox(path string) string { return "<" + smtp.Printable(path) + ">" }

// printableLines is for text that has lines of its own.
func printableLines(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, smtp.Printable(line))
	}
	return strings.Join(lines, "\n")
}
