package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// sampleQueue leaves a queue of n messages of all kinds on disk, and returns its
// directory and what was in it.
func sampleQueue(t testing.TB, n int) (dir string, ids []ID) {
	t.Helper()
	dir = t.TempDir()
	// Several times, so that pages are free and others in use again.
	for range 3 {
		q := open(t, &world{}, func(o *Options) { o.Dir = dir })
		var now []ID
		for i := range n / 2 {
			content := strings.Repeat(fmt.Sprintf("line %d\r\n", i), 1+i%7*30)
			now = append(now, enqueue(t, q, "s@a.test", content, fmt.Sprintf("r%d@b.test", i), "q@c.test"))
		}
		if len(ids) > 0 {
			if _, err := q.Remove(Filter{IDs: ids[:len(ids)/2]}); err != nil {
				t.Fatal(err)
			}
			ids = ids[len(ids)/2:]
		}
		ids = append(ids, now...)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, ids
}

// readIndex opens an index and reads everything in it and in the journal, as a
// start and the attempts after it do.
func readIndex(dir string) (found map[ID]bool, complaints int, err error) {
	db, err := openIndex(dir, segmentSize)
	if err != nil {
		return nil, 0, err
	}
	s := &store{db: db, active: newOverlay(), failed: func(error) {}}
	defer s.closeIndex()
	err = s.guard(func() error {
		m, err := loadMeta(db)
		if err == nil {
			_, err = replay(filepath.Join(dir, journalName), vouched{applied: m.applied, begun: m.begun}, s.active.replay)
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	found = map[ID]bool{}
	err = s.view(func(v *view) error {
		return v.each(0, func(id ID, rows []deliveryRow) bool {
			record, _ := v.message(id)
			_, err := decodeMessage(id, record)
			for _, row := range rows {
				_, wrong := decodeDelivery(deliveryKey{id, row.index}, row.record)
				err = errors.Join(err, wrong)
			}
			if found[id] = err == nil; err != nil {
				delete(found, id)
				complaints++
			}
			return true
		})
	})
	return found, complaints, err
}

// spoilt is a directory whose index is changed again and again.
type spoilt struct {
	t     *testing.T
	dir   string
	whole []byte
	ids   []ID
}

// try opens the index with other contents. It may be refused, or messages may
// be set aside; a queue that is simply empty it may not be.
func (s *spoilt) try(name string, index []byte) {
	s.t.Helper()
	file := filepath.Join(s.dir, indexName)
	if err := errors.Join(os.Remove(file), os.WriteFile(file, index, 0o600)); err != nil {
		s.t.Fatal(err)
	}
	s.read(name)
}

func (s *spoilt) read(name string) error {
	s.t.Helper()
	found, complaints, err := readIndex(s.dir)
	switch {
	case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat):
		s.t.Errorf("%s: refused for another reason: %v", name, err)
	case err == nil && complaints == 0 && len(found) == 0:
		s.t.Errorf("%s: an empty queue, and no word of it", name)
	}
	for id := range found {
		if !slices.Contains(s.ids, id) {
			s.t.Errorf("%s: message %s never was", name, id)
		}
	}
	return err
}

// flip changes one octet, in place, and back.
func (s *spoilt) flip(at int, with byte) {
	s.t.Helper()
	s.write(at, s.whole[at]^with)
	if err := s.read(fmt.Sprintf("octet %d changed by %#x", at, with)); errors.Is(err, errPage) {
		s.try("as it was", s.whole) // another file: bbolt's lock and map are still on that one
		return
	}
	s.write(at, s.whole[at])
}

func (s *spoilt) write(at int, b byte) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, indexName), os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{b}, int64(at))
	if err := errors.Join(err, f.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// whatever is wrong with the index, a start ends with an error or sets messages
// aside. It neither panics nor begins with nothing.
func TestDamagedIndex(t *testing.T) {
	t.Parallel()
	dir, ids := sampleQueue(t, 40)
	whole, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := openPages(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:int(pages.meta.pages)*pages.meta.pageSize] // what is set aside behind that is of no interest
	s := &spoilt{t: t, dir: dir, whole: whole, ids: ids}
	s.try("as it was", whole)
	size := os.Getpagesize()
	random := rand.New(rand.NewPCG(1, 2))
	for at := range 4 * size {
		s.flip(at, byte(1)<<random.IntN(8))
	}
	for range 1000 {
		s.flip(4*size+random.IntN(len(whole)-4*size), byte(1+random.IntN(255)))
	}
	for cut := 0; cut < len(whole); cut += size {
		s.try(fmt.Sprintf("cut to %d octets", cut), whole[:cut])
	}
	for page := range len(whole) / size {
		b := slices.Clone(whole)
		clear(b[page*size : (page+1)*size])
		s.try(fmt.Sprintf("page %d zero", page), b)
	}
	b := slices.Clone(whole)
	clear(b[:2*size])
	s.try("both meta pages zero", b)
	s.try("a foreign file", []byte(strings.Repeat("From someone else\n", 5000)))
	s.try("as it was", whole)
	if found, _, err := readIndex(dir); err != nil || len(found) != len(ids) {
		t.Errorf("%d messages of %d (%v)", len(found), len(ids), err)
	}
}

// a bit that flips in the key of a record, on its page: the record is found under
// the wrong key, none is taken for another's, and a repair puts it back.
func TestFlippedKeys(t *testing.T) {
	t.Parallel()
	w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("not now")) }}
	q := open(t, w, nil)
	stop := running(t, q)
	for i := range 3 {
		id := enqueue(t, q, "s@a.test", fmt.Sprintf("message %d\r\n", i), "r@b.test", "q@c.test")
		for e, err := q.Show(id); err != nil || len(e.Attempts) < 2; e, err = q.Show(id) {
			time.Sleep(time.Millisecond)
		}
	}
	ids := slices.Sorted(maps.Keys(described(t, q)))
	want := described(t, q)
	stop()
	name := filepath.Join(q.dir, indexName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := openPages(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	flip := func(bucket string, at, bit int) {
		dir := copyDir(t, q.dir)
		spoilt := slices.Clone(whole)
		spoilt[at] ^= 1 << bit
		if err := os.WriteFile(filepath.Join(dir, indexName), spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		kinds[bucket]++
		what := fmt.Sprintf("octet %d bit %d, %s", at, bit, bucket)
		if found, _, err := readIndex(dir); err == nil {
			for id := range found {
				if !slices.Contains(ids, id) {
					t.Errorf("%s: message %s never was", what, id)
				}
			}
		}
		if _, found := verified(t, dir); len(found) == 0 {
			t.Errorf("%s: not found", what)
		}
		if r, err := RepairDir(t.Context(), dir, func(Damage) {}); err != nil || len(r.SetAside) > 0 {
			t.Errorf("%s: %+v, %v", what, r, err)
			return
		}
		repaired := open(t, &world{}, func(o *Options) { o.Dir = dir })
		if got := described(t, repaired); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: repaired to %v, was %v", what, got, want)
		}
		if err := errors.Join(repaired.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	}
	random := rand.New(rand.NewPCG(7, 8))
	walk := treeWalk{file: pages, seen: newPageSet(pages.meta.pages), leaf: func(bucket string, elements []element) error {
		if bucketOf(elements[0].key) != bucket {
			return nil
		}
		e := elements[len(elements)/2] // between others
		// Key and value stand one behind the other, and only once.
		at := bytes.LastIndex(whole, slices.Concat(e.key, e.value))
		for octet := range e.key {
			flip(bucket, at+octet, random.IntN(8))
		}
		return nil
	}}
	if err := walk.buckets(); err != nil {
		t.Fatal(err)
	}
	t.Logf("keys changed: %v", kinds)
	if len(kinds) != 3 {
		t.Errorf("only keys of %v", kinds)
	}
}

// described tells of each message in a queue what it has: recipients, attempts
// and the content.
func described(t *testing.T, q *Queue) map[ID]string {
	t.Helper()
	found := map[ID]string{}
	entries, _, err := q.List(Filter{}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		e, err := q.Show(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		s := readAll(t, q, e.ID)
		for _, d := range e.Deliveries {
			s += fmt.Sprintf("%d %s %v;", d.Index, d.Destination, d.Recipients)
		}
		found[e.ID] = s + fmt.Sprint(e.Attempts)
	}
	return found
}

// a branch that leads back to its own parent would have bbolt go in circles.
func TestCircularIndex(t *testing.T) {
	dir, _ := sampleQueue(t, 1000)
	name := filepath.Join(dir, indexName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pages, err := openPages(f, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	branches := map[uint64]*page{}
	w := treeWalk{file: pages, seen: newPageSet(pages.meta.pages), leaf: func(string, []element) error { return nil }}
	if err := errors.Join(w.buckets(), w.free()); err != nil {
		t.Fatal(err)
	}
	for id := range pages.meta.pages {
		if p, err := pages.page(id); err == nil && p.kind == pageBranch && w.seen.has(id) {
			branches[id] = p
		}
	}
	if len(branches) == 0 {
		t.Fatal("the sample has no branches")
	}
	for _, id := range slices.Sorted(maps.Keys(branches)) {
		at := int(id) * pages.meta.pageSize
		changed := slices.Clone(b)
		binary.NativeEndian.PutUint64(changed[at+pageHead+8:], id)
		if err := errors.Join(os.Remove(name), os.WriteFile(name, changed, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readIndex(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("branch %d leads to itself: %v", id, err)
		}
	}
}

// a page that disappears while the queue runs ends it, and what was
// acknowledged is there when the page is.
func TestIndexGoesMissing(t *testing.T) {
	dir, ids := sampleQueue(t, 200)
	name := filepath.Join(dir, indexName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	q := open(t, w, func(o *Options) { o.Dir = dir })
	<-q.loaded
	late := enqueue(t, q, "s@a.test", "late", "r@b.test")
	if err := os.Truncate(name, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	var failure error
	for _, id := range ids {
		if _, failure = q.Show(id); failure != nil {
			break
		}
	}
	if !errors.Is(failure, ErrStore) || !errors.Is(failure, ErrDamaged) {
		t.Errorf("read from a file that was cut: %v", failure)
	}
	<-q.Failed()
	if err := q.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	again := copyDir(t, dir)
	if err := os.WriteFile(filepath.Join(again, indexName), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	q = open(t, w, func(o *Options) { o.Dir = again })
	defer q.Close()
	for _, id := range append(ids, late) {
		if _, err := q.Show(id); err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
}

// Our own mistakes are no damage.
func TestGuardLetsOwnPanicsPass(t *testing.T) {
	defer func() {
		if p := recover(); p != "our own" {
			t.Errorf("recovered %v", p)
		}
	}()
	err := guard(func() error { panic("our own") })
	t.Errorf("it became %v", err)
}
