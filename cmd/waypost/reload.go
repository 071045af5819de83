package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

func (p *program) reloadCommand() *cobra.Command {
	q := &queueProgram{program: p}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running waypost load its configuration again",
		Long: `Has the running waypost load its configuration again, and change to it without
dropping a connection: sessions that are open end under the rules they began
with. It reads the file, and the environment, that it was started with. A
configuration that cannot be used is kept out, and the exit code is then 78.

What changes are listeners, certificates, who may relay and log in, limits,
routes, and log.level. What needs a restart is named. Users and certificates are
read again whenever their files change, and need no reload.`,
		Example: "  waypost reload --config /etc/waypost/waypost.toml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				done, err := c.Reload(ctx)
				if err != nil {
					return err
				}
				return p.printReloaded(done, asJSON)
			})
		},
	}
	q.dataDirFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// printReloaded says what a reload has done.
func (p *program) printReloaded(done *control.Reloaded, asJSON bool) error {
	if asJSON {
		return printJSON(p.stdout, done)
	}
	for _, w := range done.Warnings {
		_, _ = fmt.Fprintln(p.stderr, "warning: "+smtp.Printable(w))
	}
	text := "reloaded, and nothing has changed"
	if len(done.Changed) > 0 {
		text = "reloaded: " + strings.Join(done.Changed, ", ")
	}
	if len(done.Restart) > 0 {
		text += "\nneeds a restart: " + strings.Join(done.Restart, ", ")
	}
	_, err := fmt.Fprintln(p.stdout, text)
	return outputError(err)
}
