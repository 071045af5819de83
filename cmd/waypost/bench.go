package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"waypost/cmd/waypost/internal/bench"
	"waypost/configs"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	bench.Load
	sizes, bodies string
	sink          string
	pid           int
	drain         bool
	patience      time.Duration
	json          bool
}

func (p *program) benchCommand() *cobra.Command {
	o := &benchOptions{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a relay takes and delivers mail, and whether it loses any",
		Long: `Sends messages over many sessions at once, and prints how many a second were
acknowledged, how long that took, how many a second arrived, how long after
their beginning, and whether any was lost, doubled or damaged. It loads
addresses of this host and of private networks only.

Without --target it measures waypost itself, with a queue of its own in a
temporary directory: first what it takes while the next hop is down and how fast
it delivers that afterwards, then what goes through it to a receiver. Give
TMPDIR a directory on the disk that matters.

With --target it sends to whatever relay listens there. If that relay sends on
to the address of --sink, what arrives is counted. With --drain that address is
listened on only when all is sent: have the relay try at once when it is, and
the last row is how fast it delivers what it has. With --pid the processor time
and the memory of that process and all its descendants are measured, too.

Sizes and bodies can be mixed: "2kB:10,20kB:5,1MB:1" is ten, five and one of
sixteen messages. It exits with 65 when anything was lost, doubled or damaged.`,
		Example: "  waypost bench\n" +
			"  waypost bench --target 127.0.0.1:25 --sink 127.0.0.1:2600 --pid $(cat /var/spool/postfix/pid/master.pid)\n" +
			"  waypost bench --target 127.0.0.1:25 --sink 127.0.0.1:2600 --drain --messages 100000\n" +
			"  waypost bench --target 127.0.0.1:25 --sink 127.0.0.1:2600 --sessions 1 --per-session 1 --rate 4 --messages 100",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.bench(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Target, "target", "", "send to this `address` and port instead of a waypost of our own")
	flags.StringVar(&o.sink, "sink", "", "count what arrives on this `address` and port")
	flags.BoolVar(&o.drain, "drain", false, "listen on --sink only when all is sent")
	flags.IntVar(&o.pid, "pid", 0, "measure what this `process` and its descendants use")
	flags.IntVar(&o.Messages, "messages", 10_000, "how many messages to send")
	flags.IntVar(&o.Sessions, "sessions", 20, "over how many sessions at once")
	flags.IntVar(&o.PerSession, "per-session", 0, "begin a new session after so many messages; 0 is never")
	flags.Var(&o.Recipients, "recipients", "how many recipients each message has, or from how many to how many, as `1-20`")
	flags.StringVar(&o.sizes, "size", "5120", "the size of the messages, or several with their `weights`")
	flags.StringVar(&o.bodies, "body", "text", "what is in them: text, dots, long or 8bit, or several with their `weights`")
	flags.Float64Var(&o.Rate, "rate", 0, "begin so many messages a second; 0 is as many as the relay takes")
	flags.DurationVar(&o.patience, "patience", 30*time.Second, "give up when nothing has arrived for so long")
	flags.BoolVar(&o.json, "json", false, "a JSON array with an object for each measurement")
	return cmd
}

func (p *program) bench(ctx context.Context, o *benchOptions) error {
	if err := o.check(); err != nil {
		return usageError("%w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var reports []*benchReport
	var err error
	if o.Target != "" {
		var r *benchReport
		r, err = o.measure(ctx, func(context.Context) error { return nil })
		reports = append(reports, r)
	} else {
		reports, err = o.runOwn(ctx)
	}
	if o.json {
		return errors.Join(err, printJSON(p.stdout, reports))
	}
	return errors.Join(err, printReports(p.stdout, reports))
}

// check parses what flags themselves do not, and refuses what makes no sense.
func (o *benchOptions) check() (err error) {
	if o.Sizes, err = bench.ParseMix(o.sizes, parseSize); err != nil {
		return fmt.Errorf("--size: %w", err)
	}
	if o.Bodies, err = bench.ParseMix(o.bodies, bench.ParseBody); err != nil {
		return fmt.Errorf("--body: %w", err)
	}
	for _, address := range []string{o.Target, o.sink} {
		if err := nearby(address); err != nil {
			return err
		}
	}
	switch {
	case o.Target == "" && (o.sink != "" || o.drain || o.pid != 0):
		return errors.New("--sink, --drain and --pid go with --target")
	case o.drain && o.sink == "":
		return errors.New("--drain goes with --sink")
	case o.pid < 0 || o.patience <= 0:
		return errors.New("--pid and --patience are positive")
	}
	return o.Check()
}

func parseSize(word string) (int, error) {
	var s configs.Size
	err := s.UnmarshalText([]byte(word))
	return int(s), err
}

// nearby refuses to put load on strangers.
func nearby(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() && !ip.IsPrivate() {
		return fmt.Errorf("%s is neither a loopback address nor one of a private network", address)
	}
	return nil
}

// measure sends the load, and sees what comes of it. retry is called when the
// next hop has come back.
func (o *benchOptions) measure(ctx context.Context, retry func(context.Context) error) (*benchReport, error) {
	ledger := bench.NewLedger(&o.Load)
	report := &benchReport{}
	var tree *bench.Tree
	var err error
	if o.pid != 0 {
		if tree, err = bench.Watch(o.pid); err != nil {
			return nil, err
		}
	}
	err = o.work(ctx, ledger, report, retry)
	if tree != nil {
		usage, e := tree.Stop()
		report.Process = &benchProcess{Usage: usage}
		if report.Accepted.Messages > 0 {
			report.Process.Per1000 = usage.CPUSeconds * 1000 / float64(report.Accepted.Messages)
		}
		err = errors.Join(err, e)
	}
	if o.sink == "" {
		return report, err
	}
	report.Ledger = new(ledger.Counts()) // after the processes came to rest: doubles come late
	return report, errors.Join(err, report.verdict())
}

// work is what is measured.
func (o *benchOptions) work(ctx context.Context, ledger *bench.Ledger, report *benchReport, retry func(context.Context) error) error {
	var receiver *bench.Receiver
	var err error
	if o.sink != "" && !o.drain {
		if receiver, err = bench.NewReceiver(o.sink, ledger); err != nil {
			return err
		}
		defer func() { _ = receiver.Close() }() // it was open
	}
	err = o.Run(ctx, ledger)
	report.Accepted = ledger.Accepted()
	if err != nil || o.sink == "" {
		return err
	}
	var since time.Time
	if o.drain {
		since = time.Now()
		if receiver, err = bench.NewReceiver(o.sink, ledger); err != nil {
			return err
		}
		defer func() { _ = receiver.Close() }() // it was open
		if err := retry(ctx); err != nil {
			return err
		}
	}
	err = ledger.Wait(ctx, o.patience)
	report.Arrived, report.Drained = new(ledger.ArrivedSince(since)), o.drain
	return err
}
