package main_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
)

// TestImportCrash kills the program again and again while it imports, and
// begins the import anew. In the end each message is there once, unchanged.
func TestImportCrash(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	archive := filepath.Join(t.TempDir(), "queue.tar")
	ledger := exportMany(t, archive, 3000)
	binary := build(t)
	// Nobody listens there, so that everything stays.
	config := writeConfig(t, settings{nextHop: "127.0.0.1:9"})
	cut := 0
	for range 10 {
		p := start(t, binary, config)
		command := exec.CommandContext(t.Context(), binary, "queue", "import", "-c", config, archive)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(150 * time.Millisecond)))) // a moment to be killed at, not one to wait for
		p.kill()
		if err := command.Wait(); err != nil {
			cut++
		}
	}
	t.Logf("%d of 10 imports were cut off", cut)
	p := start(t, binary, config)
	for _, args := range [][]string{{"import", archive}, {"export", "-o", archive + ".again"}} {
		out, err := exec.CommandContext(t.Context(), binary, append([]string{"queue", "-c", config}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("waypost queue %s: %v\n%s", args[0], err, out)
		}
		t.Logf("%s", out)
	}
	p.stop()
	for content := range contentsOf(t, archive+".again") {
		if _, ok := ledger[content]; !ok {
			t.Errorf("there is %.60q, which was never exported", content)
		}
		ledger[content]++
	}
	for content, n := range ledger {
		if n != 1 {
			t.Errorf("%.60q is there %d times", content, n)
		}
	}
}

// idle is what a queue needs that is never run.
type idle struct{}

func (idle) Deliver(context.Context, *queue.Message, *queue.Delivery) queue.Outcome {
	return queue.Outcome{}
}
func (idle) Destination(_ *queue.Envelope, r *queue.Recipient) string { return r.Path.DomainKey() }
func (idle) Compose(io.Writer, queue.Report) (eightBit, utf8 bool, err error) {
	return false, false, nil
}

// exportMany writes an archive of n messages, some of them large, and returns
// their contents.
func exportMany(t *testing.T, name string, n int) map[string]int {
	t.Helper()
	q, err := queue.Open(queue.Options{Dir: t.TempDir(), Deliverer: idle{}, Router: idle{}, Reporter: idle{}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ledger := map[string]int{}
	for i := range n {
		content := fmt.Sprintf("Subject: message %d\r\n\r\n", i)
		if i%100 == 0 {
			content += strings.Repeat("0123456789abcdef\r\n", 5000)
		}
		ledger[content] = 0
		d := q.NewDraft()
		_, err := io.WriteString(d, content)
		if err == nil {
			err = d.Commit(queue.Envelope{}, []queue.Recipient{{Path: smtp.Path{Local: "r", Domain: "b.example"}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Export(t.Context(), file, queue.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return ledger
}

// contentsOf yields the contents in an archive.
func contentsOf(t *testing.T, name string) func(yield func(string) bool) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return func(yield func(string) bool) {
		for archive := tar.NewReader(file); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(h.Name, ".eml") {
				continue
			}
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(string(text)) {
				return
			}
		}
	}
}
