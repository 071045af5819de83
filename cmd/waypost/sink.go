package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/sink"
)

// sinkOptions are the flags of sink.
type sinkOptions struct {
	sink.Options
	listen  string
	replies []string
}

func (p *program) sinkCommand() *cobra.Command {
	o := &sinkOptions{}
	cmd := &cobra.Command{
		Use:   "sink",
		Short: "Receive mail for trying things out, and print what comes",
		Long: `Receives mail for everyone and keeps none of it: a place to deliver to while
trying things out. Each message is one line of output, and with --print its
content as well. SIGINT or SIGTERM ends it, and it says how much came.

It listens on loopback only. --reply refuses recipients, so that deferrals and
bounces can be seen: the address, a domain or *, then an equals sign, then the
reply. With a code from 400 to 499 the sender tries again later; one from 500 to
599 is final.`,
		Example: `  waypost sink
  waypost sink --print --listen 127.0.0.1:2600
  waypost sink --reply 'bob@example.org=550 5.1.1 No such user' --reply '*=451 4.3.0 Later'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.sink(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:2600", "the loopback `address` and port to listen on")
	flags.BoolVar(&o.Print, "print", false, "print contents too")
	flags.BoolVar(&o.Quiet, "quiet", false, "print nothing but the sum at the end")
	flags.BoolVar(&o.JSON, "json", false, "print one JSON object a line")
	flags.StringArrayVar(&o.replies, "reply", nil, "answer a recipient with `ADDRESS=REPLY`; may be given more than once, the first that fits counts")
	return cmd
}

func (p *program) sink(ctx context.Context, o *sinkOptions) error {
	if o.Print && o.Quiet {
		return usageError("--print and --quiet do not go together")
	}
	for _, text := range o.replies {
		answer, err := sink.ParseAnswer(text)
		if err != nil {
			return usageError("--reply: %w", err)
		}
		o.Answers = append(o.Answers, answer)
	}
	ln, err := sink.Listen(o.listen)
	if errors.Is(err, sink.ErrNotLoopback) {
		return usageError("--listen: %w", err)
	}
	if err != nil {
		return startError(err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if _, err := fmt.Fprintf(p.stderr, "sink: listening on %s\n", ln.Addr()); err != nil {
		return errors.Join(outputError(err), ln.Close())
	}
	o.Out = p.stdout
	s := sink.New(o.Options)
	err = s.Serve(ctx, ln)
	return errors.Join(err, outputError(s.PrintTotals()))
}
