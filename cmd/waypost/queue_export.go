package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
)

// exportOptions are the flags of queue export.
type exportOptions struct {
	selectFlags
	hold, dryRun, json bool
	output             string
}

func (q *queueProgram) exportCommand() *cobra.Command {
	o := &exportOptions{}
	cmd := &cobra.Command{
		Use:   "export [ID...]",
		Short: "Write messages with all that is known of them into an archive",
		Long: `Writes the whole queue, or the messages that are chosen, into an archive from
which "waypost queue import" puts them into another queue. It is a tar file: for
each message ID.json has envelope, recipients and attempts, and ID.eml the
content. A message is written whole when one of its recipients fits. How many
were written is said on standard error when the archive goes to standard output.

With --hold the messages are put on hold first, so that nothing is delivered from
both queues; attempts under way are waited for. The archive says of each message
whether it was on hold before. Remove the messages when the other queue has them.

It asks the running waypost, and opens the data directory itself when none is
running. A message that is damaged is named and left out, and the exit code is
then 65.`,
		Example: `  waypost queue export --hold -o queue.tar
  waypost queue export --to-domain example.org | ssh other waypost queue import -
  waypost queue export 06F8TKQ2C0000 | tar -x`,
		ValidArgsFunction: q.completeIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			s, err := o.selection()
			if err == nil {
				err = checkIDs(ids)
			}
			if err != nil {
				return err
			}
			s.IDs = ids
			if o.dryRun {
				return q.reachAny(cmd.Context(), func(ctx context.Context, c *control.Client) error {
					return q.countSelected(ctx, c, changeVerb{done: "exported"}, s, o.json)
				})
			}
			return q.export(cmd.Context(), o, &control.ExportRequest{Selection: s, Hold: o.hold})
		},
	}
	o.add(q, cmd)
	cmd.Flags().BoolVar(&o.hold, "hold", false, "put the messages on hold")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say how many messages fit")
	cmd.Flags().BoolVar(&o.json, "json", false, "say how many messages were written as one JSON object")
	cmd.Flags().StringVarP(&o.output, "output", "o", "-", "write to this new `file`; - is standard output")
	return cmd
}

func (q *queueProgram) export(ctx context.Context, o *exportOptions, r *control.ExportRequest) error {
	if o.output == "-" {
		if terminal.Is(q.stdout) {
			return usageError("an archive is nothing for a terminal: name a file with --output, or redirect it")
		}
		out := &output{w: q.stdout}
		done, err := q.exportTo(ctx, r, out)
		if out.err != nil {
			return outputError(out.err)
		}
		return exported(q.stderr, done, err, o.json)
	}
	file, err := newOutputFile(o.output)
	if err != nil {
		return err
	}
	defer file.discard()
	done, err := q.exportTo(ctx, r, file)
	if file.err != nil {
		return outputError(file.err)
	}
	if err == nil {
		err = file.commit()
	}
	return exported(q.stdout, done, err, o.json)
}

// exportTo writes the archive, whoever has the queue.
func (q *queueProgram) exportTo(ctx context.Context, r *control.ExportRequest, w io.Writer) (done *control.Exported, err error) {
	q.changes = r.Hold
	err = q.reachAny(ctx, func(ctx context.Context, c *control.Client) (err error) {
		done, err = c.Export(ctx, r, w)
		return err
	})
	return done, err
}

// exported says what was done.
func exported(w io.Writer, done *control.Exported, err error, asJSON bool) error {
	if err != nil {
		if done != nil && done.Held > 0 {
			err = fmt.Errorf("%w\n%s put on hold and stay so", err, count(done.Held, "message"))
		}
		return err
	}
	failed := printExported(w, done, asJSON)
	return errors.Join(
		leftOut("damaged, and was left out", done.Damaged, done.DamagedIDs),
		leftOut("no such message in the queue", done.Unknown, done.UnknownIDs),
		failed)
}

func printExported(w io.Writer, done *control.Exported, asJSON bool) error {
	if asJSON {
		return printJSON(w, done)
	}
	text := fmt.Sprintf("%s exported, %s", count(done.Messages, "message"), size(done.Bytes))
	if done.Held > 0 {
		text += fmt.Sprintf(", %d put on hold", done.Held)
	}
	_, err := fmt.Fprintln(w, text)
	return outputError(err)
}

// leftOut says what is not in the archive, a line for each message that is
// named.
func leftOut(why string, n int, ids []string) error {
	if n == 0 {
		return nil
	}
	var all []error
	for _, id := range ids {
		all = append(all, fmt.Errorf("%s: %s", id, why))
	}
	if rest := n - len(ids); rest > 0 {
		all = append(all, fmt.Errorf("and %d more: %s", rest, why))
	}
	return &codedError{exitData, errors.Join(all...)}
}
