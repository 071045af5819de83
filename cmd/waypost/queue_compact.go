package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"waypost/queue"
	"waypost/relay/control"
)

func (q *queueProgram) compactCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Give free space in the index back to the file system",
		Long: `Copies the index of the queue to a file that is no larger than it must be. The
running waypost does so while it goes on; when none runs, it is done here.

waypost does this by itself when more than a third of an index of more than 64
MiB is free. Until the copy is there, the disk needs room for both.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			dir, err := q.directory()
			if err != nil {
				return err
			}
			c, err := compact(ctx, dir)
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(q.stdout, c)
			}
			_, err = fmt.Fprintf(q.stdout, "index compacted from %s to %s in %s\n", size(c.Before), size(c.After),
				time.Duration(c.Seconds*float64(time.Second)).Round(time.Millisecond))
			return outputError(err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// compact asks the running waypost, or does it when there is none.
func compact(ctx context.Context, dir string) (*control.Compacted, error) {
	client, err := dial(dir)
	if _, stopped := errors.AsType[*control.NotRunningError](err); stopped {
		done, err := queue.CompactDir(dir)
		if err != nil {
			return nil, dataDirError(err)
		}
		c := control.CompactedOf(done)
		return &c, nil
	}
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Compact(ctx)
}
