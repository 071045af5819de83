package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"

	"waypost/configs"
	"waypost/queue"
	"waypost/relay"
	"waypost/relay/control"
)

// reach lets work have the queue: online with the running waypost, offline
// with the data directory when none is running, or --offline says so.
func (q *queueProgram) reach(ctx context.Context, online func(context.Context, *control.Client) error, offline func(context.Context, *queue.Queue) error) error {
	if q.offline {
		return stopped(q.openStopped(ctx, offline))
	}
	client, err := q.dial()
	if err == nil {
		return q.with(ctx, client, online)
	}
	if _, ok := errors.AsType[*control.NotRunningError](err); !ok {
		return err
	}
	failed := q.openStopped(ctx, offline)
	if errors.Is(failed, relay.ErrNoQueue) {
		return &codedError{exitUnavailable, fmt.Errorf("%w, and there is no queue in it either", err)}
	}
	return failed
}

// connectOffline opens the queue and lets work talk to this process about it.
func (q *queueProgram) connectOffline(ctx context.Context, work func(context.Context, *control.Client) error) error {
	return stopped(q.openStopped(ctx, locally(work)))
}

// reachAny is reach for work that is the same for both.
func (q *queueProgram) reachAny(ctx context.Context, work func(context.Context, *control.Client) error) error {
	return q.reach(ctx, work, locally(work))
}

// locally lets work ask this process about the queue that it has opened.
func locally(work func(context.Context, *control.Client) error) func(context.Context, *queue.Queue) error {
	return func(ctx context.Context, opened *queue.Queue) error {
		client := control.Local(opened)
		return errors.Join(work(ctx, client), client.Close())
	}
}

// stopped says what keeps a queue from being opened that was said to be stopped.
func stopped(err error) error {
	if used, ok := errors.AsType[*queue.InUseError](err); ok {
		return fmt.Errorf("%w\nleave out --offline to ask the waypost that has it", used)
	}
	if errors.Is(err, relay.ErrNoQueue) {
		return &codedError{exitUnavailable, err}
	}
	return err
}

// openStopped opens the queue that is meant, until a signal comes.
func (q *queueProgram) openStopped(ctx context.Context, work func(context.Context, *queue.Queue) error) error {
	c, err := q.config()
	if err != nil {
		return err
	}
	if q.dataDir != "" {
		c.DataDir = q.dataDir
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := q.open(ctx, c, work); errors.Is(err, relay.ErrNoQueue) {
		return fmt.Errorf("%w in %s", err, c.DataDir)
	} else if err != nil {
		return err
	}
	return nil
}

// open opens the queue of a waypost that is not running.
func (q *queueProgram) open(ctx context.Context, c *configs.Config, work func(context.Context, *queue.Queue) error) error {
	if q.changes {
		if err := checkOwner(c.DataDir, os.Geteuid()); err != nil {
			return err
		}
	}
	opened, done, err := relay.OpenQueue(c, !q.changes, relay.Options{Log: newLogger(q.stderr, c.Log, logLevel(c.Log))})
	if errors.Is(err, fs.ErrPermission) {
		err = cmp.Or(checkOwner(c.DataDir, os.Geteuid()), err)
	}
	if errors.Is(err, relay.ErrNoQueue) {
		return err
	}
	if err != nil {
		return dataDirError(err)
	}
	return errors.Join(work(ctx, opened), done())
}

// checkOwner refuses to open the queue of another user: the files that are new
// would not be that user's, and the service could not open them.
func checkOwner(dir string, uid int) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return relay.ErrNoQueue
	}
	if err != nil {
		return dataDirError(err)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if owner == uid {
		return nil
	}
	name := strconv.Itoa(owner)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return &codedError{exitPermission, fmt.Errorf(`the data directory %s belongs to %s: run this as that user, or while waypost is running`, dir, name)}
}
