package queue

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// openTestStore opens a store with small segments, so that checkpoints are
// frequent.
func openTestStore(t testing.TB, dir string) *store {
	t.Helper()
	s, err := openStoreOnly(dir, 4096, func(err error) { t.Errorf("failed: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openStoreOnly opens a store without a history.
func openStoreOnly(dir string, segment int64, failed func(error)) (*store, error) {
	return openStore(dir, segment, kernel{}, failed, HistoryOptions{}, slog.New(slog.DiscardHandler))
}

// must commits one operation.
func must(t testing.TB, s *store, change func(*batch)) {
	t.Helper()
	err := s.commit(func(b *batch) {
		b.run(func(b *batch) error {
			change(b)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func insertOne(t testing.TB, s *store, id ID, content string) {
	t.Helper()
	must(t, s, func(b *batch) { b.insert(id, []byte(content), []deliveryRow{{0, []byte("d" + content)}}) })
}

// copyDir is what a crash leaves: everything that was written.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// contents returns every message of a store with its deliveries, as text.
func contents(t testing.TB, s *store) map[ID]string {
	t.Helper()
	all := map[ID]string{}
	err := s.view(func(v *view) error {
		last := ID(0)
		return v.each(0, func(id ID, rows []deliveryRow) bool {
			if id <= last {
				t.Errorf("%d after %d", id, last)
			}
			last = id
			record, _ := v.message(id)
			all[id] = string(record)
			if !slices.EqualFunc(rows, v.deliveries(id), func(a, b deliveryRow) bool { return a.index == b.index && bytes.Equal(a.record, b.record) }) {
				t.Errorf("the deliveries of %d are found in two forms", id)
			}
			for _, d := range rows {
				all[id] += fmt.Sprintf(" %d:%s", d.index, d.record)
				if !bytes.Equal(v.delivery(deliveryKey{id, d.index}), d.record) {
					t.Errorf("delivery %d of %d is found in two forms", d.index, id)
				}
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fewChecks has rapid make n checks where the command line does not say how
// many; -rapid.checks=1000 is for a quiet night.
func fewChecks(t *testing.T, n string) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() != checks.DefValue {
		return
	}
	if err := checks.Value.Set(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
}

// whatever is done in whatever order, with crashes and clean stops between, the
// store has what a simple map has. Every step syncs, so there are few checks
// here.
func TestStoreModel(t *testing.T) {
	fewChecks(t, "8")
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		s := openTestStore(t, dir)
		defer func() { s.close() }()
		type message struct {
			class      string
			record     string
			deliveries map[uint16]string
		}
		totals := map[string]tally{}
		count := func(b *batch, class string, change tally) {
			b.count(class, change)
			if totals[class] = totals[class].plus(change); totals[class] == (tally{}) {
				delete(totals, class)
			}
		}
		model := map[ID]*message{}
		next, older := ID(1000), ID(1000) // an imported message has its age
		value := func(name string) string {
			return fmt.Sprintf("%s-%d", name, next) + string(bytes.Repeat([]byte{'x'}, rapid.SampledFrom([]int{0, 10, 500, 5000}).Draw(rt, "size")))
		}
		some := func() ID { return rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(rt, "message") }
		rt.Repeat(map[string]func(*rapid.T){
			"insert": func(*rapid.T) {
				m := &message{rapid.SampledFrom([]string{"", "bulk", "alert"}).Draw(rt, "class"), value("message"), map[uint16]string{}}
				var rows []deliveryRow
				for i := range rapid.IntRange(1, 3).Draw(rt, "deliveries") {
					m.deliveries[uint16(i)] = value("delivery")
					rows = append(rows, deliveryRow{uint16(i), []byte(m.deliveries[uint16(i)])})
				}
				id := next
				if next++; rapid.IntRange(1, 10).Draw(rt, "age") == 1 {
					older--
					id = older
				}
				must(t, s, func(b *batch) {
					b.insert(id, []byte(m.record), rows)
					count(b, m.class, tally{messages: 1, queued: int64(len(rows)), bytes: int64(len(m.record))})
				})
				model[id] = m
			},
			"put": func(*rapid.T) {
				if len(model) == 0 {
					return
				}
				id, index, v := some(), uint16(rapid.IntRange(0, 4).Draw(rt, "index")), value("changed")
				must(t, s, func(b *batch) { b.put(deliveryKey{id, index}, []byte(v)) })
				model[id].deliveries[index] = v
			},
			"remove": func(*rapid.T) {
				if len(model) == 0 {
					return
				}
				id := some()
				must(t, s, func(b *batch) {
					b.remove(id)
					count(b, model[id].class, tally{messages: -1, bytes: -int64(len(model[id].record))})
				})
				delete(model, id)
			},
			"crash": func(*rapid.T) {
				<-s.checkpoint // a copy of files that are being written is no crash
				dir = copyDir(t, dir)
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
				s = openTestStore(t, dir)
			},
			"stop": func(*rapid.T) {
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
				s = openTestStore(t, dir)
			},
			"": func(*rapid.T) {
				want := map[ID]string{}
				for id, m := range model {
					want[id] = m.record
					for i := range uint16(5) {
						if d, ok := m.deliveries[i]; ok {
							want[id] += fmt.Sprintf(" %d:%s", i, d)
						}
					}
				}
				s.view(func(v *view) error {
					for id := older; id < next; id++ {
						record, _ := v.message(id)
						if model[id] == nil && (record != nil || v.delivery(deliveryKey{id, 0}) != nil || len(v.deliveries(id)) > 0) {
							rt.Fatalf("message %d was removed, and something of it is there", id)
						}
					}
					return nil
				})
				maps.DeleteFunc(s.totals, func(_ string, t tally) bool { return t == tally{} })
				if !maps.Equal(s.totals, totals) {
					rt.Fatalf("totals are %v, want %v", s.totals, totals)
				}
				oldest := ID(0)
				if len(model) > 0 {
					oldest = slices.Min(slices.Collect(maps.Keys(model)))
				}
				if got := s.oldest(); got != oldest {
					rt.Fatalf("the oldest message is %d, want %d", got, oldest)
				}
				got := contents(t, s)
				if len(got) != len(want) {
					rt.Fatalf("%d messages, want %d", len(got), len(want))
				}
				for id := range want {
					if got[id] != want[id] {
						rt.Fatalf("message %d is %.80q, want %.80q", id, got[id], want[id])
					}
				}
			},
		})
	})
}

// A batch that was being written when the power went is forgotten, whatever
// part of it is there; what was synced before is not.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	s, err := openStoreOnly(dir, 1<<16, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for id := range ID(5) {
		insertOne(t, s, id+1, "content of some length")
	}
	before := s.journal.offset
	mark, err := os.ReadFile(filepath.Join(dir, journalName, markName)) // it is not synced, and older than the journal
	if err != nil {
		t.Fatal(err)
	}
	insertOne(t, s, 6, "the last one")
	if err := os.WriteFile(filepath.Join(dir, journalName, markName), mark, 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(journalName, segmentName(s.journal.number))
	whole, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	for cut := before; cut < s.journal.offset; cut += 5 {
		torn := slices.Clone(whole)
		clear(torn[cut:])
		again := copyDir(t, dir)
		if err := os.WriteFile(filepath.Join(again, name), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		s2 := openTestStore(t, again)
		if got := contents(t, s2); len(got) != 5 || got[5] == "" {
			t.Errorf("cut at %d: %d messages", cut-before, len(got))
		}
		// What comes after the cut one must not be taken for lost.
		insertOne(t, s2, 7, "new")
		again = copyDir(t, again)
		s2.close()
		s2 = openTestStore(t, again)
		if got := contents(t, s2); len(got) != 6 {
			t.Errorf("cut at %d, and one more: %d messages", cut-before, len(got))
		}
		s2.close()
	}
}

// damage that no power failure explains is never passed over.
func TestDamagedJournalIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string, number uint64){
		"a flipped bit before the last record": func(t *testing.T, dir string, number uint64) {
			b, err := os.ReadFile(filepath.Join(dir, segmentName(number)))
			if err != nil {
				t.Fatal(err)
			}
			b[recordHead+3] ^= 1
			if err := os.WriteFile(filepath.Join(dir, segmentName(number)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a missing segment": func(t *testing.T, dir string, number uint64) {
			if err := os.Rename(filepath.Join(dir, segmentName(number)), filepath.Join(dir, segmentName(number+1))); err != nil {
				t.Fatal(err)
			}
		},
		"a segment without its end": func(t *testing.T, dir string, number uint64) {
			if err := os.WriteFile(filepath.Join(dir, segmentName(number+1)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := openStoreOnly(dir, 1<<16, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			for id := range ID(3) {
				insertOne(t, s, id+1, "x")
			}
			again := copyDir(t, dir)
			spoil(t, filepath.Join(again, journalName), s.journal.number)
			// Without the mark it has to be seen in the segments alone.
			if err := os.Remove(filepath.Join(again, journalName, markName)); err != nil {
				t.Fatal(err)
			}
			if _, err := openStoreOnly(again, 1<<16, nil); !errors.Is(err, ErrDamaged) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// What an earlier use of the file left behind is no part of the journal.
func TestReusedSegment(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	for id := range ID(200) {
		insertOne(t, s, id+1, "some content, so that segments fill up")
	}
	<-s.checkpoint
	if _, err := os.Stat(filepath.Join(dir, journalName, spareName)); err != nil {
		t.Fatalf("no segment was kept for use again: %v", err)
	}
	for id := range ID(200) {
		if id%10 == 0 {
			again := copyDir(t, dir)
			s2 := openTestStore(t, again)
			if got := contents(t, s2); len(got) != 200+int(id) {
				t.Fatalf("%d messages, want %d", len(got), 200+id)
			}
			s2.close()
		}
		insertOne(t, s, 1000+id, "y")
		<-s.checkpoint
	}
	s.close()
}

// What comes and goes between two checkpoints leaves nothing in the index.
func TestShortLivedMessagesStayOutOfTheIndex(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	writes := func() int64 {
		stats := s.db.Stats()
		return stats.TxStats.GetWrite()
	}
	before := writes()
	for id := range ID(20) {
		insertOne(t, s, id+1, "x")
		must(t, s, func(b *batch) { b.remove(id + 1) })
	}
	if n := writes() - before; n != 0 {
		t.Errorf("%d writes to the index", n)
	}
	if len(s.active.rows) != 0 {
		t.Errorf("%d rows in memory", len(s.active.rows))
	}
	s.close()
}

// L-07: whatever the octets are.
func FuzzJournal(f *testing.F) {
	dir := f.TempDir()
	s := openTestStore(f, dir)
	insertOne(f, s, 1, "x")
	must(f, s, func(b *batch) { b.put(deliveryKey{1, 3}, []byte("y")) })
	must(f, s, func(b *batch) { b.remove(1) })
	b, err := os.ReadFile(filepath.Join(dir, journalName, segmentName(s.journal.number)))
	if err != nil {
		f.Fatal(err)
	}
	s.close()
	f.Add(b[:s.journal.offset])
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), segmentName(1))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		o := newOverlay()
		if _, err := replay(filepath.Dir(name), vouched{}, o.replay); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("replay: %v", err)
		}
		newOverlay().replay(b)
	})
}

// A message that left, came back and left again, as an import can have it, is
// gone, whatever an older checkpoint has of it; and while it is back, only what it
// came back with is there.
func TestMessageComesBack(t *testing.T) {
	const id = ID(7)
	insert := func(s *store, n int) {
		must(t, s, func(b *batch) {
			rows := make([]deliveryRow, n)
			for i := range rows {
				rows[i] = deliveryRow{uint16(i), []byte{0, byte(n)}}
			}
			b.insert(id, []byte{byte(n)}, rows)
		})
	}
	remove := func(s *store) { must(t, s, func(b *batch) { b.remove(id) }) }
	for _, again := range []bool{false, true} {
		for _, closed := range []bool{false, true} {
			dir := t.TempDir()
			s := openTestStore(t, dir)
			insert(s, 3)
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			s = openTestStore(t, dir)
			remove(s)
			insert(s, 2)
			if again {
				remove(s)
			}
			if !closed { // a crash, and the journal is played back
				dir = copyDir(t, dir)
			}
			want := contents(t, s)
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			s = openTestStore(t, dir)
			if got := contents(t, s); !maps.Equal(got, want) || len(got) == 1 == again {
				t.Errorf("again %v, closed %v: there is %q, and was %q", again, closed, got, want)
			}
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
