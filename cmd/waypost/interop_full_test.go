//go:build interop

package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a new file system of that kind and size until the test ends, and
// returns where.
func smallDisk(t *testing.T, kind, pkg string, size int64, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(mount, 0o700)); err != nil {
		t.Fatal(err)
	}
	command(t, tool(t, "mkfs."+kind, pkg), append(options, "-q", image)...)
	command(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return mount
}

// fill leaves no room in a directory: first for another file, then for an octet.
func fill(t *testing.T, dir string) (undo func()) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	if err := os.Mkdir(ballast, 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := os.Create(filepath.Join(ballast, "0"))
	for i := 1; err == nil; i++ {
		err = os.WriteFile(filepath.Join(ballast, fmt.Sprint(i)), nil, 0o600)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filled with files: %v", err)
	}
	if _, err := io.Copy(first, neverEnding{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filled with octets: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(ballast); err != nil {
			t.Error(err)
		}
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// A stopped queue can be looked at where nothing can be written: on a disk that has
// no octet and no inode left, what was set aside included, and on one that is
// read-only. Not a file of it is changed.
func TestLookOnFullDisk(t *testing.T) {
	mount := smallDisk(t, "ext4", "e2fsprogs", 192<<20, "-N", "1200")
	dir := filepath.Join(mount, "data")
	binary, config := build(t), writeConfig(t, settings{dataDir: dir, nextHop: "127.0.0.1:9", queue: smallFloor, more: smallMessages})
	p := start(t, binary, config)
	ids := sendSome(t, p.smtp[0], 20, 100)
	ids = append(ids, sendSome(t, p.smtp[0], 1, 200_000)...)
	gone := sendSome(t, p.smtp[0], 1, 100)[0]
	command(t, binary, "queue", "remove", "-c", config, gone)
	p.kill()
	if err := os.Remove(filepath.Join(dir, "journal", "reserve")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	undo := fill(t, mount)
	state := func() string {
		return command(t, "sh", "-c", `cd "$0" && find . -printf '%p %s %T@ %m\n' | sort && find . -type f -exec sha256sum {} +`, dir)
	}
	before := state()
	look := func(where string) {
		t.Helper()
		archive := filepath.Join(t.TempDir(), "queue.tar") // elsewhere
		for _, tc := range []struct {
			args []string
			want string
			n    int
		}{
			{[]string{"list", "--offline", "--json"}, `"id"`, len(ids)},
			{append([]string{"show", "--offline", "--json"}, ids...), `"id"`, len(ids)},
			{[]string{"stats", "--offline", "--json"}, fmt.Sprintf(`"messages": %d`, len(ids)), 1},
			{[]string{"cat", "--offline", ids[0]}, "Subject: x\r\n", 1},
			{[]string{"cat", "--offline", ids[20]}, "Subject: x\r\n", 1},
			{[]string{"export", "--offline", "-o", archive}, fmt.Sprintf("%d messages exported", len(ids)), 1},
			{[]string{"verify", "--offline"}, "nothing is wrong", 1},
			{[]string{"hold", "--offline", "--all", "--dry-run"}, fmt.Sprintf("%d messages", len(ids)), 1},
		} {
			args := append([]string{"queue", "-c", config}, tc.args...)
			if out := command(t, binary, args...); strings.Count(out, tc.want) != tc.n {
				t.Errorf("%s: %q has not %d times %q:\n%.2000s", where, tc.args, tc.n, tc.want, out)
			}
		}
		for _, id := range []string{gone, ids[0]} {
			if out := command(t, binary, "trace", "--offline", "-c", config, id); strings.Count(out, id) != 1 {
				t.Errorf("%s: the trace of %s:\n%s", where, id, out)
			}
		}
		if after := state(); after != before {
			t.Errorf("%s: changed from\n%s\nto\n%s", where, before, after)
		}
	}
	look("full")
	command(t, "mount", "-o", "remount,ro", mount)
	look("read-only")
	cmd := exec.CommandContext(t.Context(), binary, "queue", "hold", "--offline", "--all", "-c", config)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "read-only file system") {
		t.Errorf("put on hold: %v, %s", err, out)
	}
	command(t, "mount", "-o", "remount,rw", mount)
	undo()
	wantQueued(t, binary, config, ids)
}
