package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// supervisor tells the service manager that has started us how we are, as
// sd_notify(3) has it. Where none has, it says nothing.
type supervisor struct{ log *slog.Logger }

func (s *supervisor) tell(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		s.log.Warn("service manager not told", "state", state, "error", err.Error())
	}
}

// ready tells that mail is taken.
func (s *supervisor) ready() { s.tell(sd.SdNotifyReady) }

// stopping tells that no more is.
func (s *supervisor) stopping() { s.tell(sd.SdNotifyStopping) }

// reloading tells of a reload that begins, and ended that it is over.
func (s *supervisor) reloading() (ended func()) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		s.log.Warn("monotonic clock not read", "error", err.Error())
	}
	s.tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, now.Nano()/1000))
	return s.ready
}

// watch says, at half of the time that the service manager gives us, that we
// are alive, as long as alive returns.
func (s *supervisor) watch(ctx context.Context, alive func()) {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("watchdog not understood", "error", err.Error())
	}
	if every == 0 {
		return
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		alive()
		s.tell(sd.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// inherited returns the sockets that the service manager has opened for us, as
// sd_listen_fds(3) has it.
func inherited() ([]*net.TCPListener, error) {
	var all []*net.TCPListener
	var errs []error
	for _, file := range activation.Files(true) {
		ln, err := net.FileListener(file) // which has its own descriptor
		errs = append(errs, file.Close())
		if tcp, ok := ln.(*net.TCPListener); ok {
			all = append(all, tcp)
			continue
		}
		if err == nil {
			err = errors.Join(errors.New("it does not listen for TCP"), ln.Close())
		}
		errs = append(errs, fmt.Errorf("socket %s of the service manager: %w", file.Name(), err))
	}
	err := errors.Join(errs...)
	if err != nil {
		for _, ln := range all {
			err = errors.Join(err, ln.Close())
		}
		return nil, err
	}
	return all, nil
}
