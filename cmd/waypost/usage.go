package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says what is wrong with a flag, and which flag was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		text = "unknown flag --" + name
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			text = "unknown flag -" + name
			name = letters // -json is meant to be --json
		}
		text += meant("--", name, flagNames(cmd))
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		text = "--" + invalid.GetFlag().Name + ": " + invalid.Unwrap().Error()
		if _, ok := errors.AsType[*strconv.NumError](err); ok {
			text = fmt.Sprintf("--%s does not take %q", invalid.GetFlag().Name, invalid.GetValue())
		}
	}
	return usageError("%s\nrun \"%s --help\" to see what it takes", text, cmd.CommandPath())
}

// fileFlag names a file. Nothing is no file: a variable that is not set in a
// script must not lead to another one.
type fileFlag string

// Set takes the name.
func (f *fileFlag) Set(name string) error {
	if name == "" {
		return errors.New("names no file")
	}
	*f = fileFlag(name)
	return nil
}

// String is the name.
func (f *fileFlag) String() string { return string(*f) }

// Type is what a value is called in help texts.
func (f *fileFlag) Type() string { return "file" }

func flagNames(cmd *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.Flags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}

// onlySubcommands refuses arguments where a subcommand belongs.
func onlySubcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return usageError("unknown command %q for %q%s\nrun \"%s --help\" to see the commands",
		args[0], cmd.CommandPath(), meant("", args[0], names), cmd.CommandPath())
}

// noArguments refuses arguments to a command that has a use for none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError("%q takes no arguments, and there is %q\nrun \"%s --help\" to see what it takes",
		cmd.CommandPath(), args[0], cmd.CommandPath())
}

// meant suggests the known word nearest to one that is not known; "" when none
// is near.
func meant(prefix, word string, known []string) string {
	best, distance := "", max(len(word)/2, 1)+1
	slices.Sort(known)
	for _, k := range known {
		d := editDistance(word, k)
		if strings.HasPrefix(k, word) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return `; did you mean "` + prefix + best + `"?`
}

// editDistance is how many characters must be added, taken away, changed or
// swapped with their neighbour to make b of a.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
