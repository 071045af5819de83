package main

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/configs"
	"waypost/relay/control"
	"waypost/relay/dialogue"
	"waypost/relay/smtp"
)

// debugOptions are the flags of debug.
type debugOptions struct {
	control.DebugRequest
	span configs.Duration
	json bool
}

func (p *program) debugCommand() *cobra.Command {
	q := &queueProgram{program: p}
	o := &debugOptions{span: configs.Duration(10 * time.Minute)}
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Read along in SMTP sessions of the running waypost",
		Long: `Shows what is said in SMTP sessions that begin from now on, with clients and with
next hops, of those that fit one of the flags: by --client, an address or a
network; by --listener, the address at which clients come in; by --destination, a
next hop or a host; by --recipient, a mailbox or a domain, from the session's
beginning as soon as the recipient is named. Each line has the number of its
session; > is said by waypost, and < to it.

Passwords and whatever else AUTH says are masked, and contents are never shown.
With --pseudonyms the local parts of addresses are replaced, the same by the same.
It ends by itself after the time of --for.

With --log-level the log of the running waypost has that level as long as this
lasts; that goes without a session to read along in, too.`,
		Example: `  waypost debug --destination example.org
  waypost debug --client 192.0.2.0/24 --for 1h
  waypost debug --log-level debug --for 5m`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Clients)+len(o.Listeners)+len(o.Destinations)+len(o.Recipients) == 0 && o.LogLevel == "" {
				return usageError("%q needs --client, --listener, --destination, --recipient or --log-level\nrun \"%s --help\" to see what it takes", cmd.CommandPath(), cmd.CommandPath())
			}
			if span := time.Duration(o.span); span <= 0 || span > 24*time.Hour {
				return usageError("--for is up to 1d, and not %v", o.span)
			}
			if o.LogLevel != "" {
				if err := oneOf("log-level", o.LogLevel, logLevels()); err != nil {
					return err
				}
			}
			o.Seconds = time.Duration(o.span).Seconds()
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				return q.debug(ctx, c, o)
			})
		},
	}
	q.dataDirFlag(cmd.Flags())
	flags := cmd.Flags()
	flags.StringSliceVar(&o.Clients, "client", nil, "sessions of this client, an `address` or a network")
	flags.StringSliceVar(&o.Listeners, "listener", nil, "sessions with clients at this `address` of ours, such as 0.0.0.0:25 or :25")
	flags.StringSliceVar(&o.Destinations, "destination", nil, "sessions with this `next hop`, as the list shows it, or with this host")
	flags.StringSliceVar(&o.Recipients, "recipient", nil, "sessions with this `recipient`, or one of this domain")
	flags.Var(&textFlag{&o.span, "duration"}, "for", "for how `long` (default 10m)")
	flags.BoolVar(&o.Pseudonyms, "pseudonyms", false, "replace the local parts of addresses")
	flags.StringVar(&o.LogLevel, "log-level", "", "give the log this `level` meanwhile: debug, info, warn or error")
	flags.BoolVar(&o.json, "json", false, "one JSON object a line")
	complete(cmd, "log-level", logLevels())
	q.completeNames(cmd, "listener", control.ListenerNames)
	q.completeNames(cmd, "destination", control.DestinationNames)
	return cmd
}

func logLevels() []string {
	return []string{configs.LevelDebug, configs.LevelInfo, configs.LevelWarn, configs.LevelError}
}

// debug prints what is said until the time is over or it is interrupted, neither
// of which is an error.
func (q *queueProgram) debug(ctx context.Context, c *control.Client, o *debugOptions) error {
	out := bufio.NewWriter(q.stdout)
	err := c.Debug(ctx, o.DebugRequest, func(d *control.Debugged) error {
		switch {
		case d.Begun:
			// Scripts have no use for this, and people may wait for long.
			_, _ = fmt.Fprintf(q.stderr, "reading along for %v\n", o.span)
		case d.Line == nil && d.Missed == 0: // it only says that it is there
		case o.json:
			text, err := terminal.JSON(d, "")
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintln(out, text) // an error is Flush's too
		case d.Line != nil:
			_, _ = fmt.Fprintln(out, lineText(d.Line))
		default:
			_, _ = fmt.Fprintf(out, "(%s came too fast and are left out)\n", count(d.Missed, "line"))
		}
		return outputError(out.Flush())
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// lineText is a line of a session for people.
func lineText(l *dialogue.Line) string {
	who := "<"
	switch {
	case l.Note:
		who = "-"
	case l.Sent:
		who = ">"
	}
	return fmt.Sprintf("%s %d %s %s %s", l.Time.Local().Format("15:04:05.000"), l.Session, smtp.Printable(l.Peer), who, smtp.Printable(l.Text))
}
