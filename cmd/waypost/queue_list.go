package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
)

// listOptions are the flags of queue list.
type listOptions struct {
	selectFlags
	limit int
	json  bool
}

func (q *queueProgram) listCommand() *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the messages in the queue, oldest first",
		Long: `Lists the messages in the queue, oldest first, one line each: the first of the
recipients that wait and how many more there are, how often delivery was tried,
when it is tried next, and what the other side said last. A terminal that is not
wide gets fewer columns.

With --json it is one array of objects, with all recipients. Their fields are
described in the documentation of package waypost/relay/control.`,
		Example: `  waypost queue list
  waypost queue list --state deferred --to-domain example.org
  waypost queue list --older-than 2d --json | jq -r '.[].id'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return q.list(cmd.Context(), o) },
	}
	o.add(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 0, "at most this `number` of messages (default all)")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON array")
	return cmd
}

// lister prints what was found.
type lister interface {
	page(messages []control.Message) error
	end(more bool) error
}

func (q *queueProgram) list(ctx context.Context, o *listOptions) error {
	s, err := o.selection()
	if err != nil {
		return err
	}
	if o.limit < 0 {
		return usageError("--limit is a number of messages, and not %d", o.limit)
	}
	return q.connect(ctx, func(ctx context.Context, c *control.Client) error {
		out := bufio.NewWriter(q.stdout)
		var printer lister = newListTable(out, terminal.Width(q.stdout))
		if o.json {
			printer = &jsonList{out: out}
		}
		more := false
		for list, err := range c.List(ctx, s, o.limit) {
			if err != nil {
				return err
			}
			if err := printer.page(list.Messages); err != nil {
				return err
			}
			// Whoever reads along sees page after page.
			if err := out.Flush(); err != nil {
				return outputError(err)
			}
			more = list.Next != ""
		}
		if err := printer.end(more); err != nil {
			return err
		}
		return outputError(out.Flush())
	})
}

// jsonList prints an array, one message a line.
type jsonList struct {
	out *bufio.Writer
	n   int
}

func (l *jsonList) page(messages []control.Message) error {
	for i := range messages {
		text, err := jsonText(&messages[i], "")
		if err != nil {
			return err
		}
		before := ",\n"
		if l.n == 0 {
			before = "[\n"
		}
		l.n++
		if _, err := l.out.WriteString(before + text); err != nil {
			return outputError(err)
		}
	}
	return nil
}

func (l *jsonList) end(bool) error {
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := fmt.Fprint(l.out, end)
	return outputError(err)
}
