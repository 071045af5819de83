package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// minGroup is how far the column of names shrinks on a narrow terminal.
const minGroup = 20

// printShape prints the table of ages, and the reasons.
func (q *queueProgram) printShape(s *control.Shape) error {
	out := bufio.NewWriter(q.stdout)
	lines := shapeLines(s)
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	if width := terminal.Width(q.stdout); width > 0 {
		for _, w := range widths[1:] {
			width -= w + 2
		}
		widths[0] = min(widths[0], max(width, minGroup))
	}
	_, _ = fmt.Fprintln(out) // an error is Flush's too
	for _, line := range lines {
		_, _ = out.WriteString(pad(line[0], widths[0]))
		for i, cell := range line[1:] {
			_, _ = fmt.Fprintf(out, "  %*s", widths[i+1], cell)
		}
		_, _ = fmt.Fprintln(out)
	}
	if len(s.Reasons) > 0 {
		_, _ = fmt.Fprintln(out)
	}
	for _, r := range s.Reasons {
		line := fmt.Sprintf("%*d  %s", len(strconv.FormatInt(s.Reasons[0].Recipients, 10)), r.Recipients, smtp.Printable(r.Text))
		if width := terminal.Width(q.stdout); width > 0 {
			line = shorten(line, width)
		}
		_, _ = fmt.Fprintln(out, line)
	}
	if s.Approximate {
		_, _ = fmt.Fprintln(out, "\nThere are more than can be told apart: the figures of each line are at least so.")
	}
	return outputError(out.Flush())
}

// shapeLines are the cells of the table. Columns in which nothing is, at its old
// end, are left out.
func shapeLines(s *control.Shape) [][]string {
	columns := len(s.Total.Ages)
	for columns > 1 && s.Total.Ages[columns-1] == 0 {
		columns--
	}
	line := func(name string, g *control.Group) []string {
		cells := []string{smtp.Printable(name), strconv.FormatInt(g.Recipients, 10)}
		for i := range columns {
			cells = append(cells, strconv.FormatInt(g.Ages[i], 10))
		}
		return cells
	}
	by := s.By
	if by == "destination" {
		by = "next hop"
	}
	heads := []string{strings.ToUpper(by), "ALL"}
	for i := range columns {
		if i < len(s.AgeSeconds) {
			heads = append(heads, "<"+short(s.AgeSeconds[i]))
		} else {
			heads = append(heads, "older")
		}
	}
	lines := [][]string{heads, line("all", &s.Total)}
	for i := range s.Groups {
		lines = append(lines, line(s.Groups[i].Name, &s.Groups[i]))
	}
	if s.Rest.Recipients > 0 {
		lines = append(lines, line("others", &s.Rest))
	}
	return lines
}

// short is a span without a part that is zero: "40m", "5h20m".
func short(seconds int64) string {
	return strings.TrimSuffix(span(time.Duration(seconds)*time.Second), "00m")
}
