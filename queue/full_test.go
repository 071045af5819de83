//go:build interop

package queue

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
)

// on a disk without room nothing is acknowledged that is not kept: the queue
// says ErrNoRoom before that, stops for good when it was not asked, and has
// everything that it acknowledged once there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a small file system takes root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("waypost-test", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	w := &world{}
	q := open(t, w, func(o *Options) { o.Dir, o.MinFree = dir, 8<<20 })
	kept := map[ID]bool{}
	content := strings.Repeat("x", 50_000)
	said := false
	for range 4000 {
		q.room.asked = time.Time{} // it asks once a second, and this is faster
		said = said || errors.Is(q.Room(int64(len(content))), ErrNoRoom)
		d := q.NewDraft()
		io.WriteString(d, content)
		if err := d.Commit(Envelope{ReversePath: path("s@a.test")}, []Recipient{{Path: path("r@b.test")}}); err != nil {
			if !errors.Is(err, ErrStore) {
				t.Errorf("refused with %v", err)
			}
			break
		}
		kept[d.ID()] = true
	}
	<-q.Failed()
	if !said {
		t.Error("there was room to the end")
	}
	q.Close()

	// While the disk is full, a start says so and changes nothing.
	if q, err := Open(Options{Dir: dir, Deliverer: w, Router: w, Reporter: w}); err == nil {
		q.Close()
	} else if !errors.Is(err, ErrStore) {
		t.Errorf("start on a full disk: %v", err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=512m"); err != nil {
		t.Fatal(err)
	}
	q = open(t, w, func(o *Options) { o.Dir = dir })
	for id := range kept {
		if _, err := q.Show(id); err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
	if err := q.Close(); err != nil {
		t.Error(fmt.Errorf("close: %w", err))
	}
	t.Logf("%d messages kept", len(kept))
}

// On a disk that others have filled to the last octet, a queue that was killed
// starts with what it had set aside, delivers, and sets it aside again.
func TestStartOnFullDisk(t *testing.T) {
	const segment, reserve = 1 << 20, 6 << 20
	for name, size := range map[string]int64{"with a reserve": reserve, "without": 0} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("waypost-test", dir, "tmpfs", 0, "size=64m"); err != nil {
				t.Fatalf("mounting a small file system takes root: %v", err)
			}
			defer func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			}()
			w := &world{}
			options := func(o *Options) { o.Dir, o.segment, o.Reserve = filepath.Join(dir, "queue"), segment, size }
			q := open(t, w, options)
			// What only the journal has is to be brought in at the start.
			for range 100 {
				enqueue(t, q, "s@a.test", strings.Repeat("x", 20_000), "r@b.test")
			}
			<-q.store.checkpoint
			for i := range 40 {
				enqueue(t, q, "s@a.test", strings.Repeat("x", 20_000+i), "r@b.test")
			}
			q.fail(errors.New("killed"))
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			// Nor is there a segment to use again.
			if err := os.Remove(filepath.Join(q.dir, journalName, spareName)); err != nil {
				t.Fatal(err)
			}
			filler, err := os.Create(filepath.Join(dir, "filler"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(filler, neverEnding{}); !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if err := filler.Close(); err != nil {
				t.Fatal(err)
			}
			o := Options{Deliverer: w, Router: w, Reporter: w}
			options(&o)
			q, err = Open(o)
			if size == 0 {
				if !errors.Is(err, ErrStore) || !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("started: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			stop := running(t, q)
			for q.Stats().Messages > 0 && q.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if len(w.tried("r")) != 140 || q.Err() != nil {
				t.Errorf("%d attempts, %v", len(w.tried("r")), q.Err())
			}
			held := func() bool {
				_, err := os.Stat(filepath.Join(q.dir, journalName, reserveName))
				return err == nil
			}
			if held() {
				t.Error("the reserve is still there")
			}
			if err := errors.Join(os.Remove(filler.Name()), q.checkpoint(nil)); err != nil {
				t.Error(err)
			}
			if !held() {
				t.Error("nothing is set aside again")
			}
			stop()
			if v, found := verified(t, q.dir); len(found) > 0 || v.Messages != 0 {
				t.Errorf("%+v, %+v", v, found)
			}
		})
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// A history that has no room, for octets or for another file, costs no mail: it
// is lost, and counted, and said once.
func TestFullHistory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting a small file system takes root")
	}
	for _, options := range []string{"size=64k", "nr_inodes=1"} { // the one is the directory
		t.Run(options, func(t *testing.T) {
			var log strings.Builder
			w := &world{}
			dir := t.TempDir()
			mount := filepath.Join(dir, historyName)
			if err := errors.Join(os.Mkdir(mount, 0o700), syscall.Mount("waypost-test", mount, "tmpfs", 0, options)); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := syscall.Unmount(mount, 0); err != nil {
					t.Error(err)
				}
			}()
			m := metrics.New(nil)
			q := open(t, w, func(o *Options) {
				keeping(o)
				o.Dir, o.Metrics, o.Log = dir, m, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			})
			stop := running(t, q)
			for range 30 {
				for range 20 {
					enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
				}
				if err := q.checkpoint(nil); err != nil {
					t.Fatal(err)
				}
			}
			for q.Stats().Messages > 0 {
				time.Sleep(time.Millisecond)
			}
			stop()
			if n := testutil.ToFloat64(m.HistoryLost); n == 0 || n > 600 {
				t.Errorf("%v lost", n)
			}
			// A small block may find room behind a large one that did not.
			said, again := strings.Count(log.String(), "history not written"), strings.Count(log.String(), "history written again")
			if said == 0 || said > again+1 {
				t.Errorf("said %d times, and %d times that it is well: %s", said, again, &log)
			}
			if len(w.tried("r")) != 600 {
				t.Errorf("%d attempts", len(w.tried("r")))
			}
			q = open(t, w, func(o *Options) { keeping(o); o.Dir = dir })
			if s := q.Stats(); s.Messages != 0 {
				t.Errorf("left: %+v", s)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
