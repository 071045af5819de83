//go:build interop

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskBreaks has a real disk fail under the program: every write from some
// moment on, or a file system that becomes read-only. It ends with 74 and
// answers nobody for good. Once the disk is well, what was acknowledged is there.
func TestDiskBreaks(t *testing.T) {
	binary := build(t)
	for name, fault := range map[string]func(t *testing.T, d *disk){
		"writes fail": func(_ *testing.T, d *disk) { d.fail(true) },
		// What a kernel does that has found its file system damaged.
		"read-only": func(t *testing.T, d *disk) { command(t, "mount", "-o", "remount,abort", d.mountPoint) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, 256<<20)
			d.mount("commit=1")
			dataDir := func() settings {
				return settings{dataDir: filepath.Join(d.mountPoint, "data"), nextHop: "127.0.0.1:9", queue: smallFloor, more: smallMessages}
			}
			p := start(t, binary, writeConfig(t, dataDir()))
			before := sendSome(t, p.smtp[0], 20, 100)
			fault(t, d)
			after := sendUntilRefused(t, p.smtp[0])
			<-p.ended
			if code := p.cmd.ProcessState.ExitCode(); code != 74 {
				t.Errorf("exit code %d, want 74", code)
			}
			if len(after) > 0 {
				t.Errorf("%d messages were acknowledged that cannot be on the disk", len(after))
			}
			d.fail(false)
			d.unmount()
			d.mount("commit=1")
			wantQueued(t, binary, writeConfig(t, dataDir()), before)
			d.unmount()
		})
	}
}

// sendSome sends a number of messages, and returns their queue IDs.
func sendSome(t *testing.T, address string, messages, size int) (ids []string) {
	t.Helper()
	c := mustDial(t, address)
	content := append([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("x\r\n"), size/3)...)
	for range messages {
		id, err := c.data(envelope{from: "s@a.example", to: []string{"r@b.example"}}, content)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// TestLostFiles takes files of the queue away while the program is down. It
// never goes on as if they had been empty.
func TestLostFiles(t *testing.T) {
	binary := build(t)
	for name, tc := range map[string]struct {
		lose func(t *testing.T, dir string)
		code int    // of serve; 0 is that it starts
		says string // the log or the error
		left int    // messages there, if it starts
	}{
		"index": {func(t *testing.T, dir string) { lose(t, dir, "index.db") }, 65, "index.db", 0},
		"empty index": {func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "index.db"), 0); err != nil {
				t.Fatal(err)
			}
		}, 65, "index.db", 0},
		"a record of the journal": {func(t *testing.T, dir string) {
			segment := journalSegment(t, dir)
			b, err := os.ReadFile(segment)
			if err != nil {
				t.Fatal(err)
			}
			b[100] ^= 1
			if err := os.WriteFile(segment, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, 65, "journal segment", 0},
		"the end of the journal": {func(t *testing.T, dir string) {
			if err := os.Truncate(journalSegment(t, dir), 4000); err != nil {
				t.Fatal(err)
			}
		}, 65, "octets of it were synced", 0},
		// As if the power had gone there: what is before it counts.
		"the end of the journal and its mark": {func(t *testing.T, dir string) {
			segment := journalSegment(t, dir)
			info, err := os.Stat(segment)
			if err == nil {
				err = errors.Join(os.Truncate(segment, 4000), os.Truncate(segment, info.Size()))
			}
			if err != nil {
				t.Fatal(err)
			}
			lose(t, dir, "journal/mark")
		}, 0, "queue open", -1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			config := writeConfig(t, settings{dataDir: dir, nextHop: "127.0.0.1:9"})
			p := start(t, binary, config)
			sendSome(t, p.smtp[0], 20, 100)
			sendSome(t, p.smtp[0], 1, 200_000)
			p.kill()
			tc.lose(t, dir)
			if tc.code != 0 {
				cmd := exec.CommandContext(t.Context(), binary, "serve", "-c", config)
				out, _ := cmd.CombinedOutput() // its code is what counts
				if code := cmd.ProcessState.ExitCode(); code != tc.code || !strings.Contains(string(out), tc.says) {
					t.Errorf("exit code %d, want %d, and this does not say %q:\n%s", code, tc.code, tc.says, out)
				}
				return
			}
			p = start(t, binary, config)
			waitFor(t, tc.says, func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return strings.Contains(strings.Join(p.tail, "\n"), tc.says)
			})
			out := command(t, binary, "queue", "list", "--json", "-c", config)
			if n := strings.Count(out, `"id"`); tc.left >= 0 && n != tc.left || n == 0 {
				t.Errorf("%d messages are there, want %d:\n%.2000s", n, tc.left, out)
			}
			p.stop()
		})
	}
}

// TestLostContent takes the file of one content away while the program is down:
// that message stays in the queue, and is told of; the others are delivered.
func TestLostContent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	book := newLedger()
	sink := newCrashSink(t, book)
	sink.close()
	binary, config := build(t), writeConfig(t, settings{dataDir: dir, nextHop: sink.address})
	p := start(t, binary, config)
	ids := sendSome(t, p.smtp[0], 1, 200_000)
	c := mustDial(t, p.smtp[0])
	for i := range 20 {
		e := envelope{from: "s@a.example", to: []string{"r@b.example"}}
		messageID := fmt.Sprintf("<%d@client.example>", i)
		id, err := c.data(e, book.compose(messageID, e.to, []byte("x\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		book.acknowledged(messageID, id)
	}
	p.kill()
	lose(t, dir, "content/*")
	sink.open()
	p = start(t, binary, config)
	waitFor(t, "the log to tell of it", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		text := strings.Join(p.tail, "\n")
		return strings.Contains(text, "its file is missing") && strings.Contains(text, ids[0])
	})
	waitFor(t, "the others to arrive", book.complete)
	if out := command(t, binary, "queue", "list", "--json", "-c", config); strings.Count(out, `"id"`) != 1 || !strings.Contains(out, ids[0]) {
		t.Errorf("not just %s is left:\n%s", ids[0], out)
	}
	p.stop()
	if len(book.faults) > 0 {
		t.Error(book.faults)
	}
}

// lose removes files.
func lose(t *testing.T, dir, pattern string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// journalSegment returns the file that the journal goes on in.
func journalSegment(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal", "0*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no journal: %v", err)
	}
	return names[len(names)-1]
}
