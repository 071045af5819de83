package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay"
	"waypost/relay/smtp"
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Take mail and deliver it, until told to stop",
		Long: `Takes mail and delivers it until SIGTERM or SIGINT comes. Then it takes no more
connections, gives messages on their way in and the deliveries under way the
configured shutdown_timeout to finish, and ends with the exit code 0. What is in the queue
stays there. A second signal ends it at once. SIGHUP does what "waypost reload"
does.

A service manager that speaks sd_notify is told when mail is taken, of reloads,
and that we are alive; sockets that it has opened are taken by the listeners and
the metrics that have their addresses.

It needs no configuration: without one it takes mail on 127.0.0.1:2525 from
this host alone, and shows its metrics on http://127.0.0.1:9025/metrics. The
log goes to standard error.`,
		Example: "  waypost serve\n  waypost serve --config /etc/waypost/waypost.toml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.serve(cmd.Context())
		},
	}
}

func (p *program) serve(ctx context.Context) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	c, err := p.config()
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	level.Set(logLevel(c.Log))
	log := newLogger(p.stderr, c.Log, level)
	for _, w := range c.Warnings {
		log.Warn("configuration", "warning", smtp.Printable(w.String()))
	}
	manager := &supervisor{log}
	sockets, err := inherited()
	if err != nil {
		return &codedError{exitConfig, err}
	}
	r, err := relay.New(c, relay.Options{
		Log: log, Level: level, Load: p.config, Reloaded: func(c *configs.Config) { level.Set(logLevel(c.Log)) },
		Reloading: manager.reloading, Sockets: sockets,
	})
	if err != nil {
		return startError(err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	fitMemory(ctx, log)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	go manager.watch(ctx, r.Alive)
	manager.ready()
	for told := false; !told; {
		select {
		case err := <-ended:
			return runError(err)
		case <-hangups:
			_, _ = r.Reload() // which has logged what came of it
		case s := <-signals:
			log.Info("told to stop", "signal", s.String())
			manager.stopping()
			stop()
			told = true
		}
	}
	select {
	case err := <-ended:
		return runError(err)
	case s := <-signals:
		return &codedError{exitCut, errors.New("stopped at once by a second signal: " + s.String())}
	}
}

// startError finds the code for what kept the service from starting. It would
// not go better the next time, so it is the configuration that must change,
// unless it is the disk or a permission, or what is on the disk.
func startError(err error) error {
	if errors.Is(err, queue.ErrDamaged) {
		return &codedError{exitData, fmt.Errorf("%w%s", err, remedy)}
	}
	if errors.Is(err, queue.ErrStore) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) {
		return err
	}
	return &codedError{exitConfig, err}
}

// runError says what to do about a queue that turned out to be damaged.
func runError(err error) error {
	if errors.Is(err, queue.ErrDamaged) {
		return fmt.Errorf("%w%s", err, remedy)
	}
	return err
}
