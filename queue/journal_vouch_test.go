package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// threeSegments leaves a journal of three segments that were not brought into
// the index, each with three records of one message. It returns where the
// records of a segment begin, and where the last one ends.
func threeSegments(t *testing.T) (dir string, places []int64) {
	t.Helper()
	dir = t.TempDir()
	s := openTestStore(t, dir)
	id, total := ID(0), tally{}
	for number := range 3 {
		if number > 0 {
			if _, err := s.journal.rotate(); err != nil {
				t.Fatal(err)
			}
		}
		places = places[:0]
		for range 3 {
			id++
			places = append(places, s.journal.offset)
			m := &Message{ID: id, Envelope: Envelope{ReversePath: path("s@a.test"), Size: 1}, inline: []byte("x"), sum: checksum([]byte("x"))}
			d := sampleDelivery()
			d.ID, d.Index, d.Size = id, 0, 1
			total = total.plus(tallyOf(d)).plus(tally{messages: 1, bytes: 1})
			changes := appendInsert(nil, id, encodeMessage(m), []deliveryRow{{0, encodeDelivery(d)}})
			if err := s.journal.append(appendTotals(changes, d.Class, total)); err != nil {
				t.Fatal(err)
			}
		}
		places = append(places, s.journal.offset)
	}
	killed := copyDir(t, dir)
	if err := s.abandon(); err != nil {
		t.Fatal(err)
	}
	return killed, places
}

// A journal that was cut short is not taken for one that the power went in,
// wherever that can be told: by the mark, and without it, as a power cut may
// leave it, by the end of a segment and by what the index knows.
func TestTruncatedJournal(t *testing.T) {
	dir, places := threeSegments(t)
	for number := uint64(1); number <= 3; number++ {
		for what, at := range map[string]int64{"nothing": 0, "one record": places[1], "within the second": places[1] + 20, "without its last": places[2], "within the last": places[3] - 1} {
			for _, zeros := range []bool{false, true} {
				for _, marked := range []bool{true, false} {
					t.Run(fmt.Sprintf("segment %d, %s, zeros %v, mark %v", number, what, zeros, marked), func(t *testing.T) {
						refused := marked || number < 3 // the index knows the first only
						truncated(t, dir, number, at, zeros, marked, refused)
					})
				}
			}
		}
	}
}

func truncated(t *testing.T, from string, number uint64, at int64, zeros, marked, refused bool) {
	dir := copyDir(t, from)
	name := filepath.Join(dir, journalName, segmentName(number))
	info, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, at)
	}
	if err == nil && zeros {
		err = os.Truncate(name, info.Size())
	}
	if err == nil && !marked {
		err = os.Remove(filepath.Join(dir, journalName, markName))
	}
	if err != nil {
		t.Fatal(err)
	}
	_, found := verified(t, dir)
	if refused {
		if len(found) != 1 || found[0].File != filepath.Join(journalName, segmentName(number)) {
			t.Errorf("found %+v", found)
		}
		if s, err := openStoreOnly(copyDir(t, dir), 4096, func(error) {}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("journal segment %d", number)) {
			t.Errorf("opened %v: %v", s, err)
		}
		r, err := RepairDir(t.Context(), dir, func(Damage) {})
		if err != nil || r.Messages < 6 || r.Messages > 8 {
			t.Fatalf("%+v, %v", r, err)
		}
		_, found = verified(t, dir)
	}
	if len(found) > 0 {
		t.Errorf("left is %+v", found)
	}
	s := openTestStore(t, dir)
	if got := contents(t, s); len(got) < 6 || len(got) > 8 {
		t.Errorf("%d messages", len(got))
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// The index vouches for the file of the segment that is being written, also
// after a checkpoint, and for its being there.
func TestCheckpointVouchesForNextSegment(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	for id := range ID(200) {
		insertOne(t, s, id+1, "some content, so that segments fill up")
	}
	<-s.checkpoint
	last := s.journal.number
	killed := copyDir(t, dir)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if last < 3 {
		t.Fatalf("%d segments", last)
	}
	journal := filepath.Join(killed, journalName)
	if err := os.Remove(filepath.Join(journal, markName)); err != nil {
		t.Fatal(err)
	}
	for what, do := range map[string]func(name string) error{
		"its file has 0 of": func(name string) error { return os.Truncate(name, 0) },
		// A crash between the checkpoint and the end of its segment's file leaves that.
		"it is missing": func(name string) error {
			return os.Rename(name, filepath.Join(filepath.Dir(name), segmentName(last-1)))
		},
	} {
		again := copyDir(t, killed)
		if err := do(filepath.Join(again, journalName, segmentName(last))); err != nil {
			t.Fatal(err)
		}
		if _, err := openStoreOnly(again, 4096, func(error) {}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), what) {
			t.Errorf("opened: %v, want %q", err, what)
		}
	}
}

// A mark that is damaged keeps no queue from starting, and verify names it; one
// that was cut off or never reached the disk says nothing.
func TestDamagedMark(t *testing.T) {
	killed, _ := threeSegments(t)
	for what, damages := range map[string]int{"empty": 0, "zeros": 0, "cut off": 1, "a bit": 1, "of a segment that is not there": 1} {
		t.Run(what, func(t *testing.T) {
			dir := copyDir(t, killed)
			name := filepath.Join(dir, journalName, markName)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			switch what {
			case "empty":
				b = nil
			case "zeros":
				clear(b)
			case "cut off":
				b = b[:11]
			case "a bit":
				b[7] ^= 1
			default:
				b = appendSum(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 4), 100))
			}
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, found := verified(t, dir); len(found) != damages {
				t.Errorf("found %+v", found)
			}
			s, err := openStoreOnly(copyDir(t, dir), 4096, func(error) {})
			if refused := damages == 1 && what[0] == 'o'; refused != errors.Is(err, ErrDamaged) || !refused && err != nil {
				t.Fatalf("opened: %v", err)
			}
			if err == nil {
				if n := len(contents(t, s)); n != 9 {
					t.Errorf("%d messages", n)
				}
				if err := s.close(); err != nil {
					t.Error(err)
				}
			}
			if r, err := RepairDir(t.Context(), dir, func(Damage) {}); err != nil || r.Messages != 9 {
				t.Errorf("%+v, %v", r, err)
			}
			if _, found := verified(t, dir); len(found) > 0 {
				t.Errorf("left is %+v", found)
			}
			if err := openTestStore(t, dir).close(); err != nil {
				t.Error(err)
			}
		})
	}
}
