//go:build interop

package main_test

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// powerDisk is the size of the disk that loses its power.
const powerDisk = 384 << 20

// TestPowerCut cuts the power again and again while clients send, in the middle
// of a write: what was flushed stays, of what was written after that any part. Whatever was acknowledged before the cut has to arrive.
//
// WAYPOST_TEST_CUTS says how often; with hundreds, go test needs -timeout 0.
func TestPowerCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	book := newLedger()
	sink := newCrashSink(t, book)
	d := newDisk(t, powerDisk)
	c := &crash{T: t, binary: build(t), sink: sink, random: random, kills: count(t, "WAYPOST_TEST_CUTS", 20)}
	c.senders = &senders{ledger: book, target: newTarget(), text: crashText(random)}

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range powerClients {
		own := rand.New(rand.NewPCG(seed, uint64(i+1)))
		clients.Go(func() { c.senders.sender(ctx, i, own) })
	}
	t.Cleanup(clients.Wait)
	t.Cleanup(stop)
	unflushed, flushes := 0, 0
	for n := range c.kills {
		d.mount([]string{"commit=1", "commit=5", "commit=1000"}[random.IntN(3)])
		c.config = powerConfig(t, d, sink)
		p := c.begin()
		var next []byte
		cut := make(chan struct{})
		d.arm(1+random.IntN(400), random, func(rest []byte, cached int) {
			book.cut() // what is acknowledged from now on does not count
			next, unflushed = rest, unflushed+cached
			close(cut)
		})
		wait(c, p, cut)
		c.senders.target.down()
		p.kill()
		c.senders.target.quiet(t, powerClients)
		flushes += d.flushes
		d.unmount()
		d.stable, d.flushes = next, 0
		if (n+1)%5 == 0 || n+1 == c.kills { // the disk is small
			d.mount("commit=5")
			c.config = powerConfig(t, d, sink)
			age(t, filepath.Join(d.mountPoint, "data", "content"))
			book.light()
			c.drain()
			d.unmount()
			t.Logf("%d cuts: %s", n+1, book.tally())
		}
	}
	stop()
	clients.Wait()
	c.verify()
	t.Logf("%d flushes; at a cut, %.1f writes on average were not flushed", flushes, float64(unflushed)/float64(c.kills))
}

// age makes files two days old, as they would be if the cuts were hours apart.
// The next start removes what belongs to no message.
func age(t testing.TB, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, name := range names {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

// powerClients is how many clients send while the power is cut.
const powerClients = 20

// quiet returns when so many senders wait for another life.
func (g *target) quiet(t testing.TB, senders int) {
	waitFor(t, "the senders to notice", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.waiting == senders
	})
}

// cut says that the power is cut: what was acknowledged before counts, what
// comes later does not.
func (l *ledger) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dark = true
}

// What a small disk needs.
const (
	smallFloor    = "min_free = '1MB'\n"
	smallMessages = "[limits]\nmessage_size = '2MB'\n[history]\nsize = '64MB'\n"
)

// powerConfig is a configuration with the queue on d.
func powerConfig(t testing.TB, d *disk, sink *crashSink) string {
	t.Helper()
	return writeConfig(t, settings{
		dataDir: filepath.Join(d.mountPoint, "data"), nextHop: sink.address,
		queue: smallFloor, more: "[delivery]\nconnections_per_destination = 10\n" + smallMessages,
	})
}

// TestPowerCutInFirstStart cuts the power at each write that the first start
// makes. The next start has to find a queue or make one.
func TestPowerCutInFirstStart(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := newDisk(t, 128<<20)
	first := &firstStart{T: t, disk: d, empty: d.stable, binary: build(t)}
	writes := first.run(0, random)
	t.Logf("the first start makes %d writes", writes)
	if writes < 10 {
		t.Fatal("that is too few to be true")
	}
	for n := range writes {
		first.run(n+1, random)
		p := start(t, first.binary, first.config())
		c := mustDial(t, p.smtp[0])
		if _, err := c.data(envelope{from: "s@a.example", to: []string{"r@b.example"}}, []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
			t.Error(err)
		}
		c.close()
		p.stop()
		d.unmount()
	}
}

// firstStart is a program that has no queue yet.
type firstStart struct {
	*testing.T
	disk   *disk
	empty  []byte
	binary string
}

func (f *firstStart) config() string {
	return writeConfig(f, settings{dataDir: filepath.Join(f.disk.mountPoint, "data"), nextHop: "127.0.0.1:9", queue: smallFloor, more: smallMessages})
}

// run starts the program on an empty disk, cuts the power at the n-th write,
// and mounts what is left. The last few writes are the kernel's, at a time of
// its own, so the cut may come when the program is ready. It returns the number
// of writes. With 0 the power stays.
func (f *firstStart) run(n int, random *rand.Rand) (writes int) {
	f.Helper()
	d := f.disk
	d.stable = append([]byte(nil), f.empty...)
	d.mount("commit=1")
	cut, ready := make(chan []byte, 1), make(chan struct{})
	before := d.written()
	d.arm(n, random, func(rest []byte, _ int) { cut <- rest })
	serve := exec.CommandContext(f.Context(), f.binary, "serve", "-c", f.config())
	log, err := serve.StderrPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		f.Fatal(err)
	}
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(log); lines.Scan() && !strings.Contains(lines.Text(), `"queue open"`); {
		}
	}()
	<-ready
	writes = d.written() - before
	if err := serve.Process.Kill(); err != nil {
		f.Fatal(err)
	}
	_ = serve.Wait() // it was killed
	d.unmount()
	select {
	case d.stable = <-cut:
	default:
	}
	if n > 0 {
		d.mount("commit=1")
	}
	return writes
}
