package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// verified verifies a stopped queue, and returns what is wrong.
func verified(t testing.TB, dir string) (v Verification, found []Damage) {
	t.Helper()
	v, err := VerifyDir(t.Context(), dir, func(d Damage) { found = append(found, d) })
	if err != nil {
		t.Fatal(err)
	}
	if int(v.Damages) != len(found) {
		t.Errorf("%d damages, and it told of %d", v.Damages, len(found))
	}
	return v, found
}

// largeContent is one that has a file.
func largeContent(i int) string { return strings.Repeat(fmt.Sprintf("line %d\r\n", i), inlineLimit/6) }

func TestVerifyHealthy(t *testing.T) {
	dir, ids := sampleQueue(t, 60)
	q := open(t, &world{}, func(o *Options) { o.Dir = dir })
	for i := range 3 {
		ids = append(ids, enqueue(t, q, "s@a.test", largeContent(i), "r@b.test"))
	}
	held, err := q.Hold(Filter{IDs: ids[:5]})
	if err != nil || held != 5 {
		t.Fatalf("%d held (%v)", held, err)
	}
	if _, err := q.Remove(Filter{IDs: ids[5:6]}); err != nil {
		t.Fatal(err)
	}
	v, err := q.Verify(t.Context(), func(d Damage) { t.Errorf("running: %+v", d) })
	if err != nil || v.Messages != int64(len(ids)-1) || v.Contents != 3 || v.Segments != 1 {
		t.Errorf("running: %+v (%v), want %d messages", v, err, len(ids)-1)
	}
	if _, err := VerifyDir(t.Context(), dir, nil); !asInUse(err) {
		t.Errorf("a running queue as a stopped one: %v", err)
	}
	if _, err := RepairDir(t.Context(), dir, nil); !asInUse(err) {
		t.Errorf("repair of a running queue: %v", err)
	}
	killed := copyDir(t, dir)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"stopped": dir, "killed": killed} {
		v, found := verified(t, dir)
		if len(found) > 0 || v.Messages != int64(len(ids)-1) || v.Contents != 3 {
			t.Errorf("%s: %+v, %+v", name, v, found)
		}
		before, err := os.ReadFile(filepath.Join(dir, indexName))
		if err != nil {
			t.Fatal(err)
		}
		r, err := RepairDir(t.Context(), dir, func(Damage) {})
		if err != nil || r.Messages != int64(len(ids)-1) || r.Index != "" || r.Aside != "" {
			t.Errorf("%s: repaired to %+v (%v)", name, r, err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, indexName)); err != nil || !bytes.Equal(after, before) {
			t.Errorf("%s: a repair without need changed the index (%v)", name, err)
		}
	}
}

func asInUse(err error) bool {
	_, ok := errors.AsType[*InUseError](err)
	return ok
}

// What goes on while a queue is verified is no damage.
func TestVerifyUnderLoad(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	stop := running(t, q)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			enqueue(t, q, "s@a.test", largeContent(n)[:inlineLimit*(n%2)+500], "r@b.test")
		}
		ended <- n
	}()
	for range 20 {
		if _, err := q.Verify(t.Context(), func(d Damage) { t.Errorf("%+v", d) }); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if n := <-ended; n == 0 {
		t.Error("nothing was taken meanwhile")
	}
}

// original is what a queue held before it was damaged.
type original struct {
	entry   Entry
	content string
	pages   []uint64 // of the index that hold it
}

func originals(t *testing.T, q *Queue) map[ID]*original {
	t.Helper()
	all := map[ID]*original{}
	entries, _, err := q.List(Filter{}, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all[e.ID] = &original{entry: e, content: readAll(t, q, e.ID)}
	}
	return all
}

func readAll(t *testing.T, q *Queue, id ID) string {
	t.Helper()
	r, err := q.Content(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// locate notes on which pages of the index each message is.
func locate(t *testing.T, dir string, all map[ID]*original) (pages int, branches []uint64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		t.Fatal(err)
	}
	f, err := openPages(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	w := treeWalk{file: f, seen: newPageSet(f.meta.pages), leaf: func(string, []element) error { return nil }}
	if err := w.buckets(); err != nil {
		t.Fatal(err)
	}
	for id := uint64(2); id < f.meta.pages; id++ {
		p, err := f.page(id)
		if err != nil || !w.seen.has(id) || p.kind != pageLeaf {
			if err == nil && w.seen.has(id) {
				branches = append(branches, id)
			}
			continue
		}
		for i := range p.elements {
			e, _ := p.element(i)
			if len(e.key) != 8 && len(e.key) != 10 {
				continue
			}
			k, _ := parseDeliveryKey(append(slices.Clone(e.key), 0, 0)[:10])
			if o := all[k.id]; o != nil {
				for page := p.id; page <= p.id+p.further; page++ {
					o.pages = append(o.pages, page)
				}
			}
		}
	}
	return int(f.meta.pages), branches
}

// a queue that was damaged anywhere is repaired to one that has every message
// of which nothing was damaged, and nothing that never was.
func TestRepair(t *testing.T) {
	t.Parallel()
	dir, _ := sampleQueue(t, 120)
	q := open(t, &world{}, func(o *Options) { o.Dir = dir })
	for i := range 6 {
		enqueue(t, q, "s@a.test", largeContent(i), "r@b.test", "q@c.test")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, &world{}, func(o *Options) { o.Dir = dir })
	all := originals(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	pages, branches := locate(t, dir, all)
	size := os.Getpagesize()
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		damaged := copyDir(t, dir)
		name := filepath.Join(damaged, indexName)
		index, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		touched, what := map[uint64]bool{}, ""
		zero := func(page uint64) {
			touched[page] = true
			clear(index[int(page)*size : int(page+1)*size])
		}
		files := map[ID]bool{}
		switch round % 8 {
		case 0:
			what = "pages zero"
			for range 1 + random.IntN(5) {
				zero(uint64(random.IntN(pages)))
			}
		case 1:
			what = "octets changed"
			for range 1 + random.IntN(10) {
				at := random.IntN(pages * size)
				touched[uint64(at/size)] = true
				index[at] ^= byte(1 + random.IntN(255))
			}
		case 2:
			keep := 4 + random.IntN(pages-4)
			what = fmt.Sprintf("cut to %d pages", keep)
			index = index[:keep*size]
			for page := keep; page < pages; page++ {
				touched[uint64(page)] = true
			}
		case 3:
			what = "a branch zero"
			zero(branches[random.IntN(len(branches))])
		case 4:
			what = "both meta pages zero"
			zero(0)
			zero(1)
		case 5:
			what = "a meta page zero"
			zero(uint64(random.IntN(2)))
		case 6:
			what = "no index"
			index = nil
			for page := range pages {
				touched[uint64(page)] = true
			}
		case 7:
			what = "contents changed"
			entries, err := os.ReadDir(filepath.Join(damaged, contentName))
			if err != nil || len(entries) == 0 {
				t.Fatal(err)
			}
			e := entries[random.IntN(len(entries))]
			id, _ := ParseID(e.Name())
			files[id] = true
			if err := os.WriteFile(filepath.Join(damaged, contentName, e.Name()), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		what = fmt.Sprintf("round %d, %s", round, what)
		err = os.Remove(name)
		if index != nil {
			err = errors.Join(err, os.WriteFile(name, index, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		checkRepair(t, what, damaged, all, func(id ID) bool {
			return files[id] || slices.ContainsFunc(all[id].pages, func(p uint64) bool { return touched[p] })
		})
		if t.Failed() {
			return
		}
	}
}

// checkRepair repairs a queue and looks at what it made of it. hit tells of a
// message whether something of it may be damaged.
func checkRepair(t *testing.T, what, dir string, all map[ID]*original, hit func(ID) bool) {
	t.Helper()
	_, found := verified(t, dir)
	r, err := RepairDir(t.Context(), dir, func(Damage) {})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if _, left := verified(t, dir); len(left) > 0 {
		t.Errorf("%s: after the repair there is %+v", what, left)
	}
	q, err := Open(Options{Dir: dir, Deliverer: &world{}, Router: &world{}, Reporter: &world{}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer q.Close()
	now := originals(t, q)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		got := now[id]
		switch {
		case got == nil && len(found) == 0:
			t.Errorf("%s: message %s is missing, and nothing was found to be wrong", what, id)
		case got == nil && !hit(id):
			t.Errorf("%s: message %s is missing: %+v", what, id, r)
		case got != nil && got.content != all[id].content:
			t.Errorf("%s: message %s has another content", what, id)
		case got != nil && !hit(id) && !reflect.DeepEqual(got.entry, all[id].entry):
			t.Errorf("%s: message %s is %+v, was %+v", what, id, got.entry, all[id].entry)
		case got != nil && len(found) == 0 && !reflect.DeepEqual(got.entry, all[id].entry):
			t.Errorf("%s: message %s is not what it was, and nothing was found to be wrong", what, id)
		}
	}
	for id, got := range now {
		if all[id] == nil && !strings.HasPrefix(got.content, "line ") {
			t.Errorf("%s: message %s never was", what, id)
		}
	}
	if again, err := VerifyDir(t.Context(), dir, nil); !asInUse(err) {
		t.Errorf("%s: %+v (%v)", what, again, err)
	}
}

// A record that is damaged is set aside with its reason, and the old index is
// kept; what is left is delivered, and nothing else.
func TestRepairSetsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, &world{}, nil)
		bad := enqueue(t, q, "s@a.test", "PLEASE damage this\r\n", "bad@b.test")
		good := enqueue(t, q, "s@a.test", "and not this\r\n", "good@b.test")
		large := enqueue(t, q, "s@a.test", largeContent(1), "large@b.test")
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(q.dir, indexName)
		index, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.ReplaceAll(index, []byte("PLEASE damage"), []byte("PLEASE repair"))
		content := q.contentFile(large)
		whole, err := os.ReadFile(content)
		if err != nil {
			t.Fatal(err)
		}
		whole[70_000] ^= 1
		if err := errors.Join(os.WriteFile(name, changed, 0o600), os.WriteFile(content, whole, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, found := verified(t, q.dir)
		if len(found) != 2 || found[0].ID != bad || found[1].ID != large || found[1].File != "content/"+large.String() {
			t.Errorf("found %+v", found)
		}
		r, err := RepairDir(t.Context(), q.dir, func(Damage) {})
		if err != nil || r.Messages != 1 || !slices.Equal(r.SetAside, []ID{bad, large}) || r.Index != "index.db.damaged-1" {
			t.Errorf("%+v (%v)", r, err)
		}
		old, err := os.ReadFile(filepath.Join(q.dir, r.Index))
		if err != nil || !bytes.Equal(old, changed) {
			t.Errorf("the old index is not what it was (%v)", err)
		}
		kept, err := os.ReadFile(filepath.Join(q.dir, r.Aside))
		if err != nil || !bytes.Contains(kept, []byte("PLEASE repair this")) || !bytes.Contains(kept, []byte(`"id":"`+bad.String()+`"`)) {
			t.Errorf("set aside was %q (%v)", kept, err)
		}
		if b, err := os.ReadFile(filepath.Join(q.dir, asideName, large.String()+".content")); err != nil || !bytes.Equal(b, whole) {
			t.Errorf("the content that was set aside is %d octets (%v)", len(b), err)
		}
		w := &world{}
		q = open(t, w, func(o *Options) { o.Dir = q.dir })
		stop := running(t, q)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(w.tried("good")) != 1 || len(w.attempts) != 1 {
			t.Errorf("attempts %v, want one, of %s", w.attempts, good)
		}
		if s := q.Stats(); s.Messages != 0 {
			t.Errorf("left: %+v", s)
		}
		stop()
	})
}

// A damaged journal keeps the queue from starting; repaired, it has what was
// before the damage and what was behind it.
func TestRepairJournal(t *testing.T) {
	q := open(t, &world{}, nil)
	first := enqueue(t, q, "s@a.test", "first\r\n", "r@b.test")
	second := enqueue(t, q, "s@a.test", "second\r\n", "r@b.test")
	third := enqueue(t, q, "s@a.test", "third\r\n", "r@b.test")
	dir := copyDir(t, q.dir)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, journalName, segmentName(1))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.ReplaceAll(b, []byte("second"), []byte("SECOND")), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{}
	if _, err := Open(Options{Dir: dir, Deliverer: w, Router: w, Reporter: w}); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened: %v", err)
	}
	if _, found := verified(t, dir); len(found) == 0 || found[0].File != filepath.Join(journalName, segmentName(1)) {
		t.Errorf("found %+v", found)
	}
	r, err := RepairDir(t.Context(), dir, func(Damage) {})
	if err != nil || r.Messages != 2 {
		t.Fatalf("%+v (%v)", r, err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, r.Aside))
	if err != nil || !bytes.Contains(kept, []byte("SECOND")) {
		t.Errorf("set aside was %q (%v)", kept, err)
	}
	q = open(t, w, func(o *Options) { o.Dir = dir })
	defer q.Close()
	for _, id := range []ID{first, third} {
		if _, err := q.Show(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := q.Show(second); !errors.Is(err, ErrUnknown) {
		t.Errorf("the damaged one: %v", err)
	}
}

// without the index, large messages come back by their files, and what the
// journal has comes back by that.
func TestRepairWithoutIndex(t *testing.T) {
	q := open(t, &world{}, nil)
	for i := range 5 {
		enqueue(t, q, "s@a.test", largeContent(i), "r@b.test", "q@c.test")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, &world{}, func(o *Options) { o.Dir = q.dir })
	all := originals(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(q.dir, indexName)), os.RemoveAll(filepath.Join(q.dir, journalName))); err != nil {
		t.Fatal(err)
	}
	checkRepair(t, "nothing but contents", q.dir, all, func(ID) bool { return false })
}
