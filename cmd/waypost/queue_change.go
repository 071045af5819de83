package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/relay/control"
	"waypost/relay/smtp"
)

// changeVerb is a command that changes messages in the queue.
type changeVerb struct {
	action      control.Action
	short, long string
	doing       string // what is done to them, for a question
	done        string // what became of messages, after their number
	not         string // and of those for which there was nothing to do
}

func changeVerbs() []changeVerb {
	return []changeVerb{{
		control.Retry, "Try messages again now",
		"Has messages tried at once instead of when they are due, and their next hops with\nthem. Messages on hold stay there.\n\nWith --destination alone, everything that waits for a next hop is tried now.",
		"try now", "due now", "on hold and left alone",
	}, {
		control.Hold, "Put messages on hold",
		"Keeps messages from being tried until they are released. A delivery that is under\nway is not interrupted.\n\nWith --destination alone, the next hop itself is put on hold, at once however much\nwaits for it: new messages wait there, too. \"waypost queue stats\" lists such next\nhops.",
		"put on hold", "put on hold", "on hold already",
	}, {
		control.Release, "Release messages that are on hold",
		"Ends the hold of messages. What became due meanwhile is tried at once.\n\nWith --destination alone, the hold of the next hop itself is ended. Messages that\nwere put on hold themselves stay there.",
		"release", "released", "not on hold",
	}, {
		control.Remove, "Remove messages from the queue without telling anyone",
		"Removes messages from the queue for good. Nobody is told: neither sender nor\nrecipients. With --to-domain or --state, only the recipients that fit are removed,\nand a message goes when none is left.",
		"remove", "removed", "gone already",
	}, {
		control.Bounce, "Give messages up now, and tell their senders",
		"Gives messages up as if they had been refused for good: their senders get a report\nwith the reason. With --to-domain or --state, only the recipients that fit are given\nup. What is being delivered at this moment is left alone.",
		"bounce", "bounced", "being delivered and left alone",
	}, {
		control.Reroute, "Sort messages by today's routes",
		"Sorts messages by today's routes at once, and not at their next attempt. What goes\nto another next hop is tried there now. Messages on hold stay as they are.",
		"reroute", "rerouted", "left where they are",
	}}
}

// destructive reports whether nothing brings back what it does.
func (v *changeVerb) destructive() bool {
	return v.action == control.Remove || v.action == control.Bounce
}

// changeOptions are the flags of one of them.
type changeOptions struct {
	selectFlags
	all, dryRun, yes, json bool
	reason                 string
}

func (q *queueProgram) changeCommands() (all []*cobra.Command) {
	for _, v := range changeVerbs() {
		o := &changeOptions{}
		cmd := &cobra.Command{
			Use:   string(v.action) + " [ID...]",
			Short: v.short,
			Long:  v.long + "\n\nName the messages by their IDs, choose them by filters, or both; what is given\nmust all fit. --all is the whole queue.",
			Example: fmt.Sprintf("  waypost queue %[1]s 06F8TKQ2C0000\n  waypost queue %[1]s --to-domain example.org --older-than 1d --dry-run\n  waypost queue %[1]s --all",
				v.action),
			ValidArgsFunction: q.completeIDs,
			RunE: func(cmd *cobra.Command, ids []string) error {
				s, err := o.whole(cmd, ids)
				if err != nil {
					return err
				}
				q.changes = !o.dryRun
				return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
					if o.dryRun {
						return q.countSelected(ctx, c, v, s, o.json)
					}
					if v.destructive() && !o.yes && len(ids) == 0 {
						if sure, err := q.ask(ctx, c, v, &s, cmd.InOrStdin(), o.json); !sure {
							return err
						}
					}
					return q.change(ctx, c, v, s, o.json)
				})
			},
		}
		o.add(q, cmd)
		cmd.Flags().BoolVar(&o.all, "all", false, "all messages in the queue")
		cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say how many messages fit")
		cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object")
		if v.destructive() {
			cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask on a terminal before messages go that were not named by their IDs")
		}
		if v.action == control.Bounce {
			cmd.Flags().StringVar(&o.reason, "reason", "the message was returned by the administrator of the mail system", "what the senders are told, one line of `text`")
		}
		all = append(all, cmd)
	}
	return all
}

// whole makes sure that the whole queue is meant when it is chosen.
func (o *changeOptions) whole(cmd *cobra.Command, ids []string) (control.Selection, error) {
	s, err := o.selection()
	if err != nil {
		return s, err
	}
	s.IDs = ids
	switch chosen := !s.Everything(); {
	case !chosen && !o.all:
		return s, usageError("%q needs queue IDs or a filter, such as --to-domain, --destination, --from, --older-than or --reply; --all is the whole queue", cmd.CommandPath())
	case chosen && o.all:
		return s, usageError("--all is the whole queue: it goes with neither queue IDs nor filters")
	}
	s.All, s.By, s.Reason = o.all, operator(), o.reason
	if cmd.Flags().Changed("reason") && (o.reason == "" || len(o.reason) > 500 || smtp.Printable(o.reason) != o.reason) {
		return s, usageError("--reason is one line of up to 500 octets")
	}
	return s, checkIDs(ids)
}

// count counts what is selected, and says how far it has come.
func (q *queueProgram) count(ctx context.Context, c *control.Client, s control.Selection) (*control.Counted, error) {
	progress := terminal.NewProgress(q.stderr)
	defer progress.Done()
	return c.Count(ctx, s, looked(progress))
}

// countSelected says what a change would be about.
func (q *queueProgram) countSelected(ctx context.Context, c *control.Client, v changeVerb, s control.Selection, asJSON bool) error {
	n, err := q.count(ctx, c, s)
	if err != nil {
		return err
	}
	if asJSON {
		return errors.Join(unknown(n.Unknown), printJSON(q.stdout, n))
	}
	_, failed := fmt.Fprintf(q.stdout, "%s would be %s\n", totals(n), v.done)
	return errors.Join(unknown(n.Unknown), outputError(failed))
}

// ask has whoever sits at a terminal see how much it is before it is gone; what
// comes later is then left alone. Without a terminal nobody is asked.
func (q *queueProgram) ask(ctx context.Context, c *control.Client, v changeVerb, s *control.Selection, stdin io.Reader, asJSON bool) (sure bool, err error) {
	in, ok := stdin.(*os.File)
	if !ok || !terminal.Is(in) || !terminal.Is(q.stderr) {
		return true, nil
	}
	n, err := q.count(ctx, c, *s)
	if err != nil {
		return false, err
	}
	if n.Messages == 0 {
		return false, q.unchanged(nothing(*s), asJSON)
	}
	s.UpTo = n.UpTo
	_, _ = fmt.Fprintf(q.stderr, "%s: %s them? [y/N] ", totals(n), v.doing)
	answered := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(in).ReadString('\n') // no answer is a no
		answered <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answered:
		if answer == "y" || answer == "yes" {
			return true, nil
		}
	case <-ctx.Done():
		_, _ = fmt.Fprintln(q.stderr)
	}
	return false, q.unchanged("nothing was "+v.done, asJSON)
}

// unchanged says why nothing was done.
func (q *queueProgram) unchanged(why string, asJSON bool) error {
	if asJSON {
		return printJSON(q.stdout, &control.Changed{})
	}
	_, err := fmt.Fprintln(q.stdout, why)
	return outputError(err)
}

func (q *queueProgram) change(ctx context.Context, c *control.Client, v changeVerb, s control.Selection, asJSON bool) error {
	progress := terminal.NewProgress(q.stderr)
	sum, err := c.Change(ctx, v.action, s, func(sum *control.Changed) {
		progress.Show("%s %s so far", count(sum.Changed, "message"), v.done)
	})
	progress.Done()
	if asJSON {
		return errors.Join(err, unknown(sum.Unknown), printJSON(q.stdout, sum))
	}
	if sum.Destination != nil {
		return q.changedDestination(v.action, sum.Destination)
	}
	text := fmt.Sprintf("%s %s", count(sum.Changed, "message"), v.done)
	switch rest := sum.Matched - sum.Changed; {
	case sum.Matched == 0 && len(s.IDs) == 0 && err == nil:
		text = nothing(s)
	case rest > 0:
		text += fmt.Sprintf(", %d %s", rest, v.not)
	}
	if err != nil {
		text += " before this went wrong"
	}
	_, failed := fmt.Fprintln(q.stdout, text)
	return errors.Join(err, unknown(sum.Unknown), outputError(failed))
}

// nothing says that there was nothing to do.
func nothing(s control.Selection) string {
	if s.All {
		return "the queue is empty"
	}
	return "no message in the queue fits"
}

// operator is who runs this, as the story of a removed message is to say.
func operator() string {
	me, err := user.Current()
	if err != nil {
		return ""
	}
	if before := os.Getenv("SUDO_USER"); before != "" && me.Uid == "0" {
		return before + " (sudo)"
	}
	return me.Username
}

// changedDestination says what became of a next hop.
func (q *queueProgram) changedDestination(action control.Action, d *control.ChangedDestination) error {
	name := "next hop " + smtp.Printable(d.Name)
	waiting := count(int(d.Recipients), "recipient") + " waiting for it"
	text := ""
	switch {
	case action == control.Hold && d.Changed:
		text = name + " put on hold, " + waiting
	case action == control.Hold:
		text = name + " is on hold already, " + waiting
	case action == control.Release && d.Changed:
		text = name + " released, " + waiting
	case action == control.Release:
		return &codedError{exitData, fmt.Errorf("%s is not on hold", name)}
	case !d.Changed:
		text = name + " is on hold and left alone, " + waiting
	default:
		text = name + " tried now, " + waiting
	}
	_, err := fmt.Fprintln(q.stdout, text)
	return outputError(err)
}
