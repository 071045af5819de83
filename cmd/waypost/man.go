package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (p *program) manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages",
		Long: `Writes a manual page for each command into a directory, which is made if it is
not there: waypost.1, waypost-queue-list.1 and so on. Pages that are there are
replaced.

"waypost completion" has the completion for your shell.`,
		Example: "  waypost man /usr/local/share/man/man1\n  man waypost-queue-list",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("%q needs one directory\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := writeManual(root, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "%s written to %s\n", count(n, "manual page"), args[0])
			return outputError(err)
		},
	}
}

// writeManual writes the pages of all commands, and returns how many.
func writeManual(root *cobra.Command, dir string) (int, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, &codedError{exitIO, err}
	}
	root.DisableAutoGenTag = true // no page differs from day to day
	root.InitDefaultCompletionCmd()
	header := &doc.GenManHeader{Section: "1", Source: version(), Manual: "waypost"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return 0, &codedError{exitIO, err}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "waypost*.1"))
	return len(pages), err
}
