package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// statsOptions are the flags of queue stats.
type statsOptions struct {
	selectFlags
	by    string
	limit int
	json  bool
}

// byNothing leaves out what takes a look at every message.
const byNothing = "none"

func (q *queueProgram) statsCommand() *cobra.Command {
	o := &statsOptions{}
	groupings := append(control.Groupings(), byNothing)
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count what is in the queue, how old it is, and why it waits",
		Long: `Counts what is in the queue: messages, the recipients that wait by their state,
and the next hops that they wait for. The same figures are metrics.

Then comes a table of the recipients that wait, by next hop and by age: one column
for each time that the age has doubled, as Postfix's qshape has it. And the most
frequent reasons why they wait, in which what differs from message to message is
left out. With filters, it is only of the messages that fit. That takes a look at
every message; --by none leaves it out.

With --json it is one object. Its fields are described in cmd/waypost/JSON.md.`,
		Example: `  waypost queue stats
  waypost queue stats --by domain --limit 50
  waypost queue stats --by sender --state deferred`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.selection()
			if err == nil {
				err = oneOf("by", o.by, groupings)
			}
			if err == nil && (o.limit < 1 || o.limit > 1000) {
				err = usageError("--limit is from 1 to 1000, and not %d", o.limit)
			}
			if err != nil {
				return err
			}
			s.Limit = o.limit
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				return q.stats(ctx, c, o, s)
			})
		},
	}
	o.add(q, cmd)
	cmd.Flags().StringVar(&o.by, "by", "destination", "one line for each of `these`: "+strings.Join(groupings, ", "))
	cmd.Flags().IntVar(&o.limit, "limit", 20, "at most this `number` of lines and of reasons")
	complete(cmd, "by", groupings)
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object")
	return cmd
}

// queueStats is what stats prints as JSON: the fields of Stats, and the shape of
// the queue unless that is left out.
type queueStats struct {
	*control.Stats
	Shape *control.Shape `json:"shape,omitempty"`
}

func (q *queueProgram) stats(ctx context.Context, c *control.Client, o *statsOptions, s control.Selection) error {
	var all queueStats
	var err error
	if all.Stats, err = c.Stats(ctx); err != nil {
		return err
	}
	if !o.json {
		if err := q.printStats(all.Stats); err != nil {
			return err
		}
	}
	if o.by != byNothing && (all.Messages > 0 || o.json) {
		progress := terminal.NewProgress(q.stderr)
		all.Shape, err = c.Shape(ctx, control.ShapeRequest{Selection: s, By: o.by}, looked(progress))
		progress.Done()
		if err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(q.stdout, all)
	}
	if all.Shape == nil {
		return nil
	}
	return q.printShape(all.Shape)
}

func (q *queueProgram) printStats(s *control.Stats) error {
	out := bufio.NewWriter(q.stdout)
	field := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(out, "%-14s "+format+"\n", append([]any{name}, args...)...) // an error is Flush's too
	}
	field("Messages", "%d, %s", s.Messages, size(s.Bytes))
	field("Recipients", "%d: %d queued, %d deferred, %d held", s.Queued+s.Deferred+s.Held, s.Queued, s.Deferred, s.Held)
	hops := strconv.FormatInt(s.Destinations, 10)
	if s.DestinationsWaiting > 0 {
		hops += fmt.Sprintf(", of which %d could not be reached", s.DestinationsWaiting)
	}
	field("Next hops", "%s", hops)
	for _, d := range s.HeldDestinations {
		field("On hold", "%s, %s, since %s", smtp.Printable(d.Name), count(int(d.Recipients), "recipient"), stamp(d.Since))
	}
	if s.Messages > 0 {
		field("Oldest", "%s", span(time.Duration(s.OldestAgeSeconds*float64(time.Second))))
	}
	field("Free on disk", "%s", size(s.DiskFreeBytes))
	return outputError(out.Flush())
}
