//go:build interop

package main_test

import (
	"fmt"
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
	strace := tool(t, "strace", "strace")
	binary := build(t)
	for _, n := range []int{1, 2, 5, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dataDir := filepath.Join(t.TempDir(), "data")
			config := writeConfig(t, settings{dataDir: dataDir, nextHop: "127.0.0.1:9"})
			p := start(t, binary, config)
			trace := filepath.Join(t.TempDir(), "trace")
			tracer := runBackground(t, strace, "-f", "-qq", "-o", trace, "-p", fmt.Sprint(p.cmd.Process.Pid),
				"-e", "trace=fdatasync", "-e", fmt.Sprintf("inject=fdatasync:error=EIO:when=%d+", n))
			waitFor(t, "strace to attach", func() bool { return traced(t, p.cmd.Process.Pid) })

			var mu sync.Mutex
			var acknowledged []string
			var clients sync.WaitGroup
			for i := range 5 {
				clients.Go(func() {
					c, err := dial(p.smtp[0])
					if err != nil {
						return // it may have ended already
					}
					defer c.close()
					for j := 0; ; j++ {
						id, err := c.data(envelope{from: "s@a.example", to: []string{fmt.Sprintf("r%d-%d@b.example", i, j)}}, []byte("Subject: x\r\n\r\nx\r\n"))
						if err != nil {
							if strings.Contains(err.Error(), "554") || strings.Contains(err.Error(), "550") {
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
			<-p.ended
			if code := p.cmd.ProcessState.ExitCode(); code != 74 {
				t.Errorf("exit code %d, want 74", code)
			}
			tracer.stop()
			calls, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			if injected := strings.Count(string(calls), "(INJECTED)"); injected != 1 {
				t.Errorf("%d syncs failed, want 1: a failed one is never tried again", injected)
			}

			p = start(t, binary, config)
			if len(acknowledged) > 0 {
				args := append([]string{"queue", "show", "--data-dir", dataDir}, acknowledged...)
				if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
					t.Errorf("of %d acknowledged messages not all are there: %v\n%.2000s", len(acknowledged), err, out)
				}
			}
			p.stop()
		})
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
