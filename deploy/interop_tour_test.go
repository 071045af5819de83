//go:build interop

package deploy

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTour follows TOUR.md in a copy of the tree: every block of commands, in one
// shell. What a block of text below it shows must stand in what it prints, line
// by line in this order.
func TestTour(t *testing.T) {
	dir := t.TempDir()
	run(t, "bash", "-c", fmt.Sprintf("cd .. && git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | tar -x -C %q", dir))
	blocks := regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$").FindAllStringSubmatch(read(t, "TOUR.md"), -1)
	script := strings.Builder{}
	script.WriteString("set -e\n")
	var shown []string // below each block of commands
	for _, b := range blocks {
		if b[1] == "sh" {
			fmt.Fprintf(&script, "echo; echo '== block %d'\n%s", len(shown), b[2])
			shown = append(shown, "")
		} else {
			shown[len(shown)-1] += b[2]
		}
	}
	if len(shown) < 6 {
		t.Fatalf("%d blocks of commands; have they been read?", len(shown))
	}
	c := exec.CommandContext(t.Context(), "timeout", "300", "bash", "-c", script.String())
	c.Dir = dir
	// Nothing that it leaves behind may live on.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, want := range shown {
		_, printed, _ := strings.Cut(string(out), fmt.Sprintf("\n== block %d\n", i))
		printed, _, _ = strings.Cut(printed, fmt.Sprintf("\n== block %d\n", i+1))
		rest := printed
		for line := range strings.Lines(want) {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), "…", ".*")
			pattern = regexp.MustCompile(` +`).ReplaceAllString(pattern, ` +`)
			at := regexp.MustCompile(pattern).FindStringIndex(rest)
			if at == nil {
				t.Errorf("block %d shows %q, and prints:\n%s", i, line, printed)
				break
			}
			rest = rest[at[1]:]
		}
	}
}
