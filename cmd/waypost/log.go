package main

import (
	"io"
	"log/slog"

	"waypost/cmd/waypost/internal/terminal"
	"waypost/configs"
)

// newLogger writes to w what the configuration wants to have logged.
func newLogger(w io.Writer, c configs.Log) *slog.Logger {
	level := slog.LevelInfo
	switch c.Level {
	case configs.LevelDebug:
		level = slog.LevelDebug
	case configs.LevelWarn:
		level = slog.LevelWarn
	case configs.LevelError:
		level = slog.LevelError
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == configs.FormatText || c.Format == configs.FormatAuto && terminal.Is(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
