package main

import (
	"bufio"
	"log/slog"
	"strings"
	"testing"

	"waypost/configs"
)

func TestLogger(t *testing.T) {
	for _, test := range []struct {
		config configs.Log
		want   []string // the levels that are logged, and how the lines begin
		begin  string
	}{
		{configs.Log{Format: configs.FormatAuto, Level: configs.LevelInfo}, []string{"INFO", "WARN", "ERROR"}, "{"},
		{configs.Log{Format: configs.FormatJSON, Level: configs.LevelError}, []string{"ERROR"}, "{"},
		{configs.Log{Format: configs.FormatText, Level: configs.LevelWarn}, []string{"WARN", "ERROR"}, "time="},
		{configs.Log{Format: configs.FormatText, Level: configs.LevelDebug}, []string{"DEBUG", "INFO", "WARN", "ERROR"}, "time="},
	} {
		var out strings.Builder
		log := newLogger(&out, test.config, logLevel(test.config))
		log.Debug("said")
		log.Info("said")
		log.Warn("said")
		log.Error("said")
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%+v: got %q, want one line each of %v", test.config, lines, test.want)
			continue
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, test.begin) || !strings.Contains(line, test.want[i]) {
				t.Errorf("%+v: got %q, want a line of %s that begins with %s", test.config, line, test.want[i], test.begin)
			}
		}
	}
}

func TestLogOnTerminalIsText(t *testing.T) {
	near, far, err := openTerminal(80)
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	newLogger(far, configs.Log{Format: configs.FormatAuto}, slog.LevelInfo).Info("said")
	if line, err := bufio.NewReader(near).ReadString('\n'); err != nil || !strings.HasPrefix(line, "time=") {
		t.Errorf("got %q, %v, want text", line, err)
	}
}

func TestLogWithPseudonyms(t *testing.T) {
	for _, format := range []string{configs.FormatJSON, configs.FormatText} {
		var out strings.Builder
		log := newLogger(&out, configs.Log{Format: format, Pseudonyms: true}, slog.LevelInfo)
		log.With("from", "bob@example.org").Info("delivery", "rcpt", "carol@b.test", "reply", "550 <carol@b.test>: no", "queue_id", "6H0AW8Q780000", "n", 1)
		got := out.String()
		if strings.Contains(got, "bob") || strings.Contains(got, "carol") || strings.Count(got, "@b.test") != 2 || strings.Count(got, "user-") != 3 || !strings.Contains(got, "6H0AW8Q780000") {
			t.Errorf("%s: got %q", format, got)
		}
	}
}
