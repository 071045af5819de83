package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

func (p *program) healthCommand() *cobra.Command {
	q := &queueProgram{program: p}
	asJSON := false
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the running waypost whether it can take mail",
		Long: `Asks the running waypost whether it can take mail, over its control socket. The
exit code is 0 when it can, 75 when it runs and cannot, for which it says why,
and 69 when none runs.`,
		Example: "  waypost health || systemctl status waypost",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				return q.health(ctx, c, asJSON)
			})
		},
	}
	q.dataDirFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (q *queueProgram) health(ctx context.Context, c *control.Client, asJSON bool) error {
	h, err := c.Health(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(q.stdout, h); err != nil {
			return err
		}
	}
	if !h.Ready {
		return &codedError{exitTemporary, errors.New("not ready: " + smtp.Printable(h.Reason))}
	}
	if asJSON {
		return nil
	}
	_, err = fmt.Fprintln(q.stdout, "ready")
	return outputError(err)
}
