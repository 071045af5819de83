package main

import (
	"context"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"waypost/relay"
	"waypost/relay/control"
)

// queueProgram is what the queue commands share.
type queueProgram struct {
	*program
	dataDir string // of --data-dir; "" is that of the configuration
	offline bool   // of --offline
	changes bool   // a stopped queue is opened to be changed, and not only to be looked at
}

// dataDirFlag adds the flag by which the running waypost is found.
func (q *queueProgram) dataDirFlag(flags *pflag.FlagSet) {
	flags.StringVar(&q.dataDir, "data-dir", "", "the data `directory` of the running waypost (default that of the configuration)")
}

// offlineFlag adds the flag that goes without one.
func (q *queueProgram) offlineFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&q.offline, "offline", false, "open the queue of a waypost that is not running, instead of asking one that is")
}

func (p *program) queueCommand() *cobra.Command {
	q := &queueProgram{program: p}
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Look at the queue of the running waypost, and change it",
		Long: `Looks at the queue of the running waypost, and changes it.

The running waypost is found by its data directory: that of the same
configuration, or the one that --data-dir names. It answers to root and to the
user it runs as.

With --offline the queue of a waypost that is stopped is opened here. Nothing is
delivered. To look at it writes nothing, so its disk may be full or read-only; to
change it takes the user it runs as.`,
		Args: onlySubcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	q.dataDirFlag(cmd.PersistentFlags())
	q.offlineFlag(cmd.PersistentFlags())
	cmd.AddCommand(q.listCommand(), q.showCommand(), q.catCommand(), q.statsCommand(), q.verifyCommand(), q.compactCommand(), q.backupCommand())
	cmd.AddCommand(q.changeCommands()...)
	cmd.AddCommand(q.exportCommand(), q.importCommand())
	return cmd
}

// connect finds the running waypost, or opens the queue of one that is not where
// that is wanted, and lets work talk to it. A signal ends what is under way, and
// work says how far it came.
func (q *queueProgram) connect(ctx context.Context, work func(context.Context, *control.Client) error) error {
	if q.offline {
		return q.connectOffline(ctx, work)
	}
	client, err := q.dial()
	if err != nil {
		return err
	}
	return q.with(ctx, client, work)
}

func (q *queueProgram) dial() (*control.Client, error) {
	dir, err := q.directory()
	if err != nil {
		return nil, err
	}
	return dial(dir)
}

func (*queueProgram) with(ctx context.Context, client *control.Client, work func(context.Context, *control.Client) error) error {
	defer client.Close()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return work(ctx, client)
}

// directory is the data directory that is meant.
func (q *queueProgram) directory() (string, error) {
	if q.dataDir != "" {
		return q.dataDir, nil
	}
	c, err := q.config()
	if err != nil {
		return "", err
	}
	return c.DataDir, nil
}

// dial connects to the waypost that runs with a data directory.
func dial(dir string) (*control.Client, error) {
	client, err := control.Dial(filepath.Join(dir, relay.ControlSocket))
	return client, dataDirError(err)
}
