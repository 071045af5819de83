package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
)

// TestRepairCrash kills the program again and again while it repairs a queue,
// compacts one, or starts on one of an older format, and then lets it do so to
// the end. Every message is there, and nothing is wrong. WAYPOST_TEST_KILLS is how
// often.
func TestRepairCrash(t *testing.T) {
	kills := 8
	if s := os.Getenv("WAYPOST_TEST_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		kills = n
	}
	binary := build(t)
	queued, contents := manyQueued(t, 500)
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := os.CopyFS(damaged, os.DirFS(queued)); err != nil {
		t.Fatal(err)
	}
	lost := truncateOne(t, damaged)
	without := map[string]string{}
	for id, content := range contents {
		if id != lost {
			without[id] = content
		}
	}
	for _, tc := range []struct {
		name, dir string
		args      []string
		want      map[string]string // content by queue ID; nil is whatever there is to begin with
	}{
		{"repair", damaged, []string{"queue", "verify", "--repair"}, without},
		{"compact", queued, []string{"queue", "compact"}, contents},
		{"upgrade from version 2", "../../queue/testdata/format2", []string{"queue", "compact"}, nil},
		{"upgrade from version 3", "../../queue/testdata/format3", []string{"queue", "compact"}, nil},
		{"upgrade from version 4", "../../queue/testdata/format4", []string{"queue", "compact"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.want == nil {
				tc.want = contentsIn(t, copied(t, tc.dir))
			}
			killWhile(t, binary, tc.dir, tc.args, kills, tc.want)
		})
	}
}

// killWhile kills a command at random moments, up to three times on one
// directory, and then lets it end.
func killWhile(t *testing.T, binary, base string, args []string, kills int, want map[string]string) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	command := func(dir string) *exec.Cmd {
		cmd := exec.Command(binary, append(args, "--data-dir", dir)...)
		cmd.Env = []string{"HOME=" + dir}
		return cmd
	}
	begun := time.Now()
	if out, err := command(copied(t, base)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole := time.Since(begun)
	cut := 0
	for n := 0; n < kills; {
		dir := copied(t, base)
		for range 1 + random.IntN(3) {
			n++
			cmd := command(dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(random.Int64N(int64(whole)))) // a moment to be killed at, not one to wait for
			if err := cmd.Process.Kill(); err != nil && !strings.Contains(err.Error(), "finished") {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				cut++
			}
		}
		if out, err := command(dir).CombinedOutput(); err != nil {
			t.Fatalf("to the end: %v\n%s", err, out)
		}
		verify := exec.Command(binary, "queue", "verify", "--data-dir", dir)
		verify.Env = []string{"HOME=" + dir}
		if out, err := verify.CombinedOutput(); err != nil {
			t.Errorf("verify: %v\n%s", err, out)
		}
		got := contentsIn(t, dir)
		for id, content := range want {
			if got[id] != content {
				t.Errorf("%s is not what it was, or not there", id)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d messages, want %d", len(got), len(want))
		}
		if t.Failed() {
			t.Fatalf("seed %d, after %d kills", seed, n)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d runs were cut off; one takes %v", cut, whole.Round(time.Millisecond))
}

func copied(t *testing.T, from string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// manyQueued leaves a stopped queue of n messages, some of them large.
func manyQueued(t *testing.T, n int) (dir string, contents map[string]string) {
	t.Helper()
	dir, contents = t.TempDir(), map[string]string{}
	q, err := queue.Open(queue.Options{Dir: dir, Deliverer: idle{}, Router: idle{}, Reporter: idle{}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		content := fmt.Sprintf("Subject: message %d\r\n\r\n", i)
		if i%100 == 0 {
			content += strings.Repeat("0123456789abcdef\r\n", 5000)
		}
		d := q.NewDraft()
		_, err := io.WriteString(d, content)
		if err == nil {
			err = d.Commit(queue.Envelope{}, []queue.Recipient{{Path: smtp.Path{Local: "r", Domain: "b.example"}}})
		}
		if err != nil {
			t.Fatal(err)
		}
		contents[d.ID().String()] = content
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, contents
}

// truncateOne cuts the content of one message, and returns its queue ID.
func truncateOne(t *testing.T, dir string) (id string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "content"))
	if err != nil || len(entries) == 0 {
		t.Fatal(len(entries), err)
	}
	id = entries[0].Name()
	if err := os.Truncate(filepath.Join(dir, "content", id), 1000); err != nil {
		t.Fatal(err)
	}
	return id
}

// contentsIn returns what a stopped queue has.
func contentsIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	q, err := queue.Open(queue.Options{Dir: dir, Deliverer: idle{}, Router: idle{}, Reporter: idle{}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	entries, _, err := q.List(queue.Filter{}, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		r, err := q.Content(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("content of %s: %v", e.ID, err)
		}
		r.Close()
		all[e.ID.String()] = string(b)
	}
	return all
}
