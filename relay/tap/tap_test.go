package tap

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func everything(*Record) bool { return true }

func TestWatch(t *testing.T) {
	var out bytes.Buffer
	tap := New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	log := slog.New(tap)
	log.Info("before")
	if log.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("nobody watches, and yet a level counts that the log leaves out")
	}
	all := tap.Watch(slog.LevelInfo, 10, everything)
	one := tap.Watch(slog.LevelDebug, 10, func(r *Record) bool { return r.Text("queue_id") == "B" })
	log.Info("first", "queue_id", "A")
	log.With("queue_id", "B", "login", "bob").Warn("second", "n", 2)
	log.Debug("third", "queue_id", "B")
	all.Stop()
	one.Stop()
	log.Warn("after", "queue_id", "B")
	if got := len(all.Lines); got != 2 {
		t.Errorf("%d lines at info, want 2", got)
	}
	if got := len(one.Lines); got != 2 {
		t.Fatalf("%d lines of B, want 2", got)
	}
	line := <-one.Lines
	if want := `"level":"WARN","msg":"second","queue_id":"B","login":"bob","n":2}`; !strings.HasSuffix(string(line.JSON), want) || line.Message != "second" {
		t.Errorf("got %s, want it to end in %s", line.JSON, want)
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "second") || !strings.Contains(got, "after") {
		t.Errorf("the log has %q", got)
	}
	if log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("a level still counts that only those wanted who have gone")
	}
}

// TestSlowWatcher has the log go on, and the watcher know what it missed.
func TestSlowWatcher(t *testing.T) {
	tap := New(slog.DiscardHandler)
	w := tap.Watch(slog.LevelInfo, 2, everything)
	defer w.Stop()
	log := slog.New(tap)
	for range 5 {
		log.Info("x")
	}
	<-w.Lines
	log.Info("y")
	<-w.Lines
	if line := <-w.Lines; line.Message != "y" || line.Missed != 3 {
		t.Errorf("got %q after %d missed, want y after 3", line.Message, line.Missed)
	}
}

func TestConcurrentWatchers(t *testing.T) {
	tap := New(slog.DiscardHandler)
	log := slog.New(tap)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				w := tap.Watch(slog.LevelInfo, 1, everything)
				log.Info("x")
				if len(w.Lines) != 1 {
					t.Error("a watcher missed the first line")
				}
				w.Stop()
			}
		})
	}
	all.Wait()
}
