package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"waypost/queue"
	"waypost/relay/control"
)

// importOptions are the flags of queue import.
type importOptions struct{ hold, release, json bool }

func (q *queueProgram) importCommand() *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Put the messages of an archive into the queue",
		Long: `Puts the messages of an archive that "waypost queue export" wrote into the
queue. They are tried when they would have been where they come from, as long as
they would have been, and go where today's routes lead. - is standard input.

Each message is taken once, also when an import is repeated, was killed, or comes
after the messages were delivered: that is remembered for 30 days. A message keeps
its ID when it is free here. What comes before a damaged or missing part of the
archive is taken, and the exit code is then 65; it is 75 when the disk is filling.

It asks the running waypost, and opens the data directory itself when none is
running.`,
		Example: "  waypost queue import queue.tar\n  ssh other waypost queue export --hold | waypost queue import -",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("%q needs one archive, a file or - for standard input\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.hold && o.release {
				return usageError("--hold and --release exclude each other")
			}
			return q.importFrom(cmd.Context(), o, args[0], cmd.InOrStdin())
		},
	}
	cmd.Flags().BoolVar(&o.hold, "hold", false, "put all of the messages on hold")
	cmd.Flags().BoolVar(&o.release, "release", false, "put none on hold, also those that were when they were exported")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object")
	return cmd
}

func (q *queueProgram) importFrom(ctx context.Context, o *importOptions, name string, stdin io.Reader) error {
	in := &input{r: stdin}
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return &codedError{exitData, err}
		}
		defer file.Close()
		in.r = file
	}
	word, hold := "", queue.KeepHold
	switch {
	case o.hold:
		word, hold = "hold", queue.HoldAll
	case o.release:
		word, hold = "release", queue.ReleaseAll
	}
	var done *control.Imported
	q.changes = true
	err := q.reach(ctx, func(ctx context.Context, c *control.Client) (err error) {
		done, err = c.Import(ctx, in, word)
		return err
	}, func(ctx context.Context, opened *queue.Queue) error {
		all, err := opened.Import(ctx, in, hold)
		done = control.NewImported(all, err)
		return err
	})
	if in.err != nil {
		err = &codedError{exitIO, fmt.Errorf("read %s: %w", name, in.err)}
	}
	return q.imported(done, err, o.json)
}

// imported says what was done.
func (q *queueProgram) imported(done *control.Imported, err error, asJSON bool) error {
	if done == nil {
		return err
	}
	if asJSON {
		return errors.Join(err, printJSON(q.stdout, done))
	}
	text := fmt.Sprintf("%s imported, %s", count(done.Messages, "message"), size(done.Bytes))
	if done.Before > 0 {
		text += fmt.Sprintf(", %d here before and left alone", done.Before)
	}
	if err != nil {
		text += ", before this went wrong"
	}
	_, failed := fmt.Fprintln(q.stdout, text)
	return errors.Join(err, outputError(failed))
}

// input remembers that reading failed, to tell it from writing.
type input struct {
	r   io.Reader
	err error
}

// Read reads from the input.
func (i *input) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}
