//go:build interop

package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryLimit is how much memory the program may use for large messages, in
// octets: two of them.
const memoryLimit = 100_000_000

// TestMemory sends 20 messages of 50 MB at once. The bound is on VmHWM, the most
// that was ever resident, with the pages of the program's file and of the
// queue's index; the most of RssAnon, which is without those, is reported as
// well.
func TestMemory(t *testing.T) {
	sink := startSMTPSink(t)
	p := start(t, build(t), writeConfig(t, settings{nextHop: sink.address}))
	pid := p.cmd.Process.Pid
	idle := status(t, pid, "VmHWM")
	line := bytes.Repeat([]byte("x"), 78)
	content := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat(append(line, "\r\n"...), 49_999_920/80)...) // at most 50,000,000

	stop := make(chan struct{})
	var sampling, clients sync.WaitGroup
	anonymous := int64(0)
	sampling.Go(func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				anonymous = max(anonymous, status(t, pid, "RssAnon"))
			}
		}
	})
	wire := stuffed(content)
	begun := time.Now()
	for i := range 20 {
		clients.Go(func() {
			if err := sendWire(p.smtp[0], fmt.Sprintf("large%d@b.example", i), wire); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	accepted := time.Since(begun)
	p.waitEmpty()
	close(stop)
	sampling.Wait()
	peak := status(t, pid, "VmHWM")
	t.Logf("20 messages of %d octets: accepted in %s, gone after %s; VmHWM %.1f MB (%.1f MB at rest), RssAnon at most %.1f MB",
		len(content), accepted.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond),
		float64(peak)/1e6, float64(idle)/1e6, float64(anonymous)/1e6)
	if peak >= memoryLimit {
		t.Errorf("VmHWM is %d octets, want less than %d", peak, memoryLimit)
	}
	p.stop()
	wantWhole(t, sink, 20, content)
}

// sendWire sends one message that is dot-stuffed already.
func sendWire(address, rcpt string, wire []byte) error {
	c, err := dial(address)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.open(envelope{from: "s@a.example", to: []string{rcpt}}); err != nil {
		return err
	}
	if _, err := c.command(354, "DATA"); err != nil {
		return err
	}
	if _, err := c.conn.Write(wire); err != nil {
		return err
	}
	_, err = c.queued()
	return err
}

// status reads a figure of a process, in octets.
func status(t testing.TB, pid int, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			var kibibytes int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kibibytes); err != nil {
				t.Error(err)
			}
			return kibibytes << 10
		}
	}
	t.Errorf("no %s in the status of process %d", name, pid)
	return 0
}

// wantWhole compares what smtp-sink wrote down, behind the fields on top, with
// what was sent. Its files have LF for CRLF, and an empty line at the end.
func wantWhole(t *testing.T, sink *smtpSink, messages int, content []byte) {
	t.Helper()
	want := append(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")), '\n')
	files := sink.files(t)
	if len(files) != messages {
		t.Errorf("smtp-sink has %d messages, want %d", len(files), messages)
	}
	for _, name := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(got, want) {
			t.Errorf("a message of %d octets came as %d octets that end differently", len(want), len(got))
		}
	}
}
