package queue

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestForgedRecords: a client that puts whole records of the journal into a content,
// one for each segment that may come, keeps no start from going on, and a repair
// from nothing.
func TestForgedRecords(t *testing.T) {
	var forged []byte
	for number := uint64(1); len(forged) < inlineLimit-200; number = 1 + number%20 {
		forged = appendRecord(forged, number, recordTag{}, kindBatch, appendHold(nil, "forged.test", ID(math.MaxInt64).Arrived()))
	}
	q := open(t, &world{}, func(o *Options) { o.segment = 256 << 10 })
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	for n := int64(1); q.store.journal.number < 6; n++ {
		enqueue(t, q, "s@a.test", string(forged), "r@b.test")
		<-q.store.checkpoint // its file is used again
		dir := copyDir(t, q.dir)
		sound(t, dir, n)
		dir = copyDir(t, q.dir)
		if tear(t, dir, q.store.journal) {
			sound(t, dir, n-1)
		}
	}
}

// tear has the first sector of what was written last not be on the disk, as a power
// cut may leave it. There is nothing to be torn in a segment that has only begun.
func tear(t *testing.T, dir string, j *journal) bool {
	t.Helper()
	name := filepath.Join(dir, journalName, segmentName(j.number))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	records, last := segmentRecords{number: j.number}, 0
	for at := 0; at < len(b); {
		_, _, rest, ok := records.next(b[at:])
		if !ok {
			break
		}
		last, at = at, len(b)-len(rest)
	}
	if last == 0 {
		return false
	}
	clear(b[last : last+100])
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, journalName, markName)); err != nil {
		t.Fatal(err)
	}
	return true
}

// sound opens what a crash left in dir, which has so many messages.
func sound(t *testing.T, dir string, messages int64) {
	t.Helper()
	if _, err := VerifyDir(context.Background(), dir, func(d Damage) { t.Errorf("damage: %s", d.Reason) }); err != nil {
		t.Error(err)
	}
	q := open(t, &world{}, func(o *Options) { o.Dir = dir })
	if s := q.Stats(); s.Messages != messages || len(q.HeldDestinations()) != 0 {
		t.Errorf("%d messages, want %d; on hold: %v", s.Messages, messages, q.HeldDestinations())
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
