package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"waypost/configs"
	"waypost/relay"
)

func (p *program) checkCommand() *cobra.Command {
	local, asJSON := false, false
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
			if asJSON {
				return p.checkJSON(cmd.Context(), c, err, local)
			}
			if err != nil {
				return err
			}
			return p.check(cmd.Context(), c, local)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object with all that is wrong")
	cmd.Flags().BoolVar(&local, "local", false, "try no address, and ask no DNS server")
	return cmd
}

func (p *program) check(ctx context.Context, c *configs.Config, local bool) error {
	problems := look(ctx, c, local)
	p.printWarnings(c)
	if len(problems) > 0 {
		return problems
	}
	text := "configuration is fine"
	if n := len(c.Warnings); n > 0 {
		text += ", with " + count(n, "warning")
	}
	_, err := fmt.Fprintln(p.stdout, text)
	return outputError(err)
}

// look looks at what a configuration names, and adds to its warnings.
func look(ctx context.Context, c *configs.Config, local bool) configs.Problems {
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
	return problems
}

// checkedConfig is what check found.
type checkedConfig struct {
	// Fine says that the configuration can be used.
	Fine bool `json:"fine"`
	// Problems are what is wrong, and Warnings what is suspicious, each with its
	// place in front.
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`
}

// checkJSON prints what check found, failed included: why the configuration could
// not be loaded.
func (p *program) checkJSON(ctx context.Context, c *configs.Config, failed error, local bool) error {
	found := checkedConfig{Problems: []string{}, Warnings: []string{}}
	problems, known := errors.AsType[configs.Problems](failed)
	switch {
	case failed != nil && !known:
		found.Problems = append(found.Problems, failed.Error())
	case failed == nil:
		if problems = look(ctx, c, local); len(problems) > 0 {
			failed = problems
		}
		for _, w := range c.Warnings {
			found.Warnings = append(found.Warnings, w.String())
		}
	}
	for _, problem := range problems {
		found.Problems = append(found.Problems, problem.String())
	}
	found.Fine = failed == nil
	if err := printJSON(p.stdout, found); err != nil || failed == nil {
		return err
	}
	return &codedError{exitCode(failed), fmt.Errorf("the configuration has %s", count(len(found.Problems), "problem"))}
}
