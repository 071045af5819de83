package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/bench"
	"waypost/configs"
	"waypost/relay"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	bench.Load
	size configs.Size
	sink string
}

func (p *program) benchCommand() *cobra.Command {
	o := &benchOptions{size: 5120}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a relay takes and delivers mail",
		Long: `Sends messages over many sessions at once, and prints how many a second were
acknowledged and how long the acknowledgements took. Everything is on loopback.

Without --target it measures waypost itself, with a queue of its own in a
temporary directory: first what it takes while the next hop is down, then what
goes through it to a receiver that counts. Give TMPDIR a directory on the disk
that matters.

With --target it sends to whatever listens there. If that relay sends on to the
address of --sink, the messages are counted there, too.`,
		Example: "  waypost bench\n  waypost bench --target 127.0.0.1:2525 --sink 127.0.0.1:2600 --messages 20000",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.bench(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Target, "target", "", "send to this `address` and port instead of a waypost of our own")
	flags.StringVar(&o.sink, "sink", "", "count what arrives on this `address` and port")
	flags.IntVar(&o.Messages, "messages", 10_000, "how many messages to send")
	flags.IntVar(&o.Sessions, "sessions", 20, "over how many sessions at once")
	flags.TextVar(&o.size, "size", o.size, "the size of each message, such as `5120` or 50kB")
	flags.BoolVar(&o.Reconnect, "reconnect", false, "use a new session for each message")
	return cmd
}

func (p *program) bench(ctx context.Context, o *benchOptions) error {
	o.Size = int(o.size)
	if o.Messages < 1 || o.Sessions < 1 || o.Sessions > 1000 || o.Size > 50_000_000 {
		return usageError("--messages and --sessions begin at 1, --sessions end at 1000, --size at 50MB")
	}
	for _, address := range []string{o.Target, o.sink} {
		if err := onLoopback(address); err != nil {
			return usageError("%w", err)
		}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WORK\tMESSAGES\tPER SECOND\tMEDIAN\t99 %\tWORST")
	var err error
	if o.Target != "" {
		err = o.run(ctx, table, "sent", "arrived", o.sink)
	} else {
		err = errors.Join(o.runOwn(ctx, table, false), o.runOwn(ctx, table, true))
	}
	return errors.Join(err, table.Flush())
}

// onLoopback refuses to put load on other hosts.
func onLoopback(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address", address)
	}
	return nil
}

// run sends the load, and prints a row for it and one for what arrived at the
// sink, if there is one.
func (o *benchOptions) run(ctx context.Context, table *tabwriter.Writer, sentRow, arrivedRow, sink string) error {
	var receiver *bench.Receiver
	if sink != "" {
		var err error
		if receiver, err = bench.NewReceiver(sink); err != nil {
			return err
		}
		defer receiver.Close()
	}
	return o.measure(ctx, table, sentRow, arrivedRow, receiver)
}

func (o *benchOptions) measure(ctx context.Context, table *tabwriter.Writer, sentRow, arrivedRow string, receiver *bench.Receiver) error {
	start := time.Now()
	sent, err := o.Run(ctx)
	if err != nil {
		return err
	}
	if sentRow != "" {
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%s\n", sentRow, sent.Messages, sent.Rate(),
			millis(sent.Percentile(50)), millis(sent.Percentile(99)), millis(sent.Percentile(100)))
	}
	if receiver == nil {
		return nil
	}
	last, err := receiver.Wait(ctx, o.Messages)
	if err != nil {
		return err
	}
	fmt.Fprintf(table, "%s\t%d\t%.0f\t\t\t\n", arrivedRow, o.Messages, float64(o.Messages)/last.Sub(start).Seconds())
	return nil
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

// runOwn measures a relay of our own: end to end, or with a next hop that is
// down.
func (o *benchOptions) runOwn(ctx context.Context, table *tabwriter.Writer, endToEnd bool) (err error) {
	dir, err := os.MkdirTemp("", "waypost-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var receiver *bench.Receiver
	sentRow, via := "accepted, next hop down", "smtp://127.0.0.1:1"
	if endToEnd {
		if receiver, err = bench.NewReceiver("127.0.0.1:0"); err != nil {
			return err
		}
		defer receiver.Close()
		sentRow, via = "", "smtp://"+receiver.Addr().String()
	}
	c := configs.Default()
	c.Hostname, c.DataDir = "bench.example", dir
	c.Queue.Ephemeral = true // wherever temporary files are
	c.Listeners[0].Address, c.Metrics.Address = "127.0.0.1:0", ""
	c.Limits.ConnectionsPerAddress, c.Limits.Connections = 1000, 1000
	c.Routes = []configs.Route{{To: "*", Via: []string{via}, TLS: configs.TLSNone}}
	// What a service logs costs time, so it is written, if only to nowhere.
	log := slog.New(slog.NewJSONHandler(nowhere{}, nil))
	r, err := relay.New(&c, relay.Options{Log: log})
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(serving) }()
	o.Target = r.SMTPAddrs()[0].String()
	err = o.measure(ctx, table, sentRow, "through to a sink", receiver)
	stop()
	return errors.Join(err, <-ended)
}

// nowhere takes what is written and does nothing with it. Unlike io.Discard
// it is not recognised, so that the text is made.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
