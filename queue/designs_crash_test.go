package queue

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// after is what a crash leaves behind so many writes and syncs: what was synced,
// and of each sector that was not what keep says.
func (f files) after(ops []designOp, keep func() bool) files {
	left, synced := files{}, map[string]int{}
	for name, b := range f {
		left[name] = bytes.Clone(b)
	}
	for i, op := range ops {
		if op.sync {
			synced[op.file] = i
		}
	}
	for i, op := range ops {
		if op.gone && keep() {
			delete(left, op.file)
		}
		for at := 0; at < len(op.data); at += tornSector {
			if i > synced[op.file] && !keep() {
				continue
			}
			end := min(at+tornSector, len(op.data))
			b := left[op.file]
			b = append(b, make([]byte, max(int(op.at)+end-len(b), 0))...)
			copy(b[int(op.at)+at:], op.data[at:end])
			left[op.file] = b
		}
	}
	return left
}

// Wherever a crash stops a design among its writes and syncs, and whatever it
// leaves of what was not synced: every batch that was acknowledged is there, the
// one that was under way is there whole or not at all, and the store goes on.
func TestDesignsCrash(t *testing.T) {
	for name, open := range designs {
		t.Run(name, func(t *testing.T) { crashDesign(t, open) })
	}
}

func crashDesign(t *testing.T, open func(*designDisk) (design, error)) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	disk := &designDisk{dir: t.TempDir(), segment: 8 << 10}
	d, err := open(disk)
	if err != nil {
		t.Fatal(err)
	}
	base := readFiles(t, disk.dir)
	disk.recording = true
	states, ends := []map[uint64]string{{}}, []int{0} // after each batch, and how many operations it took
	for id := uint64(0); len(states) <= 25; {
		b, now := designBatch{add: map[uint64][]byte{}}, maps.Clone(states[len(states)-1])
		for old := range now {
			if random.IntN(3) == 0 {
				b.done = append(b.done, old)
				delete(now, old)
			}
		}
		for range 1 + random.IntN(3) {
			id++
			now[id] = strings.Repeat(fmt.Sprintf("%d ", id), 1+random.IntN(300))
			b.add[id] = []byte(now[id])
		}
		if err := d.commit(b); err != nil {
			t.Fatal(err)
		}
		states, ends = append(states, now), append(ends, disk.note())
	}
	if got, err := d.all(); err != nil || !maps.Equal(got, states[len(states)-1]) {
		t.Fatalf("without a crash: %d messages, %v", len(got), err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	for n := range len(disk.ops) + 1 {
		last := len(ends) - 1
		for ends[last] > n {
			last--
		}
		may := states[last:min(last+2, len(states))]
		for what, keep := range map[string]func() bool{
			"nothing": func() bool { return false }, "all": func() bool { return true }, "a part": func() bool { return random.IntN(2) == 0 },
		} {
			checkDesign(t, open, base.after(disk.ops[:n], keep), may)
			if t.Failed() {
				t.Fatalf("stopped behind operation %d of %d, with %s of what was not synced; seed %d", n, len(disk.ops), what, seed)
			}
		}
	}
	t.Logf("stopped %d times", 3*(len(disk.ops)+1))
}

// checkDesign opens what is left, which must be one of some states, and goes on.
func checkDesign(t *testing.T, open func(*designDisk) (design, error), left files, may []map[uint64]string) {
	t.Helper()
	disk := &designDisk{dir: filepath.Join(t.TempDir(), "left"), segment: 8 << 10, noSync: true}
	if err := left.write(disk.dir); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(disk.dir)
	d, err := open(disk)
	if err != nil {
		t.Error(err)
		return
	}
	got, err := d.all()
	if err != nil || !slices.ContainsFunc(may, func(m map[uint64]string) bool { return maps.Equal(m, got) }) {
		t.Errorf("there are %d messages (%v), and there were %d, or %d", len(got), err, len(may[0]), len(may[len(may)-1]))
	}
	const more = 1 << 20
	got[more] = "more"
	if err := d.commit(designBatch{add: map[uint64][]byte{more: []byte("more")}}); err != nil {
		t.Error(err)
	}
	if then, err := d.all(); err != nil || !maps.Equal(then, got) {
		t.Errorf("going on: %d messages, want %d (%v)", len(then), len(got), err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
