package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

func (q *queueProgram) backupCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Write a backup of the queue while waypost runs",
		Long: `Has the running waypost write its queue, as it is at one moment, to a directory
that does not exist or is empty. Contents are hard links where that can be. The
directory can be used as a data directory as it is: restore it by starting
waypost on it. What has been delivered since is then delivered once more.

The running waypost writes it, so it must have the right to. The history is not
part of it. The directory of a stopped waypost can simply be copied.`,
		Example: "  waypost queue backup /var/backups/waypost-monday",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("%q takes one directory\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			q.changes = true // by a checkpoint
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				b, err := c.Backup(ctx, dir)
				switch {
				case err != nil:
					return err
				case asJSON:
					return printJSON(q.stdout, b)
				}
				_, err = fmt.Fprintf(q.stdout, "%s in %s\n", count(b.Messages, "message"), smtp.Printable(dir))
				return outputError(err)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}
