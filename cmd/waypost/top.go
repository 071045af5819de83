package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/configs"
	"waypost/relay/control"
)

// topOptions are the flags of top.
type topOptions struct {
	every configs.Duration
	json  bool
}

func (p *program) topCommand() *cobra.Command {
	q := &queueProgram{program: p}
	o := &topOptions{every: configs.Duration(time.Second)}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the running waypost: rates, next hops, failures",
		Long: `Shows on a terminal, again and again, what the running waypost takes and delivers
a second, what waits, for which next hops, and what went wrong last. q ends it.

Where standard output is no terminal it is printed once, with the rates over one
interval. With --json it is one object a line for each interval, without end;
the counters are those of the metrics.`,
		Example: "  waypost top\n  waypost top --interval 5s",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every := time.Duration(o.every); every < 100*time.Millisecond || every > time.Hour {
				return usageError("--interval is from 100ms to 1h, and not %v", o.every)
			}
			return q.connect(cmd.Context(), func(ctx context.Context, c *control.Client) error {
				err := q.top(ctx, c, o, cmd.InOrStdin())
				if errors.Is(err, errSeen) || ctx.Err() != nil {
					return nil
				}
				return err
			})
		},
	}
	q.dataDirFlag(cmd.Flags())
	cmd.Flags().Var(&textFlag{&o.every, "duration"}, "interval", "how `long` between two looks (default 1s)")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object for each interval")
	return cmd
}

// errSeen ends top when there was enough of it.
var errSeen = errors.New("seen")

func (q *queueProgram) top(ctx context.Context, c *control.Client, o *topOptions, stdin io.Reader) error {
	s := &screen{}
	every := time.Duration(o.every)
	switch {
	case o.json:
		return c.Top(ctx, every, func(t *control.Top) error {
			text, err := terminal.JSON(t, "")
			if err == nil {
				_, err = fmt.Fprintln(q.stdout, text)
			}
			return outputError(err)
		})
	case !terminal.Is(q.stdout):
		return c.Top(ctx, every, func(t *control.Top) error {
			if s.next(t); s.before == nil {
				return nil
			}
			_, err := fmt.Fprintln(q.stdout, strings.Join(s.lines(0, 0), "\n"))
			return errors.Join(outputError(err), errSeen)
		})
	}
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	defer q.raw(stdin, quit)()
	err := c.Top(ctx, every, func(t *control.Top) error {
		s.next(t)
		columns, rows := terminal.Size(q.stdout)
		// Home, each line with its old rest cleared, and what was below cleared.
		_, err := fmt.Fprint(q.stdout, "\x1b[H"+strings.Join(s.lines(columns, rows), "\x1b[K\r\n")+"\x1b[K\x1b[J")
		return outputError(err)
	})
	if ctx.Err() != nil {
		return errSeen
	}
	return err
}

// raw takes a terminal over, with a screen of its own, and has q or an interrupt
// typed on it end what it shows.
func (q *queueProgram) raw(stdin io.Reader, quit func()) (restore func()) {
	_, _ = fmt.Fprint(q.stdout, "\x1b[?1049h\x1b[?25l") // an error comes again
	back := func() {}
	if in, ok := stdin.(*os.File); ok && terminal.Is(in) {
		if state, err := term.MakeRaw(int(in.Fd())); err == nil {
			back = func() { _ = term.Restore(int(in.Fd()), state) }
			go func() {
				for b := make([]byte, 1); ; {
					if n, err := in.Read(b); err != nil || n == 1 && strings.ContainsRune("qQ\x03\x04", rune(b[0])) {
						quit()
						return
					}
				}
			}()
		}
	}
	return func() {
		back()
		_, _ = fmt.Fprint(q.stdout, "\x1b[?25h\x1b[?1049l")
	}
}
