package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

func (q *queueProgram) showCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "show ID...",
		Short: "Show everything about messages: recipients, replies, what comes next",
		Long: `Shows everything that is known about messages but their content, which
"waypost queue cat" prints. With --json it is one object for each ID.`,
		Example:           "  waypost queue show 06F8TKQ2C0000",
		Args:              someIDs,
		ValidArgsFunction: q.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				return q.show(ctx, c, ids, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each message")
	return cmd
}

func (q *queueProgram) show(ctx context.Context, c *control.Client, ids []string, asJSON bool) error {
	var missing []string
	out := bufio.NewWriter(q.stdout)
	for i, id := range ids {
		m, err := c.Show(ctx, id)
		if problem, ok := errors.AsType[*control.Problem](err); ok && problem.Code == control.CodeUnknownID {
			missing = append(missing, id)
			continue
		}
		if err != nil {
			return errors.Join(err, outputError(out.Flush()))
		}
		if asJSON {
			err = printJSON(out, m)
		} else {
			if i > len(missing) {
				_, _ = fmt.Fprintln(out) // an error is Flush's too
			}
			printMessage(out, m, time.Now())
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(unknown(missing), outputError(out.Flush()))
}

func printJSON(out io.Writer, v any) error {
	text, err := terminal.JSON(v, "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return outputError(err)
}

// printMessage prints a message for people. It leaves errors to out's Flush.
func printMessage(out *bufio.Writer, m *control.Message, now time.Time) {
	field := func(name, text string) {
		if text != "" {
			_, _ = fmt.Fprintf(out, "%-12s %s\n", name, smtp.Printable(text))
		}
	}
	field("ID", m.ID)
	field("From", mailbox(m.From))
	field("Arrival", stamp(m.Arrival)+", "+ago(m.Arrival, now))
	if m.Left != nil {
		field("Left", stamp(*m.Left)+", "+ago(*m.Left, now)+", "+m.State)
	}
	field("Size", size(m.Size))
	field("Client", m.Client)
	printArrival(field, m)
	for i := range m.Recipients {
		_, _ = fmt.Fprintln(out)
		printRecipient(field, &m.Recipients[i], now)
	}
	for i := range m.AttemptLog {
		_, _ = fmt.Fprintln(out)
		printAttempt(field, &m.AttemptLog[i])
	}
}

// printArrival prints what else is known of a message from the day it came.
func printArrival(field func(name, text string), m *control.Message) {
	field("Login", m.Login)
	field("Listener", m.Listener)
	field("Protocol", strings.TrimSpace(m.Protocol+" "+m.TLS))
	field("Message-ID", m.MessageID)
	field("Envelope ID", m.EnvelopeID)
	field("Report on", m.ReportOn)
	field("Class", m.Class)
	field("Class rule", m.ClassRule)
	if m.Priority != 0 {
		field("Priority", fmt.Sprint(m.Priority))
	}
	if m.RequireTLS {
		field("Require TLS", "yes")
	}
	if m.HoldUntil != nil {
		field("Hold until", stamp(*m.HoldUntil))
	}
	if m.DeliverBy != nil {
		field("Deliver by", stamp(*m.DeliverBy))
	}
}

// printAttempt prints one attempt; recipients with the same result share its
// lines.
func printAttempt(field func(name, text string), a *control.Attempt) {
	what := "Attempt"
	if len(a.Results) == 0 {
		what = "Warning"
	}
	field(what, stamp(a.Time)+", next hop "+a.Destination)
	for i := range a.Results {
		r := &a.Results[i]
		field("  To", mailbox(r.Address)+", "+r.State)
		if i+1 < len(a.Results) && sameResult(r, &a.Results[i+1]) {
			continue
		}
		protection := r.TLS
		if protection == "" {
			protection = "no TLS"
		}
		if r.Host != "" {
			field("  Host", fmt.Sprintf("%s, %s, %.3gs", r.Host, protection, r.Seconds))
		}
		name := "  Reply"
		for _, line := range replyLines(r) {
			field(name, line)
			name = ""
		}
	}
	for _, r := range a.Reports {
		field("  Report", r.Kind+", as "+r.ID)
	}
}

// replyLines is a reply line by line, as the host wrote it.
func replyLines(r *control.AttemptResult) (lines []string) {
	if len(r.Lines) < 2 {
		return []string{r.Reply}
	}
	// What stands before the first line's text: the code, and an enhanced one.
	const code = len("550")
	at := strings.Index(r.Reply, smtp.Printable(r.Lines[0]))
	if at <= code {
		return []string{r.Reply}
	}
	for i, line := range r.Lines {
		mark := "-"
		if i == len(r.Lines)-1 {
			mark = " "
		}
		lines = append(lines, r.Reply[:code]+mark+r.Reply[code+1:at]+line)
	}
	return lines
}

func printRecipient(field func(name, text string), r *control.Recipient, now time.Time) {
	field("To", mailbox(r.Address))
	state := r.State
	switch {
	case r.DestinationHeld:
		state += ", on hold until its next hop is released"
	case r.Held:
		state += ", on hold until it is released"
	case r.NextAttempt != nil:
		state += ", tried next " + until(r.NextAttempt, now)
		if r.NextAttempt.After(now) {
			state += ", at " + stamp(*r.NextAttempt)
		}
	}
	field("  State", state)
	field("  Why then", r.NextReason)
	field("  Next hop", r.Destination)
	if r.PausedUntil != nil {
		field("  Paused", "until "+stamp(*r.PausedUntil)+": "+r.PausedWhy)
	}
	printPace(field, r.Pace)
	field("  Tries", fmt.Sprint(r.Attempts))
	if r.LastAttempt != nil {
		field("  Last try", stamp(*r.LastAttempt)+", "+ago(*r.LastAttempt, now))
		field("  Host", r.Host)
		field("  Reply", r.Reply)
	}
}

// printPace prints how fast mail may leave where a recipient waits for.
func printPace(field func(name, text string), p *control.ExplainedPace) {
	if p == nil || p.Window == 0 {
		return
	}
	text := fmt.Sprintf("%d of %d connections in use at %s", p.Used, p.Window, p.Site)
	if p.Window != p.MaxConnections {
		text += fmt.Sprintf(", of %d at most", p.MaxConnections)
	}
	if p.Waiting > 0 {
		text += fmt.Sprintf(", %d next hops wait", p.Waiting)
	}
	field("  Pace", text)
	if p.Until != nil {
		field("  Waits", "until "+stamp(*p.Until))
	}
	field("  Trouble", p.Trouble)
}

func sameResult(a, b *control.AttemptResult) bool {
	return a.State == b.State && a.Host == b.Host && a.TLS == b.TLS && a.Reply == b.Reply
}

// stamp is a point in time, in the zone of this host.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -0700") }

func ago(t, now time.Time) string { return span(max(now.Sub(t), 0)) + " ago" }
