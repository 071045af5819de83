package drop

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBad means that a file is no message that can be taken.
var ErrBad = errors.New("not a message of the sendmail command")

// refusedName is the directory below for what is not taken.
const refusedName = "refused"

// Mode is that of a directory into which every user may write: they cannot
// list it, and not remove what is another's.
const Mode = 0o733 | fs.ModeSticky

// Taker puts a message into the queue.
type Taker interface {
	// Take returns nil when the message is on disk. Of an error for which
	// Permanent is true, trying again is of no use. owner is the user who
	// wrote the file; content begins at its beginning.
	Take(ctx context.Context, owner uint32, e Envelope, content io.ReadSeeker) error
	Permanent(err error) bool
}

// Collector takes messages out of a directory.
type Collector struct {
	// Dir is the directory; it is made by Open.
	Dir   string
	Taker Taker
	// Every is how often the directory is looked at; 0 means 5 seconds.
	Every time.Duration
	// Pause is how long nothing is tried after a message could not be taken
	// for now; 0 means a minute.
	Pause time.Duration
	Log   *slog.Logger // nil discards
}

// Open makes the directory where there is none. shared opens a new one to all
// users of the host.
func (c *Collector) Open(shared bool) error {
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.Pause == 0 {
		c.Pause = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return fmt.Errorf("make drop directory: %w", err)
		}
		if shared { // by itself: MkdirAll is subject to the umask
			if err := os.Chmod(c.Dir, Mode); err != nil {
				return fmt.Errorf("make drop directory: %w", err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, refusedName), 0o700); err != nil {
		return fmt.Errorf("make drop directory: %w", err)
	}
	return nil
}

// Run takes what is there, and what comes, until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := c.Every
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("mail of the sendmail command waits", "drop_dir", c.Dir, "error", err.Error(), "again_in", c.Pause.String())
			next = c.Pause
		}
		timer.Reset(next)
	}
}

// collect takes every whole message, oldest first. One that has to wait keeps no
// other from being taken; the error is the first one's.
func (c *Collector) collect(ctx context.Context) (waits error) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return fmt.Errorf("look for mail: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		err := c.take(ctx, e.Name())
		if err != nil && !errors.Is(err, ErrBad) && !c.Taker.Permanent(err) {
			waits = cmp.Or(waits, err)
			continue
		}
		if err := c.finish(e.Name(), err); err != nil {
			return err
		}
	}
	return waits
}

// finish removes a message that was taken, and sets aside one that never will
// be.
func (c *Collector) finish(name string, why error) error {
	file := filepath.Join(c.Dir, name)
	if why == nil {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("remove mail that was taken: %w", err)
		}
		return nil
	}
	aside := filepath.Join(c.Dir, refusedName, name)
	if err := os.Rename(file, aside); err != nil {
		return fmt.Errorf("set mail aside: %w", err)
	}
	c.Log.Error("mail of the sendmail command set aside", "file", aside, "error", why.Error())
	return nil
}

func (c *Collector) take(ctx context.Context, name string) error {
	// Another user's link must not lead anywhere, and a pipe not block.
	f, err := os.OpenFile(filepath.Join(c.Dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: it is no plain file", ErrBad)
	case err != nil:
		return fmt.Errorf("open mail: %w", err)
	}
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("look at mail: %w", err)
	}
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: it is no plain file", ErrBad)
	case stat.Nlink != 1:
		return fmt.Errorf("%w: it has another name elsewhere", ErrBad)
	}
	e, begin, err := readEnvelope(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		return err
	}
	return c.Taker.Take(ctx, stat.Uid, e, io.NewSectionReader(f, begin, stat.Size-begin))
}
