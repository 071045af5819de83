package main

import (
	"io"
	"log/slog"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/configs"
	"waypost/relay/pseudonym"
)

// newLogger writes to w what the configuration wants to have logged.
// The level is that of level, which can change.
func newLogger(w io.Writer, c configs.Log, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.Pseudonyms {
		names := pseudonym.New()
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindString {
				a.Value = slog.StringValue(names.Text(a.Value.String()))
			}
			return a
		}
	}
	if c.Format == configs.FormatText || c.Format == configs.FormatAuto && terminal.Is(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(terminal.NewJSONWriter(w), options))
}

// logLevel is the least that is logged.
func logLevel(c configs.Log) slog.Level {
	return map[string]slog.Level{configs.LevelDebug: slog.LevelDebug, configs.LevelWarn: slog.LevelWarn, configs.LevelError: slog.LevelError}[c.Level]
}
