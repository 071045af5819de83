package main

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

// traceCommand tells what became of messages, those that have left included.
func (p *program) traceCommand() *cobra.Command {
	q := &queueProgram{program: p}
	asJSON, follow, limit := false, false, 0
	cmd := &cobra.Command{
		Use:   "trace KEY",
		Short: "Tell what became of a message, also when it has left the queue",
		Long: `Tells the story of messages: where they came from, what each attempt said, and
what became of them. They may wait in the queue of the running waypost, or have
left it and be in its history (see "history" in the configuration).

KEY is a queue ID, a Message-ID, a sender, a recipient, or the ID under which the
next hop took the message. Of several messages the newest are shown, oldest
first. With --json it is one object for each message.

With --follow it goes on with what happens to these messages, and to others that
come and go by the key, line by line as the log has it, until it is interrupted;
by a queue ID, until that message has left. With --json each line is an object
with one field: story, event, or missed.`,
		Example:           "  waypost trace 06F8TKQ2C0000\n  waypost trace user@example.org --follow\n  waypost trace '<20260102.1@mail.example.org>'",
		Args:              oneKey,
		ValidArgsFunction: q.completeID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return usageError("--limit must be at least 1, not %d", limit)
			}
			if follow && q.offline {
				return usageError("--follow needs a waypost that runs, and --offline one that does not")
			}
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				if follow {
					return q.follow(ctx, c, args[0], asJSON)
				}
				return q.trace(ctx, c, args[0], limit, asJSON)
			})
		},
	}
	q.dataDirFlag(cmd.Flags())
	q.offlineFlag(cmd.Flags())
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each message")
	cmd.Flags().IntVar(&limit, "limit", 20, "the greatest `number` of messages, up to 1000")
	return cmd
}

func oneKey(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usageError("%q needs one key: a queue ID, a Message-ID, an address, or the next hop's ID", cmd.CommandPath())
	}
	return nil
}

func (q *queueProgram) trace(ctx context.Context, c *control.Client, key string, limit int, asJSON bool) error {
	found, err := c.Trace(ctx, key, limit)
	if err != nil {
		return err
	}
	if len(found.Messages) == 0 {
		return &codedError{exitData, fmt.Errorf("no message goes by %s, neither in the queue nor in the history", smtp.Printable(key))}
	}
	out := bufio.NewWriter(q.stdout)
	now := time.Now()
	for i := range found.Messages {
		m := &found.Messages[i]
		if asJSON {
			err = printJSON(out, m)
		} else {
			if i > 0 {
				_, _ = fmt.Fprint(out, "\n\n") // an error is Flush's too
			}
			printMessage(out, m, now)
		}
		if err != nil {
			return err
		}
	}
	if found.More && !asJSON {
		_, _ = fmt.Fprintf(out, "\n%s shown, and there are older ones; --limit shows more\n", count(len(found.Messages), "message"))
	}
	return outputError(out.Flush())
}
