//go:build interop

package main_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestEphemeralStorage has the data directory on a tmpfs, which keeps no mail:
// serve and check refuse it, by what they say and by their exit code, until
// the configuration allows it.
func TestEphemeralStorage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a tmpfs takes root")
	}
	binary := build(t)
	mount := t.TempDir()
	if err := syscall.Mount("waypost-test", mount, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(mount, "not", "there", "yet")
	config := writeConfig(t, settings{dataDir: dir, nextHop: "127.0.0.1:9"})
	run := func(ephemeral, command string) (code int, output string) {
		cmd := exec.CommandContext(t.Context(), binary, command, "-c", config)
		cmd.Env = append(os.Environ(), "WAYPOST_QUEUE_EPHEMERAL="+ephemeral)
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode(), string(out)
		} else if err != nil {
			t.Fatal(err)
		}
		return 0, string(out)
	}
	for _, command := range []string{"serve", "check"} {
		code, out := run("false", command)
		if code != 78 {
			t.Errorf("%s: exit code %d, want 78", command, code)
		}
		for _, want := range []string{dir, "tmpfs", "queue.ephemeral", "WAYPOST_QUEUE_EPHEMERAL"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not name %s: %s", command, want, out)
			}
		}
	}
	if entries, err := os.ReadDir(mount); err != nil || len(entries) > 0 {
		t.Errorf("the refusal left %v (%v)", entries, err)
	}
	if code, out := run("true", "check"); code != 0 || !strings.Contains(out, "the data directory "+dir+" is on tmpfs") {
		t.Errorf("check with the permission: exit code %d, %s", code, out)
	}
	p := start(t, binary, config) // it has ephemeral = true
	p.mu.Lock()
	warned := strings.Count(strings.Join(p.tail, "\n"), "is on tmpfs")
	p.mu.Unlock()
	if warned != 1 {
		t.Errorf("%d warnings, want one", warned)
	}
	p.stop()
}
