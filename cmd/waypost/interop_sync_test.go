//go:build interop

package main_test

import (
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestFailedSync has the disk fail at the n-th sync, and at each one after it.
// The program must not acknowledge what was in it, must not try again, and must
// end with 74; at the next start everything that it acknowledged is there.
func TestFailedSync(t *testing.T) {
	binary := build(t)
	for n := 1; n <= 20; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if injected := failCalls(t, binary, "fdatasync", "EIO", n); injected != 1 {
				t.Errorf("%d syncs failed, want 1: a failed one is never tried again", injected)
			}
		})
	}
}

// TestFailedWrite has the n-th write to journal or index fail, and each one
// after it, because the disk is full or broken.
func TestFailedWrite(t *testing.T) {
	binary := build(t)
	for _, fault := range []string{"ENOSPC", "EDQUOT", "EIO"} {
		for _, n := range []int{1, 2, 3, 5, 8, 13, 21, 34} {
			t.Run(fmt.Sprintf("%s %d", fault, n), func(t *testing.T) {
				if injected := failCalls(t, binary, "pwrite64", fault, n); injected == 0 {
					t.Error("no write failed")
				}
			})
		}
	}
}

// failCalls lets clients send while the n-th system call of a kind fails, and
// each one after it. The program must end with 74, having answered nobody for
// good; what it acknowledged is there when it starts again. It returns how many
// calls failed.
func failCalls(t *testing.T, binary, call, fault string, n int) (injected int) {
	t.Helper()
	dataDir := filepath.Join(t.TempDir(), "data")
	config := writeConfig(t, settings{dataDir: dataDir, nextHop: "127.0.0.1:9"})
	p := start(t, binary, config)
	trace := filepath.Join(t.TempDir(), "trace")
	tracer := runBackground(t, tool(t, "strace", "strace"), "-f", "-qq", "-o", trace, "-p", fmt.Sprint(p.cmd.Process.Pid),
		"-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d+", call, fault, n))
	waitFor(t, "strace to attach", func() bool { return traced(t, p.cmd.Process.Pid) })
	acknowledged := sendUntilRefused(t, p.smtp[0])
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 74 {
		t.Errorf("exit code %d, want 74", code)
	}
	tracer.stop()
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	wantQueued(t, binary, config, acknowledged)
	return strings.Count(string(calls), "(INJECTED)")
}

// sendUntilRefused sends from five clients until they are refused or cut off,
// and returns the queue IDs of what was acknowledged. A fault of the program's
// is never the client's (RFC 5321 §4.2.1).
func sendUntilRefused(t *testing.T, address string) (acknowledged []string) {
	t.Helper()
	var mu sync.Mutex
	var clients sync.WaitGroup
	for i := range 5 {
		clients.Go(func() {
			c, err := dial(address)
			if err != nil {
				return // it may have ended already
			}
			defer c.close()
			for j := 0; ; j++ {
				id, err := c.data(envelope{from: "s@a.example", to: []string{fmt.Sprintf("r%d-%d@b.example", i, j)}}, []byte("Subject: x\r\n\r\nx\r\n"))
				if err != nil {
					if reply, ok := errors.AsType[*textproto.Error](err); ok && reply.Code >= 500 {
						t.Errorf("a fault of ours was answered with %v", err)
					}
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, id)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return acknowledged
}

// wantQueued starts the program, and looks whether those messages are there.
func wantQueued(t *testing.T, binary, config string, ids []string) {
	t.Helper()
	p := start(t, binary, config)
	defer p.stop()
	if len(ids) == 0 {
		return
	}
	args := append([]string{"queue", "show", "-c", config}, ids...)
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		t.Errorf("of %d acknowledged messages not all are there: %v\n%.2000s", len(ids), err, out)
	}
}

// traced reports whether every thread of a process has a tracer.
func traced(t *testing.T, pid int) bool {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(names) == 0 {
		t.Fatalf("process %d is gone: %v", pid, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || strings.Contains(string(text), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}
