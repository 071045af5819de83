package main

import (
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
// with the data directory when none is running.
func (q *queueProgram) reach(ctx context.Context, online func(context.Context, *control.Client) error, offline func(context.Context, *queue.Queue) error) error {
	client, err := q.dial()
	if err == nil {
		return q.with(ctx, client, online)
	}
	if _, ok := errors.AsType[*control.NotRunningError](err); !ok {
		return err
	}
	c, failed := q.config()
	if failed != nil {
		return failed
	}
	if q.dataDir != "" {
		c.DataDir = q.dataDir
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	failed = q.open(ctx, c, offline)
	if errors.Is(failed, relay.ErrNoQueue) {
		return &codedError{exitUnavailable, fmt.Errorf("%w, and there is no queue in it either", err)}
	}
	return failed
}

// open opens the queue of a waypost that is not running.
func (q *queueProgram) open(ctx context.Context, c *configs.Config, work func(context.Context, *queue.Queue) error) error {
	if err := checkOwner(c.DataDir, os.Geteuid()); err != nil {
		return err
	}
	opened, done, err := relay.OpenQueue(c, relay.Options{Log: newLogger(q.stderr, c.Log, logLevel(c.Log))})
	if err != nil {
		return err
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
		return err
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
