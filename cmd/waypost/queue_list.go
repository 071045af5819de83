package main

import (
	"bufio"
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
)

// listOptions are the flags of queue list.
type listOptions struct {
	selectFlags
	limit         int
	after, sort   string
	reverse, json bool
}

// oldestFirst is the order in which messages are listed unless another is asked for.
const oldestFirst = "age"

func (q *queueProgram) listCommand() *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the messages in the queue, oldest first",
		Long: `Lists the messages in the queue, oldest first, one line each: the first of the
recipients that wait and how many more there are, how often delivery was tried,
when it is tried next, and what the other side said last. A terminal that is not
wide gets fewer columns. The last line has the totals of what was listed.

With --limit it is one page, and the last line says how to get the next one. With
--sort it is the first 200 messages in that order, or as many as --limit says, up
to 1000: the oldest, largest, most often tried, soonest tried next, or by the
letters of sender, recipient, next hop or class.

With --json it is one array of objects, with all recipients. Their fields are
described in cmd/waypost/JSON.md.`,
		Example: `  waypost queue list
  waypost queue list --state deferred --to-domain example.org
  waypost queue list --sort size --limit 10
  waypost queue list --reply greylist --older-than 2h
  waypost queue list --older-than 2d --json | jq -r '.[].id'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return q.list(cmd.Context(), o) },
	}
	o.add(q, cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 0, "at most this `number` of messages (default all)")
	cmd.Flags().StringVar(&o.after, "after", "", "go on after the message with this `ID`")
	cmd.Flags().StringVar(&o.sort, "sort", oldestFirst, "in this `order`: "+strings.Join(control.Orders(), ", "))
	cmd.Flags().BoolVar(&o.reverse, "reverse", false, "in the opposite order")
	complete(cmd, "sort", control.Orders())
	_ = cmd.RegisterFlagCompletionFunc("after", q.completeIDs) // the flag is there
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON array")
	return cmd
}

// check checks the flags that go with one another.
func (o *listOptions) check() (s control.Selection, err error) {
	if s, err = o.selection(); err != nil {
		return s, err
	}
	if o.limit < 0 {
		return s, usageError("--limit is a number of messages, and not %d", o.limit)
	}
	if err := oneOf("sort", o.sort, control.Orders()); err != nil {
		return s, err
	}
	if !o.sorted() {
		if o.after != "" {
			s.After, err = o.after, checkIDs([]string{o.after})
		}
		return s, err
	}
	if o.limit > 1000 {
		return s, usageError("a list in another order has up to 1000 messages: lower --limit")
	}
	if o.after != "" {
		return s, usageError("--after goes with a list that begins with the oldest message, and with no other order")
	}
	s.Limit = o.limit
	return s, nil
}

// sorted reports whether the list has an order that needs a look at everything.
func (o *listOptions) sorted() bool { return o.sort != oldestFirst || o.reverse }

// lister prints what was found.
type lister interface {
	page(messages []control.Message) error
	// end says what was listed: the totals of it where they are known, and
	// after which ID the next page comes, "" when there is none.
	end(all *control.Counted, next string) error
}

func (q *queueProgram) list(ctx context.Context, o *listOptions) error {
	s, err := o.check()
	if err != nil {
		return err
	}
	return q.connect(ctx, func(ctx context.Context, c *control.Client) error {
		out := bufio.NewWriter(q.stdout)
		table := newListTable(out, terminal.Width(q.stdout))
		if table.empty = "no message in the queue fits"; reflect.DeepEqual(s, control.Selection{Limit: s.Limit}) {
			table.empty = "the queue is empty"
		}
		var printer lister = table
		if o.json {
			printer = &jsonList{out: out}
		}
		if o.sorted() {
			err = q.listSorted(ctx, c, o, s, printer)
		} else {
			err = q.listPages(ctx, c, o, s, printer, out)
		}
		if err != nil {
			return err
		}
		return outputError(out.Flush())
	})
}

func (q *queueProgram) listPages(ctx context.Context, c *control.Client, o *listOptions, s control.Selection, printer lister, out *bufio.Writer) error {
	next := ""
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
		next = list.Next
	}
	return printer.end(nil, next)
}

func (q *queueProgram) listSorted(ctx context.Context, c *control.Client, o *listOptions, s control.Selection, printer lister) error {
	progress := terminal.NewProgress(q.stderr)
	sorted, err := c.Sort(ctx, control.SortRequest{Selection: s, By: o.sort, Reverse: o.reverse}, looked(progress))
	progress.Done()
	if err != nil {
		return err
	}
	if err := printer.page(sorted.Messages); err != nil {
		return err
	}
	return printer.end(&sorted.Of, "")
}

// looked tells how far a look through the queue has come.
func looked(p *terminal.Progress) func(control.Progress) {
	return func(now control.Progress) { p.Show("looked at %d of %s", now.Looked, count(now.Of, "message")) }
}

// jsonList prints an array, one message a line.
type jsonList struct {
	out *bufio.Writer
	n   int
}

func (l *jsonList) page(messages []control.Message) error {
	for i := range messages {
		text, err := terminal.JSON(&messages[i], "")
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

func (l *jsonList) end(*control.Counted, string) error {
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := fmt.Fprint(l.out, end)
	return outputError(err)
}
