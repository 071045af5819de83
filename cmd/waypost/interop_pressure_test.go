//go:build interop

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// below the floor of free space, or of inodes, no mail is taken, and clients are
// told to come back; what is queued is delivered all the same, and mail is taken again
// once there is room.
func TestFloorOfTheDisk(t *testing.T) {
	binary := build(t)
	for name, tc := range map[string]struct {
		options []string // of mkfs.ext4
		ballast func(t *testing.T, dir string)
	}{
		"octets": {nil, func(t *testing.T, dir string) {
			var fsys syscall.Statfs_t
			for i := 0; i == 0 || int64(fsys.Bavail)*fsys.Bsize > 50<<20; i++ {
				if err := errors.Join(os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 4<<20), 0o600), syscall.Statfs(dir, &fsys)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		"inodes": {[]string{"-N", "2000"}, func(t *testing.T, dir string) {
			for i := range 1100 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			mount := smallDisk(t, "ext4", "e2fsprogs", 256<<20, tc.options...)
			ballast := filepath.Join(mount, "ballast")
			floorOfTheDisk(t, binary, filepath.Join(mount, "data"), func() {
				if err := os.Mkdir(ballast, 0o700); err != nil {
					t.Fatal(err)
				}
				tc.ballast(t, ballast)
			}, func() {
				if err := os.RemoveAll(ballast); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func floorOfTheDisk(t *testing.T, binary, dataDir string, fill, free func()) {
	sink := newStagedSink(t)
	sink.stop("MAIL") // the queue fills
	p := start(t, binary, writeConfig(t, settings{dataDir: dataDir, nextHop: sink.listener.Addr().String(), queue: "min_free = '64MB'\n"}))
	for i := range 20 {
		sendOne(t, p.smtp[0], fmt.Sprint("before ", i))
	}
	fill()
	waitFor(t, "a refusal", func() bool { return refusedForRoom(t, p.smtp[0]) })
	sink.stop("")
	sink.hangUp()
	p.waitEmpty()
	if !refusedForRoom(t, p.smtp[0]) {
		t.Error("mail is taken where there is no room")
	}
	free()
	waitFor(t, "mail to be taken again", func() bool { return !refusedForRoom(t, p.smtp[0]) })
	sendOne(t, p.smtp[0], "after")
	p.waitEmpty()
	p.stop()
	for i := range 20 {
		sink.wantOnce(t, fmt.Sprint("before ", i))
	}
	sink.wantOnce(t, "after")
}

// refusedForRoom asks whether a message would be taken. A refusal is 452 4.3.1.
func refusedForRoom(t *testing.T, address string) bool {
	t.Helper()
	c := mustDial(t, address)
	defer c.close()
	_, err := c.command(250, "MAIL FROM:<s@a.example>")
	if err == nil {
		return false
	}
	if refusal, ok := errors.AsType[*textproto.Error](err); !ok || refusal.Code != 452 || !strings.HasPrefix(refusal.Msg, "4.3.1 ") {
		t.Fatalf("refused with %v, want 452 4.3.1", err)
	}
	return true
}

// memoryGroup is a control group of its own for memory.
type memoryGroup string

func newMemoryGroup(t *testing.T) memoryGroup {
	t.Helper()
	group := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprintf("waypost-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	return memoryGroup(group)
}

func (g memoryGroup) limit(octets int) error {
	return os.WriteFile(filepath.Join(string(g), "memory.limit_in_bytes"), fmt.Append(nil, octets), 0o644)
}

// enter has a program begin its life in the group.
func (g memoryGroup) enter(cmd *exec.Cmd) {
	cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, string(g), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// A container's limit of memory is known to the garbage collector, which leaves a
// tenth of it to what is not its own; what the environment says goes before.
func TestMemoryLimitOfAControlGroup(t *testing.T) {
	const octets = 64 << 20
	group := newMemoryGroup(t)
	if err := group.limit(octets); err != nil {
		t.Fatal(err)
	}
	binary := build(t)
	for _, c := range []struct {
		environment string
		want        float64
	}{{"", octets * 9 / 10}, {"AUTOMEMLIMIT=0.5", octets / 2}, {"GOMEMLIMIT=20MiB", 20 << 20}, {"AUTOMEMLIMIT=off", math.MaxInt64}} {
		config := writeConfig(t, settings{dataDir: filepath.Join(t.TempDir(), "data"), nextHop: "127.0.0.1:9"})
		p := start(t, binary, config, group.enter, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), c.environment) })
		if got := p.metric("go_gc_gomemlimit_bytes"); got != c.want {
			t.Errorf("with %q: a limit of %.0f octets, want %.0f", c.environment, got, c.want)
		}
		p.stop()
	}
}

// the kernel kills the program for its memory while large messages come. What
// it acknowledged is there at the next start.
func TestKilledForItsMemory(t *testing.T) {
	group := newMemoryGroup(t)
	binary, config := build(t), writeConfig(t, settings{dataDir: filepath.Join(t.TempDir(), "data"), nextHop: "127.0.0.1:9"})
	p := start(t, binary, config, group.enter)
	content := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 100_000)...)
	var mu sync.Mutex
	var acknowledged []string
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			for {
				c, err := dial(p.smtp[0])
				if err != nil {
					return
				}
				id, err := c.data(envelope{from: "s@a.example", to: []string{"r@b.example"}}, content)
				c.close()
				if err != nil {
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, id)
				mu.Unlock()
			}
		})
	}
	waitFor(t, "some messages", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged) >= 20
	})
	for octets := 128 << 20; octets > 0; octets -= 1 << 20 {
		if group.limit(octets) != nil {
			break // it needs more than that; its next page is its last
		}
	}
	p.killed = true
	<-p.ended
	clients.Wait()
	if state := p.cmd.ProcessState; state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it ended by itself: %s", state)
	}
	t.Logf("%d messages of %d octets acknowledged", len(acknowledged), len(content))
	wantQueued(t, binary, config, acknowledged)
}
