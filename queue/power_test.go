package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"waypost/relay/smtp"
)

// errPower is what a sync says that the power did not outlast.
var errPower = errors.New("the power is gone")

// powerDisk remembers what was synced, file by file and name by name, and can
// let the power go at a sync. What is on the disk then is what was synced, and
// of the rest any part. What bbolt and the history sync is their own affair: these
// files are taken as they are.
type powerDisk struct {
	dir     string
	mu      sync.Mutex
	random  *rand.Rand
	left    int                          // syncs that succeed before the power goes; below 0 it stays
	stable  map[uint64][]byte            // synced content, by inode
	names   map[string]map[string]uint64 // synced names and their inodes, by directory
	kept    []int                        // descriptors that keep inodes from being used again
	rest    files                        // what is left; nil as long as there is power
	gone    func()                       // is called when the power goes
	refused map[string]int               // calls by name when the power was gone
}

func newPowerDisk(dir string, seed uint64) *powerDisk {
	return &powerDisk{dir: dir, random: rand.New(rand.NewPCG(seed, 0)), left: -1, gone: func() {}, stable: map[uint64][]byte{}, names: map[string]map[string]uint64{}, refused: map[string]int{}}
}

func (p *powerDisk) sync(f *os.File) error { return p.syncData(f) }

func (p *powerDisk) syncData(f *os.File) error {
	return p.synced(f.Name(), func() error {
		kept, err := unix.Dup(int(f.Fd()))
		if err != nil {
			return err
		}
		p.kept = append(p.kept, kept)
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", kept)) // it may have another name by now
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			p.stable[inode(info)] = b
		}
		return err
	})
}

func (p *powerDisk) syncDir(name string) error {
	return p.synced(name, func() (err error) {
		p.names[name], err = namesIn(name)
		return err
	})
}

func (p *powerDisk) synced(name string, note func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 && p.rest == nil {
		if err := p.cut(); err != nil {
			return err
		}
	}
	if p.rest != nil {
		p.refused[name]++
		return errPower
	}
	p.left--
	return note()
}

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func namesIn(dir string) (map[string]uint64, error) {
	entries, err := os.ReadDir(dir)
	all := map[string]uint64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			all[e.Name()] = inode(info)
		}
	}
	return all, err
}

// goAt lets the power go at the n-th sync from now, counted from 0.
func (p *powerDisk) goAt(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// off lets the power go now, unless it is gone, and returns what is on the disk.
func (p *powerDisk) off() (files, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rest != nil {
		return p.rest, nil
	}
	err := p.cut()
	return p.rest, err
}

// cut finds what is left. The index is read behind the journal: whatever it says to be in it
// may be missing there, and not the other way round.
func (p *powerDisk) cut() error {
	p.gone()
	rest := files{}
	for _, sub := range []string{journalName, contentName} {
		dir := filepath.Join(p.dir, sub)
		now, err := namesIn(dir)
		if err != nil {
			return err
		}
		names := maps.Clone(p.names[dir])
		if names == nil {
			names = map[string]uint64{}
		}
		// Of the names that came and went since, the disk has heard of any.
		for _, name := range slices.Sorted(maps.Keys(merged(now, names))) {
			switch ino, is := now[name]; {
			case is == (names[name] != 0) && ino == names[name] || p.random.IntN(2) == 0:
			case is:
				names[name] = ino
			default:
				delete(names, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) { // in an order, so that chance is the same each time
			rest[filepath.Join(sub, name)] = p.content(filepath.Join(dir, name), names[name], now[name])
		}
	}
	if err := rest.read(p.dir, indexName); err != nil {
		return err
	}
	// The history is synced before the index says that a checkpoint is done.
	stories, err := namesIn(filepath.Join(p.dir, historyName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name := range stories {
		if err := rest.read(p.dir, filepath.Join(historyName, name)); err != nil {
			return err
		}
	}
	p.rest = rest
	return nil
}

// read adds a file of a directory.
func (f files) read(dir, name string) error {
	b, err := os.ReadFile(filepath.Join(dir, name))
	f[name] = b
	return err
}

func merged(a, b map[string]uint64) map[string]uint64 {
	a = maps.Clone(a)
	maps.Copy(a, b)
	return a
}

// content is what the disk has of a file: what was synced, and of the sectors
// that were written since any.
func (p *powerDisk) content(name string, ino, now uint64) []byte {
	b := bytes.Clone(p.stable[ino])
	if ino != now {
		return b
	}
	written, err := os.ReadFile(name)
	if err != nil {
		return b
	}
	for at := 0; at < len(written); at += tornSector {
		end := min(at+tornSector, len(written))
		if p.random.IntN(2) == 0 && (at >= len(b) || !bytes.Equal(written[at:end], b[at:min(end, len(b))])) {
			b = append(b, make([]byte, max(end-len(b), 0))...)
			copy(b[at:], written[at:end])
		}
	}
	return b
}

// adopt takes files that are on the disk for synced.
func (p *powerDisk) adopt(f files) error {
	for _, sub := range []string{journalName, contentName} {
		_ = p.syncDir(filepath.Join(p.dir, sub)) // where it is there already
	}
	for name := range f {
		if dir := filepath.Dir(name); dir != journalName && dir != contentName {
			continue
		}
		file, err := os.Open(filepath.Join(p.dir, name))
		if err == nil {
			err = errors.Join(p.sync(file), file.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// close gives the descriptors back.
func (p *powerDisk) close() {
	for _, fd := range p.kept {
		_ = unix.Close(fd)
	}
}

// write puts the files into a directory.
func (f files) write(dir string) error {
	for name, b := range f {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// wherever the power goes among the syncs of a few messages and their attempts:
// what was acknowledged is there and whole, no failure is final without its
// report, and what a sync failed for is not synced again.
func TestPowerGoesAtEachSync(t *testing.T) {
	n := 0
	for more := true; more; n++ {
		synctest.Test(t, func(t *testing.T) { more = powerGoesAt(t, n) })
	}
	t.Logf("%d syncs", n-1)
	if n < 20 {
		t.Errorf("%d syncs are too few to show anything", n-1)
	}
}

// powerGoesAt lets the power go at the n-th sync, and reports whether there
// were as many.
func powerGoesAt(t *testing.T, n int) bool {
	dir := t.TempDir()
	p := newPowerDisk(dir, uint64(n))
	defer p.close()
	w := &world{answer: func(_ *Message, d *Delivery) Outcome {
		switch d.Recipients[0].Path.Local {
		case "refused":
			return all(d, Result{State: Failed, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")})
		case "delivered":
			return all(d, Result{State: Delivered})
		}
		return all(d, deferred("later"))
	}}
	small := func(o *Options) { o.Dir, o.disk, o.segment = dir, p, 4096 }
	q := open(t, w, small)
	stop := running(t, q)
	p.goAt(n)
	acknowledged := map[ID]string{}
	for i := 0; i < 8 && q.Err() == nil; i++ {
		content := strings.Repeat(fmt.Sprintf("line of %d\r\n", i), 1+i%2*8000)
		d := q.NewDraft()
		if _, err := io.WriteString(d, content); err != nil {
			t.Fatal(err)
		}
		to := []string{"waits", "refused", "delivered", "waits"}[i/2]
		err := d.Commit(Envelope{ReversePath: path("s@sender.test")}, []Recipient{{Path: path(to + "@b.test")}})
		if err == nil {
			acknowledged[d.ID()] = to + "\n" + content
		} else if !errors.Is(err, ErrStore) {
			t.Error(err)
		}
		d.Discard()
		synctest.Wait()
	}
	gone := p.rest != nil
	if failed := q.Err() != nil; failed != gone {
		t.Errorf("at sync %d the queue says %v", n, q.Err())
	}
	rest, err := p.off()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for name, times := range p.refused {
		if times > 1 && gone {
			t.Errorf("at sync %d: %s was synced again after that had failed", n, name)
		}
	}
	again := filepath.Join(t.TempDir(), "again")
	if err := rest.write(again); err != nil {
		t.Fatal(err)
	}
	q = open(t, w, func(o *Options) { o.Dir, o.segment = again, 4096 })
	defer q.Close()
	checkAfterPower(t, n, q, acknowledged)
	return gone
}

// checkAfterPower compares what is there with what was acknowledged.
func checkAfterPower(t *testing.T, n int, q *Queue, acknowledged map[ID]string) {
	t.Helper()
	entries, _, err := q.List(Filter{}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	waits, reports := map[ID]bool{}, map[ID]bool{}
	for _, e := range entries {
		waits[e.ID] = true
		if e.ReportOn != 0 {
			reports[e.ReportOn] = true
			continue
		}
		want, acked := acknowledged[e.ID]
		_, want, _ = strings.Cut(want, "\n")
		content, err := q.Content(e.ID)
		if err != nil {
			t.Fatalf("at sync %d: %s: %v", n, e.ID, err)
		}
		if b, err := io.ReadAll(content); err != nil || acked && string(b) != want {
			t.Errorf("at sync %d: the content of %s is %.80q, want %.80q (%v)", n, e.ID, b, want, err)
		}
		content.Close()
	}
	for id, is := range acknowledged {
		switch to, _, _ := strings.Cut(is, "\n"); {
		case to == "waits" && !waits[id]:
			t.Errorf("at sync %d: %s was acknowledged, and is not there", n, id)
		case to == "refused" && waits[id] == reports[id]:
			t.Errorf("at sync %d: %s waits: %v, and is reported on: %v", n, id, waits[id], reports[id])
		}
	}
}
