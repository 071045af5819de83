package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
			found, err := p.look(cmd.Context(), local)
			if asJSON {
				return p.printFoundJSON(found, err)
			}
			return p.printFound(found, err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object with all that is wrong")
	cmd.Flags().BoolVar(&local, "local", false, "try no address, and ask no DNS server")
	return cmd
}

// look loads a configuration and looks at what it names, as far as it can be
// read. The error is what keeps anything from being looked at.
func (p *program) look(ctx context.Context, local bool) (found foundConfig, err error) {
	c, err := configs.Examine(p.configFile, p.environ)
	problems, known := errors.AsType[configs.Problems](err)
	if err != nil && !known {
		return found, &codedError{exitConfig, err}
	}
	if c == nil {
		return foundConfig{problems: problems}, nil
	}
	more := relay.Check(c)
	warning, err := relay.CheckStorage(c)
	if err != nil {
		more = append(more, c.Problem("data_dir", err.Error()))
	}
	found.warnings = c.Warnings
	if warning != "" {
		found.warnings = append(found.warnings, c.Problem("data_dir", warning))
	}
	if !local {
		wrong, suspicious := relay.Probe(ctx, c)
		more, found.warnings = append(more, wrong...), append(found.warnings, suspicious...)
	}
	found.problems = problems
	for _, p := range more {
		// What cannot be read is not tried as well.
		if !slices.ContainsFunc(problems, func(o configs.Problem) bool { return o.Key == p.Key }) {
			found.problems = append(found.problems, p)
		}
	}
	found.problems, found.warnings = configs.InOrder(found.problems), configs.InOrder(found.warnings)
	return found, nil
}

// foundConfig is what is wrong with a configuration, and what is suspicious.
type foundConfig struct{ problems, warnings configs.Problems }

// printFound prints it for people.
func (p *program) printFound(found foundConfig, failed error) error {
	if failed != nil {
		return failed
	}
	p.printWarnings(found.warnings)
	if len(found.problems) > 0 {
		return found.problems
	}
	text := "configuration is fine"
	if n := len(found.warnings); n > 0 {
		text += ", with " + count(n, "warning")
	}
	_, err := fmt.Fprintln(p.stdout, text)
	return outputError(err)
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

// printFoundJSON prints it for programs. failed is why nothing could be looked at.
func (p *program) printFoundJSON(found foundConfig, failed error) error {
	out := checkedConfig{Problems: []string{}, Warnings: []string{}}
	if failed != nil {
		out.Problems = append(out.Problems, failed.Error())
	}
	for _, problem := range found.problems {
		out.Problems = append(out.Problems, problem.String())
	}
	for _, w := range found.warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	out.Fine = len(out.Problems) == 0
	if err := printJSON(p.stdout, out); err != nil || out.Fine {
		return err
	}
	return &codedError{exitConfig, fmt.Errorf("the configuration has %s", count(len(out.Problems), "problem"))}
}
