package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/relay"
)

// Whoever opens the queue of another user would leave files that the service
// cannot open.
func TestCheckOwner(t *testing.T) {
	dir := t.TempDir()
	if err := checkOwner(dir, os.Geteuid()); err != nil {
		t.Errorf("our own: %v", err)
	}
	if err := checkOwner(dir, os.Geteuid()+1); exitCode(err) != exitPermission || !strings.Contains(err.Error(), dir+" belongs to ") {
		t.Errorf("another's: %v", err)
	}
	if err := checkOwner(filepath.Join(dir, "x"), 0); !errors.Is(err, relay.ErrNoQueue) {
		t.Errorf("nobody's: %v", err)
	}
}
