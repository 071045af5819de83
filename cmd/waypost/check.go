package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"waypost/relay"
	"waypost/relay/smtp"
)

func (p *program) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and say everything that is wrong with it",
		Long: `Loads the configuration as "waypost serve" would, and says everything that is
wrong with it at once, one line each, with its place. The exit code is then 78.
What is suspicious but works is a warning, and the exit code is 0.

The file system that the data directory is on is looked at as well: waypost does
not start on one that keeps no mail. So are the users, the aliases and the keys
that sign, and in a container whether relay.networks has its gateway. Nothing is
listened on or looked up, so it can run beside a waypost that serves. Whether the
keys are published is for "waypost dkim check".`,
		Example: "  waypost check --config /etc/waypost/waypost.toml",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			c, err := p.config()
			if err != nil {
				return err
			}
			p.printWarnings(c)
			if problems := relay.Check(c); len(problems) > 0 {
				return problems
			}
			warning, err := relay.CheckStorage(c)
			if err != nil {
				return &codedError{exitConfig, err}
			}
			warnings := len(c.Warnings)
			if warning != "" {
				warnings++
				_, _ = fmt.Fprintln(p.stderr, "warning: "+smtp.Printable(warning))
			}
			text := "configuration is fine"
			if n := warnings; n > 0 {
				text += ", with " + count(n, "warning")
			}
			_, err = fmt.Fprintln(p.stdout, text)
			return outputError(err)
		},
	}
}
