package configs

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the .golden files anew")

// L-08: each with its place and its word.
//
// TestBadConfigurations loads each file of testdata/bad and compares everything
// that is wrong with it to the .golden file beside it.
//
// 2033-a: LMTP and port 25 among them.
func TestBadConfigurations(t *testing.T) {
	each(t, "testdata/bad", func(t *testing.T, _ *Config, err error) string {
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) == 0 {
			t.Fatalf("the error is %v, want problems", err)
		}
		return problems.Error() + "\n"
	})
}

// TestSuspiciousConfigurations does the same with the warnings of valid ones.
func TestSuspiciousConfigurations(t *testing.T) {
	each(t, "testdata/suspicious", func(t *testing.T, c *Config, err error) string {
		if err != nil {
			t.Fatalf("the configuration is not valid:\n%v", err)
		}
		var text strings.Builder
		for _, warning := range c.Warnings {
			text.WriteString(warning.String() + "\n")
		}
		return text.String()
	})
}

// each loads every configuration of a folder. Its lines "#env NAME=value" are
// the environment.
func each(t *testing.T, dir string, say func(*testing.T, *Config, error) string) {
	names, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no configurations in %s (%v)", dir, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var environ []string
			for line := range strings.Lines(string(text)) {
				if setting, ok := strings.CutPrefix(line, "#env "); ok {
					environ = append(environ, strings.TrimSuffix(setting, "\n"))
				}
			}
			c, err := load("waypost.toml", environ, etc(t).with("waypost.toml", text))
			compare(t, strings.TrimSuffix(name, ".toml")+".golden", say(t, c, err))
		})
	}
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(got)) {
		t.Errorf("got\n%s\nwant, as in %s,\n%s", got, golden, want)
	}
}
