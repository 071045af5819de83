package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
)

func (q *queueProgram) catCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat ID",
		Short: "Print the content of a message",
		Long: `Prints the content of a message: header and body, with the fields that waypost
added. Into a file or a pipe it goes octet for octet. On a terminal, characters
that could steer it are question marks.`,
		Example: "  waypost queue cat 06F8TKQ2C0000 > message.eml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("%q prints one message at a time", cmd.CommandPath())
			}
			return someIDs(cmd, args)
		},
		ValidArgsFunction: q.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				return q.cat(ctx, c, ids[0])
			})
		},
	}
}

func (q *queueProgram) cat(ctx context.Context, c *control.Client, id string) error {
	out := &output{w: q.stdout}
	var err error
	if terminal.Is(q.stdout) {
		safe := terminal.NewWriter(out)
		err = errors.Join(c.Content(ctx, id, safe), safe.Close())
	} else {
		err = c.Content(ctx, id, out)
	}
	if out.err != nil {
		return outputError(out.err)
	}
	if problem, ok := errors.AsType[*control.Problem](err); ok && problem.Code == control.CodeUnknownID {
		return unknown([]string{id})
	}
	return err
}

// output remembers that writing failed, to tell it from reading.
type output struct {
	w   io.Writer
	err error
}

// Write writes to the output.
func (o *output) Write(p []byte) (n int, err error) {
	n, err = o.w.Write(p)
	o.err = err
	return n, err
}
