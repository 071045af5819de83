package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"waypost/relay/control"
	"waypost/relay/smtp"
)

// changeVerb is a command that changes messages in the queue.
type changeVerb struct {
	action      control.Action
	short, long string
	done        string // what became of messages, after their number
	not         string // and of those for which there was nothing to do
}

func changeVerbs() []changeVerb {
	return []changeVerb{{
		control.Retry, "Try messages again now",
		"Has messages tried at once instead of when they are due, and their next hops with\nthem. Messages on hold stay there.\n\nWith --destination alone, everything that waits for a next hop is tried now.",
		"due now", "on hold and left alone",
	}, {
		control.Hold, "Put messages on hold",
		"Keeps messages from being tried until they are released. A delivery that is under\nway is not interrupted.\n\nWith --destination alone, the next hop itself is put on hold, at once however much\nwaits for it: new messages wait there, too. \"waypost queue stats\" lists such next\nhops.",
		"put on hold", "on hold already",
	}, {
		control.Release, "Release messages that are on hold",
		"Ends the hold of messages. What became due meanwhile is tried at once.\n\nWith --destination alone, the hold of the next hop itself is ended. Messages that\nwere put on hold themselves stay there.",
		"released", "not on hold",
	}, {
		control.Remove, "Remove messages from the queue without telling anyone",
		"Removes messages from the queue for good. Nobody is told: neither sender nor\nrecipients. With --to-domain or --state, only the recipients that fit are removed,\nand a message goes when none is left.",
		"removed", "gone already",
	}, {
		control.Bounce, "Give messages up now, and tell their senders",
		"Gives messages up as if they had been refused for good: their senders get a report\nwith the reason. With --to-domain or --state, only the recipients that fit are given\nup. What is being delivered at this moment is left alone.",
		"bounced", "being delivered and left alone",
	}, {
		control.Reroute, "Sort messages by today's routes",
		"Sorts messages by today's routes at once, and not at their next attempt. What goes\nto another next hop is tried there now. Messages on hold stay as they are.",
		"rerouted", "left where they are",
	}}
}

// changeOptions are the flags of one of them.
type changeOptions struct {
	selectFlags
	all, dryRun bool
	reason      string
}

func (q *queueProgram) changeCommands() (all []*cobra.Command) {
	for _, v := range changeVerbs() {
		o := &changeOptions{}
		cmd := &cobra.Command{
			Use:   string(v.action) + " [ID...]",
			Short: v.short,
			Long:  v.long + "\n\nName the messages by their IDs, choose them by filters, or both; what is given\nmust all fit. --all is the whole queue.",
			Example: fmt.Sprintf("  waypost queue %[1]s 06F8TKQ2C0000\n  waypost queue %[1]s --to-domain example.org --older-than 1d\n  waypost queue %[1]s --all",
				v.action),
			RunE: func(cmd *cobra.Command, ids []string) error {
				s, err := o.whole(cmd, ids)
				if err != nil {
					return err
				}
				return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
					if o.dryRun {
						return q.countSelected(ctx, c, v, s)
					}
					return q.change(ctx, c, v, s)
				})
			},
		}
		o.add(cmd)
		cmd.Flags().BoolVar(&o.all, "all", false, "all messages in the queue")
		if v.action == control.Remove || v.action == control.Bounce || v.action == control.Reroute {
			cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say how many messages fit")
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
	filtered := s.ToDomain != "" || s.Destination != "" || s.From != "" || s.State != "" || s.OlderThanSeconds != 0
	switch chosen := filtered || len(ids) > 0; {
	case !chosen && !o.all:
		return s, usageError("%q needs queue IDs or a filter (--to-domain, --destination, --from, --older-than, --state); --all is the whole queue", cmd.CommandPath())
	case chosen && o.all:
		return s, usageError("--all is the whole queue: it goes with neither queue IDs nor filters")
	}
	s.IDs, s.All, s.By, s.Reason = ids, o.all, operator(), o.reason
	if cmd.Flags().Changed("reason") && (o.reason == "" || len(o.reason) > 500 || smtp.Printable(o.reason) != o.reason) {
		return s, usageError("--reason is one line of up to 500 octets")
	}
	return s, checkIDs(ids)
}

// countSelected says what a change would be about.
func (q *queueProgram) countSelected(ctx context.Context, c *control.Client, v changeVerb, s control.Selection) error {
	n := 0
	var missing []string
	s.All = false // a list needs no such word
	for list, err := range c.List(ctx, s, 0) {
		if err != nil {
			return err
		}
		n += len(list.Messages)
		missing = append(missing, list.Unknown...)
	}
	_, failed := fmt.Fprintf(q.stdout, "%s would be %s\n", count(n, "message"), v.done)
	return errors.Join(unknown(missing), outputError(failed))
}

func (q *queueProgram) change(ctx context.Context, c *control.Client, v changeVerb, s control.Selection) error {
	sum, err := c.Change(ctx, v.action, s)
	if sum.Destination != nil {
		return q.changedDestination(v.action, sum.Destination)
	}
	text := fmt.Sprintf("%s %s", count(sum.Changed, "message"), v.done)
	switch rest := sum.Matched - sum.Changed; {
	case sum.Matched == 0 && len(s.IDs) == 0 && err == nil:
		text = "no message in the queue fits"
	case rest > 0:
		text += fmt.Sprintf(", %d %s", rest, v.not)
	}
	if err != nil {
		text += " before this went wrong"
	}
	_, failed := fmt.Fprintln(q.stdout, text)
	return errors.Join(err, unknown(sum.Unknown), outputError(failed))
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
