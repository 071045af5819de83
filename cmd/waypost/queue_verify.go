package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"waypost/queue"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// verified is what verify prints, as JSON in one piece.
type verified struct {
	Found []control.Damage `json:"found"`
	control.Verification
	Repair *repaired `json:"repair,omitempty"`
}

// repaired is what --repair did.
type repaired struct {
	// Messages is how many the queue has now.
	Messages int64 `json:"messages"`
	// Recovered are the queue IDs of messages that were put together again, and
	// Holds the next hops on hold of which that is so.
	Recovered []string `json:"recovered"`
	Holds     []string `json:"recovered_holds,omitempty"`
	// SetAside are the queue IDs of messages that could not be saved, File the
	// file that has what is left of them, and History the files of the history
	// that were set aside.
	SetAside []string `json:"set_aside"`
	// OldIndex is the file that the index was moved to.
	OldIndex string   `json:"old_index,omitempty"`
	File     string   `json:"set_aside_file,omitempty"`
	History  []string `json:"set_aside_history,omitempty"`
	// Odd are the things that were in the place of files.
	Odd []string `json:"set_aside_odd,omitempty"`
}

func (q *queueProgram) verifyCommand() *cobra.Command {
	asJSON, repair := false, false
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Look for damage in the queue on disk, and repair it",
		Long: `Reads everything that the queue has on disk, compares it with its checksums and
with each other, and prints what is wrong, each with its queue ID and file. The
exit code is 65 when something is.

It asks the running waypost, which goes on meanwhile, or reads the data
directory itself when none runs.

With --repair, and waypost stopped, it makes a new index of everything that can
be read. What is damaged is set aside in the folder "damaged" of the data
directory, and the old index is kept. Where the index itself is damaged,
messages may come back that were delivered or removed before. Of a damaged file
of the history what can be read stays in its place. Then the exit code is 0.`,
		Example: "  waypost queue verify\n  systemctl stop waypost && waypost queue verify --repair",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			dir, err := q.directory()
			if err != nil {
				return err
			}
			out := &verified{Found: []control.Damage{}}
			found := func(d control.Damage) {
				if out.Found = append(out.Found, d); !asJSON {
					_, _ = fmt.Fprintln(q.stdout, damageLine(d)) // the summary meets the same error
				}
			}
			if repair {
				err = repairQueue(ctx, dir, found, out)
			} else {
				err = q.verify(ctx, dir, found, out)
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(q.stdout, out)
			} else {
				err = q.printVerified(out)
			}
			if err == nil && !repair && out.Damages > 0 {
				err = &codedError{exitData, errors.New(count(out.Damages, "damage") + " in the queue" + remedy)}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.Flags().BoolVar(&repair, "repair", false, "save what can be saved; waypost must be stopped")
	return cmd
}

// remedy says what to do about a damaged queue.
const remedy = `; stop waypost, and "waypost queue verify --repair" saves what can be saved`

func damageLine(d control.Damage) string {
	id := d.ID
	if id == "" {
		id = "-"
	}
	return fmt.Sprintf("%-13s  %s: %s", id, smtp.Printable(d.File), smtp.Printable(d.Reason))
}

// verify asks the running waypost, or looks itself when there is none.
func (q *queueProgram) verify(ctx context.Context, dir string, found func(control.Damage), out *verified) error {
	client, err := dial(dir)
	if _, stopped := errors.AsType[*control.NotRunningError](err); stopped {
		v, err := queue.VerifyDir(ctx, dir, func(d queue.Damage) { found(control.DamageOf(d)) })
		out.Verification = control.VerificationOf(v)
		return dataDirError(err)
	}
	if err != nil {
		return err
	}
	defer client.Close()
	v, err := client.Verify(ctx, found)
	if err == nil {
		out.Verification = *v
	}
	return err
}

func repairQueue(ctx context.Context, dir string, found func(control.Damage), out *verified) error {
	r, err := queue.RepairDir(ctx, dir, func(d queue.Damage) { found(control.DamageOf(d)) })
	if err != nil {
		if _, ok := errors.AsType[*queue.InUseError](err); ok {
			err = &codedError{exitConfig, fmt.Errorf("%w: a queue is repaired only while waypost is stopped", err)}
		}
		return dataDirError(err)
	}
	out.Verification = control.VerificationOf(r.Before)
	out.Repair = &repaired{Messages: r.Messages, Recovered: texts(r.Recovered), Holds: r.Holds, SetAside: texts(r.SetAside), OldIndex: r.Index, File: r.Aside, History: r.History, Odd: r.Odd}
	return nil
}

// dataDirError finds the code for what kept a command from the files.
func dataDirError(err error) error {
	if _, ok := errors.AsType[*control.NotRunningError](err); ok {
		return err
	}
	if errors.Is(err, queue.ErrFormat) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return &codedError{exitConfig, err}
	}
	return err
}

func texts(ids []queue.ID) []string {
	all := make([]string, 0, len(ids))
	for _, id := range ids {
		all = append(all, id.String())
	}
	return all
}

func (q *queueProgram) printVerified(v *verified) error {
	out := bufio.NewWriter(q.stdout)
	line := func(format string, args ...any) {
		_, _ = fmt.Fprintf(out, format+"\n", args...) // an error is Flush's too
	}
	line("looked at %s, %s, %s, %s of content, %s, %s, %s of the history", count(v.Messages, "message"), counted(v.Deliveries, "delivery", "deliveries"),
		count(v.Attempts, "attempt"), size(v.ContentBytes), count(v.Pages, "page"), count(v.Segments, "journal segment"),
		counted(v.Stories, "story", "stories"))
	if v.Orphans > 0 {
		line("%s without a message, which a crash leaves; removed when 36 hours old", count(v.Orphans, "content file"))
	}
	r := v.Repair
	switch {
	case v.Damages == 0:
		line("nothing is wrong")
	case r != nil:
		line("repaired: the queue has %s", count(r.Messages, "message"))
		for _, id := range r.Recovered {
			line("%s was found outside of the index; it may have been delivered or removed before", id)
		}
		for _, name := range r.Holds {
			line("the hold of %s was found outside of the index; it may have ended before", smtp.Printable(name))
		}
		for _, id := range r.SetAside {
			line("%s could not be kept and is set aside", id)
		}
		if r.File != "" {
			line("what is damaged is in %s", r.File)
		}
		for _, name := range r.History {
			line("a damaged file of the history is %s; what can be read of it is still in the history", name)
		}
		for _, name := range r.Odd {
			line("what was in the place of a file is %s", smtp.Printable(name))
		}
		if r.OldIndex != "" {
			line("the old index is %s; remove it when nobody needs it", r.OldIndex)
		}
	}
	return outputError(out.Flush())
}

func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
