package queue

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What is not there yet will be on the file system of what is above it.
func TestFileSystemOf(t *testing.T) {
	dir := t.TempDir()
	f, err := FileSystemOf(filepath.Join(dir, "a", "b"))
	if err != nil || f.Dir != dir {
		t.Errorf("looked at %q (%v), want %q", f.Dir, err, dir)
	}
	same, err := FileSystemOf(dir)
	if err != nil || same != f {
		t.Errorf("%+v (%v), want %+v", same, err, f)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FileSystemOf(filepath.Join(file, "below")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a file: %v", err)
	}
}
