package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

func (q *queueProgram) statsCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count what is in the queue",
		Long: `Counts what is in the queue: messages, the recipients that wait by their state,
and the next hops that they wait for. The same figures are metrics. With --json
it is one object.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				s, err := c.Stats(ctx)
				switch {
				case err != nil:
					return err
				case asJSON:
					return printJSON(q.stdout, s)
				}
				return q.printStats(s)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
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
