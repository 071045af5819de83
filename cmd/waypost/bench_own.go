package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"waypost/configs"
	"waypost/relay"
	"waypost/relay/control"
)

// runOwn measures waypost itself.
func (o *benchOptions) runOwn(ctx context.Context) ([]*benchReport, error) {
	var reports []*benchReport
	for _, work := range []struct {
		name  string
		drain bool
	}{{"next hop down, then back", true}, {"through to a sink", false}} {
		o.drain = work.drain
		report, err := o.runOnce(ctx)
		if report != nil {
			report.Work = work.name
			reports = append(reports, report)
		}
		if err != nil {
			return reports, err
		}
	}
	return reports, nil
}

func (o *benchOptions) runOnce(ctx context.Context) (report *benchReport, err error) {
	dir, err := os.MkdirTemp("", "waypost-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	with := *o
	if with.sink, err = freeAddress(); err != nil {
		return nil, err
	}
	c := configs.Default()
	c.Hostname, c.DataDir = "bench.example", dir
	c.Queue.Ephemeral = true // wherever temporary files are
	c.Listeners[0].Address, c.Metrics.Address = "127.0.0.1:0", ""
	c.Limits.ConnectionsPerAddress, c.Limits.Connections = 10_000, 10_000
	c.Limits.MessageSize = max(c.Limits.MessageSize, 200_000_000) // what is sent is smaller, with any dots
	c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + with.sink), TLS: configs.TLSNone}}
	// What a service logs costs time, so it is written, if only to nowhere.
	log := slog.New(slog.NewJSONHandler(nowhere{}, nil))
	r, err := relay.New(&c, relay.Options{Log: log})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(serving) }()
	with.Target = r.SMTPAddrs()[0].String()
	report, err = with.measure(ctx, func(ctx context.Context) error { return retryAll(ctx, dir) })
	stop()
	return report, errors.Join(err, <-ended)
}

// freeAddress returns an address that nobody listens on.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// retryAll has everything in a queue attempted now.
func retryAll(ctx context.Context, dir string) error {
	client, err := control.Dial(filepath.Join(dir, relay.ControlSocket))
	if err != nil {
		return err
	}
	_, err = client.Change(ctx, control.Retry, control.Selection{All: true}, nil)
	return errors.Join(err, client.Close())
}

// nowhere takes what is written and does nothing with it. Unlike io.Discard
// it is not recognised, so that the text is made.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
