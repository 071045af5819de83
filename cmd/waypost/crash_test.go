package main_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// inFlight is how many transactions the program may have open with the sink,
// and so how many of them one crash may leave without a record.
const inFlight = 10

// crash is the test's world.
type crash struct {
	*testing.T
	binary, config string
	sink           *crashSink
	senders        *senders
	random         *rand.Rand
	kills          int
	slowest        time.Duration // start, from exec until mail is taken
}

// 5321-6.1-a 1123-5.3.3-a: what was acknowledged outlives the process.
//
// TestCrash kills the program again and again while clients send and the next
// hop comes and goes. Whatever was acknowledged has to arrive, whole and
// unchanged, and nothing else may (RFC 5321 §6.1). A crash may lead to
// duplicates, but only of what was under way.
//
// WAYPOST_TEST_KILLS says how often; with thousands, go test needs -timeout 0.
func TestCrash(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	book := newLedger()
	sink := newCrashSink(t, book)
	c := &crash{T: t, binary: build(t), sink: sink, random: random, kills: count(t, "WAYPOST_TEST_KILLS", defaultKills)}
	c.config = writeConfig(t, settings{
		dataDir: filepath.Join(t.TempDir(), "data"), nextHop: sink.address,
		more: "[delivery]\nconnections_per_destination = 10\n",
	})
	c.senders = &senders{ledger: book, target: newTarget(), text: crashText(random)}

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 20 {
		own := rand.New(rand.NewPCG(seed, uint64(i+1)))
		clients.Go(func() { c.senders.sender(ctx, i, own) })
	}
	t.Cleanup(clients.Wait)
	t.Cleanup(stop)
	for n := range c.kills {
		c.live()
		if (n+1)%100 == 0 || n+1 == c.kills {
			c.drain()
			c.Logf("%d kills: %s", n+1, book.tally())
		}
	}
	stop()
	clients.Wait()
	c.verify()
}

// live is one life of the program, which ends at a random moment.
func (c *crash) live() {
	c.Helper()
	p := c.begin()
	wait(c, p, time.After(100*time.Millisecond+time.Duration(c.random.Int64N(int64(700*time.Millisecond)))))
	c.senders.target.down()
	p.kill()
}

// begin starts the program. What the sink does lasts beyond the crash, so that
// some lives begin with a backlog that they cannot get rid of.
func (c *crash) begin() *process {
	c.Helper()
	begun := time.Now()
	p := start(c, c.binary, c.config)
	c.slowest = max(c.slowest, time.Since(begun))
	c.senders.ledger.light()
	c.senders.target.up(p.smtp[0])
	switch c.random.IntN(4) {
	case 0:
		c.sink.close()
	case 1:
		c.sink.open()
		c.sink.refuse()
	default:
		c.sink.open()
	}
	return p
}

// wait lets the program run until something happens.
func wait[T any](c *crash, p *process, event <-chan T) {
	c.Helper()
	select {
	case <-event:
	case <-p.ended:
		c.Fatalf("waypost ended by itself: %v", p.err)
	case <-time.After(patience):
		c.Fatal("waited in vain for the moment to end it")
	}
}

// drain lets everything arrive, and looks whether the queue knows that it is
// empty.
func (c *crash) drain() {
	c.Helper()
	c.sink.open()
	p := start(c, c.binary, c.config)
	for late := false; !late && !c.senders.ledger.complete(); {
		select {
		case <-c.senders.ledger.changed:
		case <-time.After(patience):
			late = true // the ledger says what is missing
		}
	}
	p.waitEmpty()
	list, err := exec.CommandContext(c.Context(), c.binary, "queue", "list", "--json", "-c", c.config).CombinedOutput()
	if err != nil || strings.TrimSpace(string(list)) != "[]" {
		c.Errorf("waypost queue list: %.1000s (%v), want an empty list", list, err)
	}
	p.stop()
}

// verify compares what was promised with what came.
func (c *crash) verify() {
	c.Helper()
	sum := c.senders.ledger.tally()
	c.Logf("%d kills: %s; the slowest start took %s", c.kills, sum, c.slowest.Round(time.Millisecond))
	faults := c.senders.ledger.faults
	for _, fault := range faults[:min(len(faults), 20)] {
		c.Error(fault)
	}
	if len(faults) > 20 {
		c.Errorf("and %d more", len(faults)-20)
	}
	if len(sum.lost) > 0 {
		c.Errorf("%d messages were acknowledged and never arrived, among them %q", len(sum.lost), sum.lost[:min(len(sum.lost), 20)])
	}
	// After a power cut, what arrived before the process ended is not recorded.
	if limit := inFlight*c.kills + c.senders.ledger.arrivedInTheDark; sum.duplicates > limit {
		c.Errorf("%d duplicates of %d kills, want at most %d", sum.duplicates, c.kills, limit)
	}
	if sum.acknowledged < 20*c.kills {
		c.Errorf("only %d messages were acknowledged: the clients were hardly sending", sum.acknowledged)
	}
}

// count reads a number from the environment, so that a quiet night can have
// more of a test than a change.
func count(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number from 1 on", variable, text)
	}
	return n
}
