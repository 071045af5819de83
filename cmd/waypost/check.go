package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"waypost/configs"
	"waypost/relay"
)

func (p *program) checkCommand() *cobra.Command {
	local := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and say everything that is wrong with it",
		Long: `Loads the configuration as "waypost serve" would, and says everything that is
wrong with it at once, one line each, with its place. The exit code is then 78.
What is suspicious but works is a warning, and the exit code is 0: networks that
make an open relay of us, certificates that expire soon, secrets that everybody
can read.

What the configuration names is looked at as well: the users, the aliases, the
keys that sign, the file system of the data directory, and in a container whether
relay.networks has its gateway. The addresses to listen on are tried, unless a
waypost runs with that data directory, and our name is looked up, there and back;
--local leaves both out. Whether keys are published is for "waypost dkim check".`,
		Example: "  waypost check --config /etc/waypost/waypost.toml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.config()
			if err != nil {
				return err
			}
			return p.check(cmd.Context(), c, local)
		},
	}
	cmd.Flags().BoolVar(&local, "local", false, "try no address, and ask no DNS server")
	return cmd
}

func (p *program) check(ctx context.Context, c *configs.Config, local bool) error {
	problems := relay.Check(c)
	warning, err := relay.CheckStorage(c)
	if err != nil {
		problems = append(problems, c.Problem("data_dir", err.Error()))
	}
	if warning != "" {
		c.Warnings = append(c.Warnings, c.Problem("data_dir", warning))
	}
	if !local {
		wrong, suspicious := relay.Probe(ctx, c)
		problems, c.Warnings = append(problems, wrong...), append(c.Warnings, suspicious...)
	}
	p.printWarnings(c)
	if len(problems) > 0 {
		return problems
	}
	text := "configuration is fine"
	if n := len(c.Warnings); n > 0 {
		text += ", with " + count(n, "warning")
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return outputError(err)
}
