//go:build interop

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sweep is one run of everything that a queue does with its disk.
type sweep struct {
	dir, backup string
	archive     []byte // of another queue
	kept        map[ID]string
	leaving     map[ID]bool // those that may have left
	w           *world
	q           *Queue
}

// run returns the first error that ends the queue. Others are answered to whoever
// asked, and the queue goes on.
func (s *sweep) run() (err error) {
	if s.q, err = Open(Options{Dir: s.dir, Deliverer: s.w, Router: s.w, Reporter: s.w, History: HistoryOptions{Size: 64 << 20}}); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.q.Run(ctx, time.Second) })
	for _, step := range []func(){s.enqueue, s.leave, s.checkpoint, s.enqueue, s.move, s.leave, s.compact, s.enqueue, s.checkpoint, s.enqueue} {
		if step(); s.q.Err() != nil {
			break
		}
	}
	cancel()
	running.Wait()
	failed := s.q.Err()
	return errors.Join(failed, s.q.Close())
}

func (s *sweep) enqueue() {
	for i := range 4 {
		content := largeContent(i)[:(inlineLimit+9)*(i%2)+99]
		d := s.q.NewDraft()
		_, err := io.WriteString(d, content)
		to := []string{"waits@b.test", "goes@c.test"}[i/2]
		if err == nil {
			s.w.mu.Lock()
			s.leaving[d.ID()] = i/2 == 1
			s.w.mu.Unlock()
			err = d.Commit(Envelope{ReversePath: path("s@a.test")}, []Recipient{{Path: path(to)}})
		}
		if err != nil {
			d.Discard()
			continue
		}
		s.kept[d.ID()] = content
	}
}

// leave waits until what can be delivered has been, and removes one.
func (s *sweep) leave() {
	for id := range s.kept {
		for s.leaving[id] && s.q.Err() == nil {
			if _, err := s.q.Show(id); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	for id := range s.kept {
		if !s.leaving[id] {
			s.leaving[id] = true
			_, _ = s.q.Remove(Filter{IDs: []ID{id}})
			return
		}
	}
}

func (s *sweep) checkpoint() { _ = s.q.checkpoint(nil) }

// move backs up, exports and imports.
func (s *sweep) move() {
	_, _ = s.q.Backup(context.Background(), s.backup)
	_, _ = s.q.Export(context.Background(), io.Discard, ExportOptions{})
	_, _ = s.q.Import(context.Background(), bytes.NewReader(s.archive), HoldAll)
	_, _, _ = s.q.HoldDestination("held.test")
}

func (s *sweep) compact() { _, _ = s.q.Compact(context.Background()) }

// fatal are syncs whose failure the queue must not outlive: what they were for is
// then unknown, and a second try proves nothing.
var fatal = regexp.MustCompile(`^fsync run-\d+/queue/(journal/\d{16}|index\.db|content/[0-9A-Z]{13})$|^fsync of the directory run-\d+/queue/(journal|content)$`)

// whichever write, sync, new file, rename or unlink fails, once or from then on:
// nothing is acknowledged that is not there later, a failed sync is the end, and
// once the disk is well the queue is. WAYPOST_TEST_SWEEP=all tries each of them.
func TestEveryChangeFails(t *testing.T) {
	disk := newFaultyDisk(t)
	other := open(t, &world{}, nil)
	enqueue(t, other, "s@a.test", "imported\r\n", "i@b.test")
	enqueue(t, other, "s@a.test", largeContent(9), "j@b.test")
	var archive bytes.Buffer
	_, err := other.Export(t.Context(), &archive, ExportOptions{})
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	disk.arm(t, 0, 0, false)
	sweepOnce(t, disk, archive.Bytes(), 0, 0, false)
	total, _ := disk.arm(t, 0, 0, false)
	all := os.Getenv("WAYPOST_TEST_SWEEP") == "all"
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d changes; seed %d", total, seed)
	kinds := map[string]int{}
	for n := 1; n <= total; n++ {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
			for _, ever := range []bool{false, true} {
				if !all && random.IntN(20) > 0 {
					continue
				}
				failed := sweepOnce(t, disk, archive.Bytes(), n, errno, ever)
				first, _, _ := strings.Cut(failed, ", ")
				kind, _, _ := strings.Cut(first, " ")
				kinds[kind]++
				if t.Failed() {
					t.Fatalf("change %d, %v, ever %v: %s", n, errno, ever, first)
				}
			}
		}
	}
	t.Logf("what failed first: %v", kinds)
}

// sweepOnce runs a sweep in which one change fails, and looks at what is left.
func sweepOnce(t *testing.T, disk *faultyDisk, archive []byte, n int, errno syscall.Errno, ever bool) (failed string) {
	t.Helper()
	base, err := os.MkdirTemp(disk.dir, "run-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{answer: func(_ *Message, d *Delivery) Outcome {
		if strings.HasPrefix(d.Destination, "b.") {
			return all(d, deferred("not now"))
		}
		return all(d, Result{State: Delivered, Reported: true})
	}}
	s := &sweep{dir: filepath.Join(base, "queue"), backup: filepath.Join(base, "backup"), archive: archive, w: w, kept: map[ID]string{}, leaving: map[ID]bool{}}
	disk.arm(t, n, errno, ever)
	end := s.run()
	if n > 0 {
		_, failed = disk.arm(t, 0, 0, false)
	} else if end != nil {
		t.Fatalf("nothing failed: %v", end)
	}
	for f := range strings.SplitSeq(failed, ", ") {
		if fatal.MatchString(f) && end == nil {
			t.Errorf("%s failed, and the queue went on", f)
		}
	}
	if names := disk.leftOpen(t); len(names) > 0 {
		t.Errorf("left open: %v", names)
	}
	if err := s.q.failedWith(); err != nil && !errors.Is(err, ErrStore) {
		t.Errorf("failed with %v", err)
	}
	s.look(t)
	if err := os.RemoveAll(base); err != nil {
		t.Error(err)
	}
	return failed
}

// failedWith is Err, also of a queue that was never open.
func (q *Queue) failedWith() error {
	if q == nil {
		return nil
	}
	return q.Err()
}

// look looks at a queue on a disk that is well.
func (s *sweep) look(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(s.dir); err != nil {
		return // the disk failed before there was anything
	}
	if _, found := verified(t, s.dir); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	q, err := Open(Options{Dir: s.dir, Deliverer: s.w, Router: s.w, Reporter: s.w, History: HistoryOptions{Size: 64 << 20}})
	if err != nil {
		t.Errorf("open on a disk that is well: %v", err)
		return
	}
	for id, content := range s.kept {
		if _, err := q.Show(id); err != nil {
			if !s.leaving[id] {
				t.Errorf("%s was acknowledged: %v", id, err)
			}
			continue
		}
		if readAll(t, q, id) != content {
			t.Errorf("%s has another content", id)
		}
	}
	if err := q.Close(); err != nil {
		t.Errorf("close on a disk that is well: %v", err)
	}
}

// whichever change fails while a queue is repaired, compacted or upgraded that
// nobody runs: once the disk is well, doing so again leaves everything there.
func TestEveryChangeOfStoppedQueueFails(t *testing.T) {
	disk := newFaultyDisk(t)
	damaged, _ := withHistory(t, 3, 2)
	q := open(t, &world{}, func(o *Options) { o.Dir = damaged })
	for i := range 6 {
		enqueue(t, q, "s@a.test", largeContent(i)[:(inlineLimit+9)*(i%2)+99], "r@b.test")
	}
	if err := q.checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	spoilt := enqueue(t, q, "s@a.test", largeContent(7), "r@b.test")
	healthy := copyDir(t, q.dir)
	if err := errors.Join(q.Close(), os.Truncate(filepath.Join(damaged, contentPath(spoilt)), 1000), os.Truncate(filepath.Join(damaged, historyPath(1)), 900)); err != nil {
		t.Fatal(err)
	}
	repair := func(dir string) error {
		_, err := RepairDir(t.Context(), dir, func(Damage) {})
		return err
	}
	compact := func(dir string) error {
		_, err := CompactDir(dir)
		return err
	}
	for name, tc := range map[string]struct {
		base string
		do   func(dir string) error
		left int
	}{
		"repair":                 {damaged, repair, 6},
		"compact":                {healthy, compact, 7},
		"upgrade from version 2": {"testdata/format2", compact, 4},
		"upgrade from version 3": {"testdata/format3", compact, 8},
		"upgrade from version 4": {"testdata/format4", compact, 10},
	} {
		t.Run(name, func(t *testing.T) {
			sweepStopped(t, disk, tc.base, tc.do, tc.left)
		})
	}
}

func sweepStopped(t *testing.T, disk *faultyDisk, base string, do func(dir string) error, left int) {
	once := func(n int, errno syscall.Errno, ever bool) (changes int, failed bool) {
		dir, err := os.MkdirTemp(disk.dir, "run-")
		if err == nil {
			err = os.CopyFS(dir, os.DirFS(base))
		}
		if err != nil {
			t.Fatal(err)
		}
		disk.arm(t, n, errno, ever)
		failed = do(dir) != nil
		changes, what := disk.arm(t, 0, 0, false)
		what = fmt.Sprintf("change %d, %v, ever %v: %s", n, errno, ever, what)
		if names := disk.leftOpen(t); len(names) > 0 {
			t.Errorf("%s; left open: %v", what, names)
		}
		if err := do(dir); err != nil {
			t.Fatalf("%s; and again: %v", what, err)
		}
		v, found := verified(t, dir)
		if len(found) > 0 || v.Messages != int64(left) {
			t.Fatalf("%s; left are %d messages: %+v", what, v.Messages, found)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		return changes, failed
	}
	total, _ := once(0, 0, false)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	runs, failures := 0, 0
	for n := 1; n <= total; n++ {
		if os.Getenv("WAYPOST_TEST_SWEEP") != "all" && random.IntN(8) > 0 && n < total {
			continue
		}
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
			for _, ever := range []bool{false, true} {
				runs++
				if _, failed := once(n, errno, ever); failed {
					failures++
				}
			}
		}
	}
	if failures == 0 {
		t.Error("nothing failed")
	}
	t.Logf("%d changes; of %d runs %d failed; seed %d", total, runs, failures, seed)
}
