package queue

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// testdata/format3 is what version 3 made of format2, with holds and the memory
// of an import beside it, when it was killed; testdata/format3.tar was imported.
func TestUpgradeFromVersion3(t *testing.T) {
	dir := testQueue(t, "format3")
	if v, found := verified(t, dir); len(found) > 0 || v.Messages != 8 || v.Stories != 1 {
		t.Errorf("as it was: %+v, %+v", v, found)
	}
	q := open(t, &world{}, func(o *Options) { keeping(o); o.Dir, o.Classes = dir, []Class{{Name: "bulk"}} })
	if m, err := loadMeta(q.store.db); err != nil || m.version != formatVersion || m.identity == (identity{}) {
		t.Errorf("%+v, %v", m, err)
	}
	var held []string
	for _, h := range q.HeldDestinations() {
		held = append(held, h.Name)
	}
	if fmt.Sprint(held) != "[held.test late.test]" {
		t.Errorf("on hold are %v", held)
	}
	if s := q.Stats(); s.Messages != 8 || len(traced(t, q, "gone@a.test")) != 1 || len(traced(t, q, "gonelate@a.test")) != 1 {
		t.Errorf("%+v", s)
	}
	archive, err := os.Open("testdata/format3.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if done, err := q.Import(t.Context(), archive, KeepHold); err != nil || done.Messages != 0 || done.Before != 2 {
		t.Errorf("imported again: %+v, %v", done, err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if v, found := verified(t, dir); len(found) > 0 || v.Messages != 8 {
		t.Errorf("upgraded: %+v, %+v", v, found)
	}
}

// testdata/format4 is what version 4 made of format3, with mail that it took
// itself, in the index and in the journal, when it was killed.
func TestUpgradeFromVersion4(t *testing.T) {
	dir := testQueue(t, "format4")
	if v, found := verified(t, dir); len(found) > 0 || v.Messages != 10 || v.Stories != 3 {
		t.Errorf("as it was: %+v, %+v", v, found)
	}
	q := open(t, &world{}, func(o *Options) { keeping(o); o.Dir, o.Classes = dir, []Class{{Name: "bulk"}} })
	if m, err := loadMeta(q.store.db); err != nil || m.version != formatVersion || m.identity == (identity{}) {
		t.Errorf("%+v, %v", m, err)
	}
	entries, _, err := q.List(Filter{From: "four@a.test"}, 0, 10)
	if err != nil || len(entries) != 1 || entries[0].Login != "user" || len(entries[0].Deliveries) != 2 || entries[0].Deliveries[0].Attempts != 1 {
		t.Fatalf("%+v, %v", entries, err)
	}
	key := entries[0].Deliveries[0].key()
	keyed := func() (on bool) {
		err := q.store.view(func(v *view) error {
			on = v.delivery(key)[0]&flagKeyed != 0
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return on
	}
	before := keyed()
	if _, err := q.Hold(Filter{IDs: []ID{key.id}}); err != nil {
		t.Fatal(err)
	}
	if before || !keyed() {
		t.Errorf("a key is in the checksum: %v, and %v once the record is written anew", before, keyed())
	}
	if e, err := q.Show(key.id); err != nil || len(e.Attempts) != 2 {
		t.Errorf("%d attempts, %v", len(e.Attempts), err)
	}
	if n := len(q.HeldDestinations()); n != 3 {
		t.Errorf("%d destinations on hold", n)
	}
	if len(traced(t, q, "gonefour@a.test")) != 1 || len(traced(t, q, "gonelatefour@a.test")) != 1 {
		t.Error("stories are missing")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if v, found := verified(t, dir); len(found) > 0 || v.Messages != 10 {
		t.Errorf("upgraded: %+v, %+v", v, found)
	}
}

// An old index is repaired as what it was.
func TestRepairVersion3(t *testing.T) {
	dir := testQueue(t, "format3")
	if err := os.WriteFile(filepath.Join(dir, contentName, oldIDs[oldLarge]), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := RepairDir(t.Context(), dir, func(Damage) {}); err != nil || r.Messages != 7 || len(r.SetAside) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	q := open(t, &world{}, func(o *Options) { o.Dir = dir })
	if held := q.HeldDestinations(); len(held) != 2 {
		t.Errorf("on hold are %+v", held)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// smallQueue leaves a queue with something in every bucket, all of which are
// within one page.
func smallQueue(t *testing.T) (dir string) {
	t.Helper()
	q := open(t, &world{}, nil)
	enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
	archive, err := os.Open("testdata/format3.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if _, err := q.Import(t.Context(), archive, KeepHold); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"held.test", "ended.test"} {
		if _, _, err := q.HoldDestination(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.ReleaseDestination("ended.test"); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return q.dir
}

// believed is what a start takes from the small buckets of an index.
type believed struct {
	Meta   indexMeta
	Totals map[string]tally
	Held   map[string]bool
}

func believe(dir string) (b believed, err error) {
	db, err := openIndex(dir, segmentSize)
	if err != nil {
		return b, err
	}
	s := &store{db: db, active: newOverlay(), failed: func(error) {}}
	defer s.closeIndex()
	b.Held = map[string]bool{}
	err = s.guard(func() error {
		return db.View(func(tx *bolt.Tx) (err error) {
			if b.Meta, err = metaOf(tx); err != nil {
				return err
			}
			if bucket := tx.Bucket(bucketHold); bucket != nil {
				err = bucket.ForEach(func(key, record []byte) error {
					if name, since, err := parseHold(formatVersion, key, record); err == nil {
						b.Held[name+" "+since.String()] = true
					}
					return nil
				})
			}
			return err
		})
	})
	if err == nil {
		err = s.guard(s.loadTotals)
		b.Totals = s.totals
	}
	return b, err
}

// a bit that flips in what the index says of itself is found, and named, and
// never believed.
func TestFlippedMeta(t *testing.T) {
	dir := smallQueue(t)
	want, err := believe(dir)
	if err != nil || len(want.Held) != 1 || len(want.Totals) != 1 || want.Meta.applied != 2 {
		t.Fatalf("%+v, %v", want, err)
	}
	name := filepath.Join(dir, indexName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pages, err := openPages(f, int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	size := os.Getpagesize()
	whole = whole[:int(pages.meta.pages)*size] // what is set aside behind that is of no interest
	named := 0
	for at := int(pages.meta.root) * size; at < int(pages.meta.root+1)*size; at++ {
		spoilt := append([]byte(nil), whole...)
		spoilt[at] ^= 1 << random.IntN(8)
		if err := errors.Join(os.Remove(name), os.WriteFile(name, spoilt, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, found := verified(t, dir)
		named += min(len(found), 1)
		got, err := believe(dir)
		switch {
		case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat):
			t.Errorf("octet %d: %v", at, err)
		case len(found) == 0 && (err != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("octet %d: nothing is found, and a start believes %+v (%v)", at, got, err)
		case err == nil && (got.Meta != want.Meta || !maps.Equal(got.Totals, want.Totals)):
			t.Errorf("octet %d: a start believes %+v", at, got)
		}
		for hold := range got.Held {
			if !want.Held[hold] {
				t.Errorf("octet %d: a start believes in the hold of %s", at, hold)
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d octets of %d were found", named, size)
}

// Holds and the identity come back from pages that nothing leads to any more,
// and a hold that has ended does not as long as others can be read in order.
func TestRepairOfHolds(t *testing.T) {
	for what, spoil := range map[string]func(b []byte, size int, root uint64){
		"no first pages": func(b []byte, size int, _ uint64) { clear(b[:2*size]) },
		"the bucket's name": func(b []byte, size int, root uint64) {
			page := b[int(root)*size : int(root+1)*size]
			for i := range page[:size-8] {
				if string(page[i:i+4]) == "hold" && page[i+4] == 0 {
					page[i+3] = 'e' // in its place all the same
				}
			}
		},
		"a branch or leaf of another": nil,
	} {
		t.Run(what, func(t *testing.T) {
			dir := smallQueue(t)
			name := filepath.Join(dir, indexName)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			before, err := believe(dir)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			pages, err := openPages(f, int64(len(b)))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			if spoil == nil {
				err = os.Truncate(filepath.Join(dir, journalName, segmentName(2)), 0)
				err = errors.Join(err, os.Remove(filepath.Join(dir, journalName, segmentName(2))))
			} else {
				spoil(b, os.Getpagesize(), pages.meta.root)
				err = errors.Join(os.Remove(name), os.WriteFile(name, b, 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := RepairDir(t.Context(), dir, func(Damage) {})
			if err != nil || r.Before.Damages == 0 || r.Messages != 3 {
				t.Fatalf("%+v, %v", r, err)
			}
			q := open(t, &world{}, func(o *Options) { o.Dir = dir })
			held := map[string]bool{}
			for _, h := range q.HeldDestinations() {
				held[h.Name] = true
			}
			// In what can be read in no order, nobody can tell that a hold has ended.
			lost := what == "no first pages"
			if !held["held.test"] || held["ended.test"] && !lost || lost != (len(r.Holds) > 0) {
				t.Errorf("on hold are %v, %+v", held, r)
			}
			if q.store.identity != before.Meta.identity {
				t.Error("the queue has another identity")
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
