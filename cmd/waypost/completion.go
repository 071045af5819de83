package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waypost/queue"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// What the shell is offered when somebody presses the tabulator key. Names come
// from the running waypost; without one there are none, and nothing is said.

const (
	// maxCompleted is how many messages the shell is shown to choose from.
	maxCompleted = 50
	// completionTime is how long a shell waits at the most.
	completionTime = 3 * time.Second
)

// complete has the shell complete the values of a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeNames has the shell complete the values of a flag that the running
// waypost knows.
func (q *queueProgram) completeNames(cmd *cobra.Command, flag string, of control.NameKind) {
	_ = cmd.RegisterFlagCompletionFunc(flag, q.completion(func(ctx context.Context, c *control.Client, _ []string, typed string) (all []cobra.Completion, err error) {
		names, err := c.Names(ctx, of, typed)
		for _, name := range names {
			// What cannot be shown as it is cannot be typed, and a tab would
			// begin a description.
			if smtp.Printable(name) == name {
				all = append(all, name)
			}
		}
		return all, err
	}))
}

// completeIDs has the shell complete queue IDs.
func (q *queueProgram) completeIDs(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return q.completion(completedIDs)(cmd, args, typed)
}

// completeID has the shell complete one queue ID.
func (q *queueProgram) completeID(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return q.completeIDs(cmd, args, typed)
}

// completion asks the running waypost for completions, and not for long.
func (q *queueProgram) completion(ask func(context.Context, *control.Client, []string, string) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		err := q.connect(ctx, func(ctx context.Context, c *control.Client) (err error) {
			all, err = ask(ctx, c, args, typed)
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// completedIDs are the oldest queue IDs that begin with what was typed, but for
// those that stand there already.
func completedIDs(ctx context.Context, c *control.Client, args []string, typed string) (all []cobra.Completion, err error) {
	for list, err := range c.List(ctx, control.Selection{After: before(typed)}, maxCompleted) {
		if err != nil {
			return nil, err
		}
		for i := range list.Messages {
			m := &list.Messages[i]
			if !strings.HasPrefix(m.ID, typed) {
				return all, nil // IDs are in order
			}
			if !slices.Contains(args, m.ID) {
				all = append(all, cobra.CompletionWithDesc(m.ID, m.State+", from "+mailbox(m.From)))
			}
		}
	}
	return all, nil
}

// before returns the ID that comes right before all that begin with typed; ""
// when there is none.
func before(typed string) string {
	const length = 13 // of an ID
	first, err := queue.ParseID(typed + strings.Repeat("0", max(length-len(typed), 0)))
	if err != nil || first == 1 {
		return ""
	}
	return (first - 1).String()
}
