package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

// Columns of the list that are not treated like the others.
const (
	columnSize  = 2
	columnTries = 4
	columnFrom  = 6
	columnTo    = 7
	columnHop   = 8
	columnLast  = 9
)

const (
	// wide is the width from which a terminal has room for next hops, and
	// narrow that below which size and tries are left out too.
	wide   = 160
	narrow = 120
	// minPath is how far the columns of addresses shrink.
	minPath = 12
	// maxHop is how far that of next hops grows: a next hop can be many hosts.
	maxHop = 30
)

// listTable prints messages in columns that are as wide as they must be, and
// on a terminal no wider than it.
type listTable struct {
	out    io.Writer
	width  int // of the terminal; 0 is any
	widths [columnLast]int
	reply  int    // the longest so far
	empty  string // what to say where there is nothing
	n      int
	sum    control.Counted
}

func newListTable(out io.Writer, width int) *listTable { return &listTable{out: out, width: width} }

type row [columnLast + 1]string

func (t *listTable) page(messages []control.Message) error {
	if len(messages) == 0 {
		return nil
	}
	var rows []row
	if t.n == 0 {
		rows = append(rows, row{"ID", "AGE", "SIZE", "STATE", "TRIES", "NEXT", "FROM", "TO", "NEXT HOP", "LAST REPLY"})
	}
	now := time.Now()
	for i := range messages {
		rows = append(rows, newRow(&messages[i], now))
		t.sum.Messages++
		t.sum.Bytes += messages[i].Size
		t.sum.Recipients += int64(messages[i].Waiting())
	}
	t.n += len(messages)
	t.measure(rows)
	for _, r := range rows {
		if _, err := fmt.Fprintln(t.out, t.line(r)); err != nil {
			return outputError(err)
		}
	}
	return nil
}

func newRow(m *control.Message, now time.Time) row {
	r := row{
		m.ID, span(time.Duration(m.AgeSeconds * float64(time.Second))), size(m.Size), m.State,
		strconv.Itoa(m.Attempts), until(m.NextAttempt, now), mailbox(m.From),
	}
	if m.State == control.StateDamaged {
		r[columnFrom], r[columnLast] = "-", "a record of it is damaged"
	}
	waiting := 0
	for i := range m.Recipients {
		to := &m.Recipients[i]
		if !to.Waits() {
			continue
		}
		if waiting++; waiting == 1 {
			r[columnTo], r[columnHop] = mailbox(to.Address), smtp.Printable(to.Destination)
		}
		if r[columnLast] == "" {
			r[columnLast] = smtp.Printable(to.Reply)
		}
	}
	if waiting > 1 {
		r[columnTo] += fmt.Sprintf(" +%d", waiting-1)
	}
	return r
}

// until is when something happens, as seen from now.
func until(next *time.Time, now time.Time) string {
	switch {
	case next == nil:
		return "-"
	case !next.After(now):
		return "now"
	}
	return "in " + span(next.Sub(now))
}

// measure widens the columns for these rows. They never get narrower, so that
// the pages of a long list stay in line where they can.
func (t *listTable) measure(rows []row) {
	for _, r := range rows {
		for i := range t.widths {
			t.widths[i] = max(t.widths[i], len([]rune(r[i])))
		}
		t.reply = max(t.reply, len([]rune(r[columnLast])))
	}
	if t.width == 0 {
		return
	}
	t.widths[columnHop] = min(t.widths[columnHop], maxHop)
	if t.width < wide {
		t.widths[columnHop] = 0
	}
	if t.width < narrow {
		t.widths[columnSize], t.widths[columnTries] = 0, 0
	}
	// The reply keeps up to a third of the line, and addresses share what is left.
	room := t.width - min(t.reply, t.width/3)
	for i, w := range t.widths {
		if i != columnFrom && i != columnTo {
			room -= column(w)
		}
	}
	each := max(room/2-2, minPath)
	t.widths[columnFrom] = min(t.widths[columnFrom], each)
	t.widths[columnTo] = min(t.widths[columnTo], each)
}

// column is what a column of that width takes of a line.
func column(width int) int {
	if width == 0 {
		return 0
	}
	return width + 2
}

func (t *listTable) line(r row) string {
	var b strings.Builder
	for i, w := range t.widths {
		if w > 0 {
			b.WriteString(pad(r[i], w) + "  ")
		}
	}
	b.WriteString(r[columnLast])
	line := strings.TrimRight(b.String(), " ")
	if t.width > 0 {
		line = shorten(line, t.width)
	}
	return line
}

func (t *listTable) end(all *control.Counted, next string) error {
	text := "\n" + totals(&t.sum)
	switch {
	case t.n == 0:
		text = t.empty
	case next != "":
		text += " shown; the next page: --after " + next
	case all != nil && all.Messages > t.sum.Messages:
		text += " shown, of " + totals(all)
	}
	_, err := fmt.Fprintln(t.out, text)
	return outputError(err)
}

// totals is what messages come to.
func totals(c *control.Counted) string {
	return fmt.Sprintf("%s, %s, %s", count(c.Messages, "message"), count(c.Recipients, "recipient"), size(c.Bytes))
}

// pad makes s exactly w characters long.
func pad(s string, w int) string {
	s = shorten(s, w)
	return s + strings.Repeat(" ", w-len([]rune(s)))
}

// shorten cuts s to w characters.
func shorten(s string, w int) string {
	runes := []rune(s)
	if len(runes) <= w {
		return s
	}
	return string(runes[:max(w-1, 0)]) + "…"
}
