package main_test

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestBackupRestored has the program write a backup while clients send as fast as
// they can. It is whole as it is, and a program that starts with it delivers all that
// was acknowledged before, unchanged.
func TestBackupRestored(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	book := newLedger()
	sink := newCrashSink(t, book)
	sink.close()
	binary, dir := build(t), filepath.Join(t.TempDir(), "backup")
	config := writeConfig(t, settings{nextHop: sink.address})
	p := start(t, binary, config)
	g := newTarget()
	s := &senders{ledger: book, target: g, text: crashText(rand.New(rand.NewPCG(seed, 0)))}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for i := range 5 {
		load.Go(func() { s.sender(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)+1))) })
	}
	g.up(p.smtp[0])
	some := func(n int) func() bool { return func() bool { return book.tally().acknowledged >= n } }
	waitFor(t, "some mail", some(100))
	before := book.promised()
	command := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("waypost %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	command("queue", "backup", "-c", config, dir)
	waitFor(t, "more mail", some(book.tally().acknowledged+20)) // it was under load to its end
	stop()
	load.Wait()
	p.kill() // it is lost, with all that came later

	if out := command("queue", "verify", "--data-dir", dir); !strings.Contains(out, "nothing is wrong") {
		t.Error(out)
	}
	sink.open()
	p = start(t, binary, writeConfig(t, settings{dataDir: dir, nextHop: sink.address}))
	p.waitEmpty()
	p.stop()
	for _, e := range before {
		if e.arrivals != 1 {
			t.Errorf("%s was acknowledged before the backup, and arrived %d times", e.id, e.arrivals)
		}
	}
	if len(book.faults) > 0 {
		t.Error(book.faults)
	}
	t.Logf("%d messages before the backup; %s", len(before), book.tally())
}
