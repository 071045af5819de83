//go:build interop

package main_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestManualPages has groff set every page, without a word of complaint.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), build(t), "man", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, page := range pages {
		out, err := exec.CommandContext(t.Context(), "groff", "-man", "-ww", "-z", "-Tutf8", "-Kutf8", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", filepath.Base(page), err, out)
		}
	}
}
