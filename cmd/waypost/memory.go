package main

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// A control group may be given another limit while we run.
const memoryLimitRefresh = 30 * time.Second

// fitMemory has the collector work harder before a control group's limit is
// reached, and less hard where there is room. GOMEMLIMIT, AUTOMEMLIMIT and GOGC in
// the environment are obeyed instead.
func fitMemory(ctx context.Context, log *slog.Logger) {
	// Without a limit, or where control groups cannot be read, nothing changes.
	if limit, err := memlimit.Set(memlimit.WithRefreshInterval(ctx, memoryLimitRefresh)); err != nil {
		log.Warn("the limit of memory is not known", "error", err)
	} else {
		log.Debug("limit of memory", "octets", limit)
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		collections{now: time.Now, live: liveHeap, last: time.Now(), percent: usualGarbage}.watch(ctx)
	}
}

const (
	// usualGarbage is Go's own rule: as much garbage may gather as is in use.
	usualGarbage = 100
	// garbageRoom is what may gather while much is going on. With few messages
	// in memory the usual rule collects 33 times a second at full speed, which
	// takes a tenth of the processor time of each message.
	garbageRoom = 32 << 20
	// often is how close collections are while much is going on.
	often = time.Second
)

// collections watches the garbage collector.
type collections struct {
	now     func() time.Time
	live    func() uint64
	last    time.Time
	percent int
}

// watch looks after each collection, until ctx ends.
func (c collections) watch(ctx context.Context) {
	// An object that nobody has is gone with the next collection. A small one
	// could share its place with another that is in use.
	runtime.AddCleanup(new([64]byte), func(c collections) {
		if ctx.Err() == nil {
			c.adapted().watch(ctx)
		}
	}, c)
}

func (c collections) adapted() collections {
	now := c.now()
	percent := garbagePercent(now.Sub(c.last), c.live())
	if percent != c.percent {
		debug.SetGCPercent(percent)
	}
	c.last, c.percent = now, percent
	return c
}

// garbagePercent returns how much garbage may gather, in parts of what is in use,
// when the last collections were so far apart.
func garbagePercent(apart time.Duration, live uint64) int {
	if apart >= often || live == 0 {
		return usualGarbage
	}
	percent := garbageRoom * 100 / live
	percent -= percent % 25 // each change stops everything for a moment
	return max(usualGarbage, int(percent))
}

func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
