package queue

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// a backup that is taken while mail comes and goes has everything that was
// acknowledged before and did not leave, and can be used as it is.
func TestBackupUnderLoad(t *testing.T) {
	q := open(t, &world{}, nil)
	var before []ID
	for i := range 60 {
		before = append(before, enqueue(t, q, "s@a.test", largeContent(i)[:(inlineLimit+9)*(i%2)+99], "held@b.test"))
	}
	if _, err := q.Hold(Filter{}); err != nil {
		t.Fatal(err)
	}
	stop := running(t, q)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				enqueue(t, q, "s@a.test", largeContent(i)[:(inlineLimit+9)*(i%2)+99], "r@b.test")
			}
		})
	}
	for n := range 5 {
		dir := filepath.Join(t.TempDir(), "backup")
		if n == 0 {
			if err := os.Mkdir(dir, 0o700); err != nil { // an empty one will do
				t.Fatal(err)
			}
		}
		done, err := q.Backup(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		v, found := verified(t, dir)
		if len(found) > 0 || v.Messages != done.Messages || v.Contents != done.Contents {
			t.Errorf("%+v, %+v; the backup said %+v", v, found, done)
		}
		restored := open(t, &world{}, func(o *Options) { o.Dir = dir })
		for _, id := range before {
			if _, err := restored.Show(id); err != nil {
				t.Errorf("%s: %v", id, err)
				continue
			}
			readAll(t, restored, id)
		}
		if s := restored.Stats(); s.Messages != done.Messages {
			t.Errorf("restored %d messages, want %d", s.Messages, done.Messages)
		}
		if err := restored.Close(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	load.Wait()
}

// A backup overwrites nothing, and one that fails leaves nothing.
func TestBackupRefuses(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	enqueue(t, q, "s@a.test", largeContent(1), "r@b.test")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Backup(t.Context(), full); err == nil {
		t.Error("it was written over another directory")
	}
	if _, err := q.Backup(t.Context(), filepath.Join(full, "no", "where")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory to be in: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(full, "cut")
	if _, err := q.Backup(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
	if entries, err := os.ReadDir(full); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
	if err := os.Mkdir(dir+partialSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Backup(t.Context(), dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("beside one that was cut off: %v", err)
	}
}
