//go:build interop

package main_test

import (
	"errors"
	"fmt"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// a quota that does not show in what the file system says is free, as that
// of a subvolume of Btrfs. Where it leaves no room for what is to be set aside, no mail
// is taken until it does. When it runs out under the program, that ends with 74, and
// goes on when it is started again: what it acknowledged is delivered.
func TestQuota(t *testing.T) {
	mount := smallDisk(t, "btrfs", "btrfs-progs", 2<<30)
	volume := filepath.Join(mount, "volume")
	command(t, "btrfs", "quota", "enable", mount)
	command(t, "btrfs", "subvolume", "create", volume)
	limit := func(size string) { command(t, "btrfs", "qgroup", "limit", size, volume) }
	limit("100M")
	book := newLedger()
	sink := newCrashSink(t, book)
	sink.close()
	binary, config := build(t), writeConfig(t, settings{dataDir: filepath.Join(volume, "data"), nextHop: sink.address})
	p := start(t, binary, config)
	if !refusedForRoom(t, p.smtp[0]) {
		t.Error("mail is taken where there is no room for the reserve")
	}
	limit("320M")
	waitFor(t, "mail to be taken", func() bool { return !refusedForRoom(t, p.smtp[0]) })

	body := []byte(strings.Repeat("x\r\n", 10_000))
	c := mustDial(t, p.smtp[0])
	for n, ok := 0, true; ok; n++ {
		if n == 100_000 {
			t.Fatal("the quota does not run out")
		}
		e := envelope{from: "s@a.example", to: []string{"r@b.example"}}
		messageID := fmt.Sprintf("<%d@client.example>", n)
		id, err := c.data(e, book.compose(messageID, e.to, body))
		if ok = err == nil; ok {
			book.acknowledged(messageID, id)
		} else if reply, answered := errors.AsType[*textproto.Error](err); answered && reply.Code >= 500 {
			t.Errorf("a fault of ours was answered with %v", err)
		}
	}
	c.close()
	sink.open()
	for starts := 1; !book.complete(); starts++ {
		if <-p.ended; p.cmd.ProcessState.ExitCode() != 74 || starts == 20 {
			t.Fatalf("ended %d times, at last with %s", starts, p.cmd.ProcessState)
		}
		p.killed = true // its log is of no interest
		p = start(t, binary, config)
		for ended := false; !ended && !book.complete(); {
			select {
			case <-p.ended:
				ended = true
			case <-time.After(tick):
			}
		}
	}
	p.waitEmpty()
	limit("1G") // a clean end writes the index, which takes room on Btrfs
	p.stop()
	if len(book.faults) > 0 {
		t.Error(book.faults)
	}
	t.Log(book.tally())
}
