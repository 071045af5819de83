package queue

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tornSector is what a disk writes whole or not at all.
const tornSector = 512

// files is a directory, by the names below it.
type files map[string][]byte

func readFiles(t *testing.T, dir string) files {
	t.Helper()
	all := files{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		all[rel], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// found opens a store on the files and returns what is in it.
func (f files) found(t *testing.T) map[ID]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "queue")
	if err := f.write(dir); err != nil {
		t.Fatal(err)
	}
	s := openTestStore(t, dir)
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	return contents(t, s)
}

func (f files) with(name string, b []byte) files {
	f = maps.Clone(f)
	f[name] = b
	return f
}

// whatever a power cut leaves of each write to the journal, from nothing to all
// of it, by sectors, the next start finds what was committed before, and the
// last batch whole or not at all. The same for each order in which a checkpoint
// may reach the disk.
func TestEveryTornWrite(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	dir := filepath.Join(t.TempDir(), "queue")
	s := openTestStore(t, dir)
	defer func() { s.close() }()
	before, committed := readFiles(t, dir), contents(t, s)
	states, checkpoints := 0, 0
	for id := ID(1); id <= 40; id++ {
		number, offset := s.journal.number, s.journal.offset
		tornStep(t, s, random, id)
		<-s.checkpoint
		after, now := readFiles(t, dir), contents(t, s)
		segment := filepath.Join(journalName, segmentName(number))
		written := after[segment]
		rotated := s.journal.number != number
		if rotated {
			checkpoints++
			written = after[filepath.Join(journalName, spareName)]
		}
		whole := offset + recordLength(t, written[offset:], number)
		for cut := offset; cut < whole; cut += tornSector - cut%tornSector {
			b := before[segment] // longer than what was written, or shorter
			torn := slices.Concat(b[:offset], written[offset:cut], b[min(cut, int64(len(b))):])
			want := committed
			if bytes.HasPrefix(torn[offset:], written[offset:whole]) {
				want = now // what the file's earlier use left there is just what is missing
			}
			sameContents(t, before.with(segment, torn).found(t), want, "a batch cut short")
			states++
		}
		if rotated {
			for what, f := range checkpointStates(before, after, segment, written, whole) {
				sameContents(t, f.found(t), now, what)
				states++
			}
		}
		sameContents(t, after.found(t), now, "nothing cut")
		before, committed = after, now
	}
	if checkpoints < 3 || states < 150 {
		t.Errorf("%d states with %d checkpoints: too few to show anything", states, checkpoints)
	}
	t.Logf("%d states, %d checkpoints", states, checkpoints)
}

// tornStep commits one batch: a new message, and something about an old one.
func tornStep(t *testing.T, s *store, random *rand.Rand, id ID) {
	// Not so large that the file would not be kept as the spare one.
	content := strings.Repeat("x", []int{10, 500, 1000, 1700}[random.IntN(4)])
	old := 1 + ID(random.IntN(int(id)))
	must(t, s, func(b *batch) {
		b.insert(id, []byte(content), []deliveryRow{{0, []byte("d" + content)}})
		if record, _ := b.message(old); record == nil {
			return
		}
		if random.IntN(2) == 0 {
			b.remove(old)
		} else {
			b.put(deliveryKey{old, 0}, []byte("changed"))
		}
	})
}

// recordLength returns the length of the record that b begins with.
func recordLength(t *testing.T, b []byte, number uint64) int64 {
	t.Helper()
	records := segmentRecords{number: number}
	_, _, rest, ok := records.next(b)
	if !ok {
		t.Fatal("no record where one was written")
	}
	return int64(len(b) - len(rest))
}

// checkpointStates are what a power cut may leave of a checkpoint: the segment
// ends, another one begins, the index takes what it had, and the file becomes
// the spare one.
func checkpointStates(before, after files, segment string, written []byte, whole int64) map[string]files {
	const page = 4096
	unended := bytes.Clone(written)
	clear(unended[whole:])
	index, old := after[indexName], before[indexName]
	halfIndex := bytes.Clone(index) // its pages are there, and neither of the two that say so
	copy(halfIndex, old[:2*page])

	ended := before.with(segment, written)
	both := maps.Clone(after) // the next segment has begun, and nothing else has happened
	delete(both, filepath.Join(journalName, spareName))
	both[segment], both[indexName] = written, old
	return map[string]files{
		"before the segment ends":                    before.with(segment, unended),
		"before the next segment begins":             ended,
		"before the index takes anything":            both,
		"with half of the index":                     both.with(indexName, halfIndex),
		"before the segment's file is kept as spare": both.with(indexName, index),
	}
}

func sameContents(t *testing.T, got, want map[ID]string, what string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("%s: %d messages, want %d as they were committed", what, len(got), len(want))
	}
}
