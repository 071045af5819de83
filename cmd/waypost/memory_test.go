package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for _, c := range []struct {
		apart time.Duration
		live  uint64
		want  int
	}{
		{2 * time.Minute, 8 << 20, 100}, // idle: as little memory as Go's rule has
		{time.Second, 8 << 20, 100},
		{30 * time.Millisecond, 8 << 20, 400},
		{30 * time.Millisecond, 2 << 20, 1600},
		{30 * time.Millisecond, 9 << 20, 350},
		{30 * time.Millisecond, 33 << 20, 100},
		{30 * time.Millisecond, 1 << 30, 100}, // the queue of millions gets no more than it would
		{30 * time.Millisecond, 0, 100},
	} {
		if got := garbagePercent(c.apart, c.live); got != c.want {
			t.Errorf("%s apart with %d octets in use: %d %%, want %d", c.apart, c.live, got, c.want)
		}
	}
}

// Each collection is followed by a look at it: much goes on, then nothing, then
// much again.
func TestCollectionsAreWatched(t *testing.T) {
	before := debug.SetGCPercent(usualGarbage)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := time.Now()
	var elapsed, apart atomic.Int64
	now := func() time.Time { return begun.Add(time.Duration(elapsed.Add(apart.Load()))) }
	collections{now: now, live: func() uint64 { return 8 << 20 }, last: begun, percent: usualGarbage}.watch(ctx)
	for _, c := range []struct {
		apart time.Duration
		want  uint64
	}{{often / 10, 400}, {often, usualGarbage}, {often / 10, 400}} {
		apart.Store(int64(c.apart))
		for late := time.Now().Add(time.Minute); ; runtime.GC() {
			sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
			metrics.Read(sample)
			percent := sample[0].Value.Uint64()
			if percent == c.want {
				break
			}
			if time.Now().After(late) {
				t.Fatalf("collections %s apart: %d %% of garbage, want %d", c.apart, percent, c.want)
			}
		}
	}
}
