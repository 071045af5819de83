package main

import (
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay/control"
)

// selectFlags are the flags that choose messages.
type selectFlags struct {
	to, toDomain, destination, from, class, state, reply string
	olderThan, youngerThan                               configs.Duration
	largerThan, smallerThan                              configs.Size
}

// add adds them to a command of q.
func (f *selectFlags) add(q *queueProgram, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "only messages that wait for this `recipient`")
	flags.StringVar(&f.toDomain, "to-domain", "", "only messages that wait for a recipient in this `domain`; .example.org is example.org and what is below it")
	flags.StringVar(&f.destination, "destination", "", "only messages that wait for this `next hop`, as the list shows it")
	flags.StringVar(&f.from, "from", "", "only messages from this `sender`: an address, a domain, or <> for reports")
	flags.Var(&textFlag{&f.olderThan, "duration"}, "older-than", "only messages that came at least this `duration` ago, such as 90m or 2d")
	flags.Var(&textFlag{&f.youngerThan, "duration"}, "younger-than", "only messages that came less than this `duration` ago")
	flags.Var(&textFlag{&f.largerThan, "size"}, "larger-than", "only messages of at least this `size`, such as 500kB or 2MB")
	flags.Var(&textFlag{&f.smallerThan, "size"}, "smaller-than", "only messages of less than this `size`")
	flags.StringVar(&f.class, "class", "", "only messages of this message `class`; \"default\" is that of messages without one")
	flags.StringVar(&f.state, "state", "", "only messages with a recipient in this `state`: queued, deferred or held")
	flags.StringVar(&f.reply, "reply", "", "only messages with a recipient whose last reply has this `text` in it")
	complete(cmd, "state", states())
	q.completeNames(cmd, "destination", control.DestinationNames)
	q.completeNames(cmd, "class", control.ClassNames)
}

func states() []string {
	return []string{control.StateQueued, control.StateDeferred, control.StateHeld}
}

// oneOf checks a flag that takes one of some words.
func oneOf(flag, value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	last := len(words) - 1
	return usageError("--%s is %s or %s, and not %q%s", flag, strings.Join(words[:last], ", "), words[last], value, meant("", value, slices.Clone(words)))
}

// selection checks the flags.
func (f *selectFlags) selection() (control.Selection, error) {
	if f.state != "" {
		if err := oneOf("state", f.state, states()); err != nil {
			return control.Selection{}, err
		}
	}
	return control.Selection{
		To: f.to, ToDomain: f.toDomain, Destination: f.destination, From: f.from, Class: f.class, State: f.state, Reply: f.reply,
		OlderThanSeconds: time.Duration(f.olderThan).Seconds(), YoungerThanSeconds: time.Duration(f.youngerThan).Seconds(),
		LargerThan: int64(f.largerThan), SmallerThan: int64(f.smallerThan),
	}, nil
}

// textFlag is a flag whose value reads and writes itself.
type textFlag struct {
	value encoding.TextUnmarshaler
	noun  string
}

// Set reads the flag's value.
func (f *textFlag) Set(s string) error { return f.value.UnmarshalText([]byte(s)) }

// String is nothing, so that no default is shown.
func (f *textFlag) String() string { return "" }

// Type is what a value is called in help texts.
func (f *textFlag) Type() string { return f.noun }

// checkIDs refuses what cannot be queue IDs before anything is done.
func checkIDs(ids []string) error {
	for _, id := range ids {
		if _, err := queue.ParseID(id); err != nil {
			return &codedError{exitData, fmt.Errorf("%.80q is %w; an ID has 13 letters and digits, as in the output of \"waypost queue list\"", id, err)}
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
