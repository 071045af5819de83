package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/control"
)

// selectFlags are the flags that choose messages.
type selectFlags struct {
	toDomain, destination, from, state string
	olderThan                          configs.Duration
}

func (f *selectFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.toDomain, "to-domain", "", "only messages that wait for a recipient in this `domain`")
	flags.StringVar(&f.destination, "destination", "", "only messages that wait for this `next hop`, as the list shows it")
	flags.StringVar(&f.from, "from", "", "only messages from this `sender`: an address, a domain, or <> for reports")
	flags.Var(&age{&f.olderThan}, "older-than", "only messages that came at least this `duration` ago, such as 90m or 2d")
	flags.StringVar(&f.state, "state", "", "only messages with a recipient in this `state`: queued, deferred or held")
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states(), cobra.ShellCompDirectiveNoFileComp))
}

func states() []string {
	return []string{control.StateQueued, control.StateDeferred, control.StateHeld}
}

// selection checks the flags.
func (f *selectFlags) selection() (control.Selection, error) {
	if f.state != "" && !slices.Contains(states(), f.state) {
		return control.Selection{}, usageError("--state is queued, deferred or held, and not %q%s", f.state, meant("", f.state, states()))
	}
	return control.Selection{
		ToDomain: f.toDomain, Destination: f.destination, From: f.from, State: f.state, OlderThanSeconds: time.Duration(f.olderThan).Seconds(),
	}, nil
}

// age is a duration as a flag.
type age struct{ d *configs.Duration }

// Set reads the flag's value.
func (a *age) Set(s string) error { return a.d.UnmarshalText([]byte(s)) }

// String is the value; without one it is nothing, so that no default is shown.
func (a *age) String() string {
	if a.d == nil || *a.d == 0 {
		return ""
	}
	return a.d.String()
}

// Type is what a value is called in help texts.
func (*age) Type() string { return "duration" }

// checkIDs refuses what cannot be queue IDs before anything is done.
func checkIDs(ids []string) error {
	for _, id := range ids {
		if _, err := queue.ParseID(id); err != nil {
			return &codedError{exitData, fmt.Errorf("%q is %w; an ID has 13 letters and digits, as in the output of \"waypost queue list\"", id, err)}
		}
	}
	return nil
}

// someIDs accepts one queue ID or more.
func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError("%q needs a queue ID\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
	}
	return checkIDs(args)
}

// unknown says which IDs name no message, each on a line of its own.
func unknown(ids []string) error {
	var all []error
	for _, id := range ids {
		all = append(all, fmt.Errorf("%s: no such message in the queue", id))
	}
	if len(all) == 0 {
		return nil
	}
	return &codedError{exitData, errors.Join(all...)}
}
