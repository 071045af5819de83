//go:build interop

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// run has a program read one of our files. A program that is not installed is a
// failure and not a reason to skip.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	run(t, "promtool", "check", "config", "prometheus/prometheus.yml")
	run(t, "promtool", "check", "config", "prometheus/local.yml")
	run(t, "promtool", "check", "rules", rulesFile)
	run(t, "promtool", "test", "rules", rulesTestFile)
}

// TestSystemd has systemd check the units, with a program that is there in the
// place of ours, and rate how well the service is fenced in: 0 is best, and below
// 2 is "OK".
func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	unit := regexp.MustCompile(`(?m)^(Exec\w+)=\S+`).ReplaceAllString(read(t, unitFile), "$1=/bin/true")
	service, socket := filepath.Join(dir, filepath.Base(unitFile)), filepath.Join(dir, filepath.Base(socketFile))
	for name, text := range map[string]string{service: unit, socket: read(t, socketFile)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "systemd-analyze", "verify", "--man=no", socket, service)
	run(t, "systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", service)
}
