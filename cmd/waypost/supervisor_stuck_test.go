package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestWatchdogIsSilentWhenStuck has the service manager hear nothing while a part
// of the relay is stuck, so that it ends it, and hear from it again afterwards.
func TestWatchdogIsSilentWhenStuck(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "2000")
	ctx, cancel := context.WithCancel(t.Context())
	stuck, loose, ended := make(chan bool), make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		asked := 0
		(&supervisor{slog.New(slog.DiscardHandler)}).watch(ctx, func() {
			if asked++; asked == 2 {
				close(stuck)
				<-loose
			}
		})
	}()
	hear := func(within time.Duration) error {
		if err := manager.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, err := manager.Read(make([]byte, 100))
		return err
	}
	if err := hear(patience); err != nil {
		t.Fatalf("nothing is heard while all is well: %v", err)
	}
	<-stuck
	if err := hear(50 * time.Millisecond); err == nil {
		t.Error("it says that it is alive while it is stuck")
	}
	close(loose)
	if err := hear(patience); err != nil {
		t.Errorf("nothing is heard when it goes on: %v", err)
	}
	cancel()
	<-ended
}
