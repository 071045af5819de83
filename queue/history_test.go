package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

func keeping(o *Options) { o.History = HistoryOptions{Size: 64 << 20, Age: 7 * 24 * time.Hour} }

// traced returns the queue IDs of what a key finds.
func traced(t *testing.T, q *Queue, key string) (ids []ID) {
	t.Helper()
	stories, _, err := q.Trace(key, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stories {
		ids = append(ids, s.ID)
	}
	return ids
}

// A message is found by all that it goes by, however it left, before and after
// a checkpoint, a crash and a stop; and its story is whole.
func TestStoriesAreKept(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.answer = func(m *Message, d *Delivery) Outcome {
			out := Outcome{}
			for _, r := range d.Recipients {
				switch {
				case !r.State.Open():
				case r.Path.Local == "bad":
					out.Results = append(out.Results, Result{State: Failed, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")})
				case r.Path.Local == "never":
					out.Results = append(out.Results, deferred("not now"))
				case r.Path.Local == "later" && d.Attempts == 0:
					out.Results = append(out.Results, deferred("greylisted"))
				default:
					out.Results = append(out.Results, Result{State: Delivered, Reported: true, TLS: "TLS 1.3 X", Host: "mx[192.0.2.1]:25",
						Reply: smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, "Ok: queued as NH"+r.Path.Local)})
				}
			}
			return out
		}
		q := open(t, w, keeping)
		stop := running(t, q)
		put := func(from, id string, to ...string) ID {
			d := q.NewDraft()
			fmt.Fprint(d, "x\r\n")
			var rcpts []Recipient
			for _, s := range to {
				rcpts = append(rcpts, Recipient{Path: path(s)})
			}
			if err := d.Commit(Envelope{ReversePath: path(from), MessageID: id, Login: "login"}, rcpts); err != nil {
				t.Fatal(err)
			}
			return d.ID()
		}
		plain := put("Sender@A.test", "1@a.test", "one@b.test")
		mixed := put("mixed@a.test", "2@a.test", "later@b.test", "bad@b.test", "two@c.test")
		expired := put("slow@a.test", "3@a.test", "never@b.test")
		removed := put("gone@a.test", "4@a.test", "never@d.test")
		synctest.Wait()
		if n, err := q.Remove(Filter{IDs: []ID{removed}, By: "root"}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(5*24*time.Hour + time.Hour)
		synctest.Wait()
		waiting := put("s@a.test", "5@a.test", "never@e.test")
		synctest.Wait()

		check := func(what string, q *Queue) {
			t.Helper()
			for key, want := range map[string]ID{
				plain.String(): plain, strings.ToLower(plain.String()): plain, "<1@A.test>": plain, "sender@a.TEST": plain, "one@b.test": plain, "nhone": plain,
				mixed.String(): mixed, "2@a.test": mixed, "later@b.test": mixed, "bad@b.test": mixed, "two@c.test": mixed,
				"NHtwo": mixed, "NHlater": mixed,
				expired.String(): expired, "3@a.test": expired, "never@b.test": expired,
				removed.String(): removed, "never@d.test": removed,
				waiting.String(): waiting, "5@a.test": waiting, "never@e.test": waiting,
			} {
				if got := traced(t, q, key); len(got) != 1 || got[0] != want {
					t.Errorf("%s: %s finds %v, want %v", what, key, got, want)
				}
			}
			for _, key := range []string{"", "<>", "6@a.test", "NH", "b.test", "nobody@b.test", (waiting + 1000).String()} {
				if got := traced(t, q, key); len(got) != 0 {
					t.Errorf("%s: %q finds %v", what, key, got)
				}
			}
			// The report on the failure went to the sender.
			if got := traced(t, q, "slow@a.test"); len(got) != 2 || got[0] != expired {
				t.Errorf("%s: the sender finds %v", what, got)
			}
			stories, _, err := q.Trace("2@a.test", 10)
			if err != nil {
				t.Fatal(err)
			}
			s := stories[0]
			if s.Left.IsZero() || s.Login != "login" || len(s.Deliveries) != 2 || len(s.Attempts) != 3 || s.Attempts[0].Reports == nil && s.Attempts[1].Reports == nil {
				t.Errorf("%s: %+v", what, s)
			}
			if a := s.Attempts[2]; len(a.Results) != 1 || a.Results[0].TLS != "TLS 1.3 X" || a.Results[0].Reply.Lines[0] != "Ok: queued as NHlater" || !a.Time.Equal(s.Left) {
				t.Errorf("%s: the last attempt: %+v", what, a)
			}
			if stories, _, _ = q.Trace(removed.String(), 10); stories[0].Deliveries[0].Recipients[0].Last.Text() != "removed by root" {
				t.Errorf("%s: %+v", what, stories[0].Deliveries[0])
			}
			if stories, _, _ = q.Trace(waiting.String(), 10); !stories[0].Left.IsZero() || len(stories[0].Attempts) != 1 {
				t.Errorf("%s: %+v", what, stories[0])
			}
		}
		check("in memory", q)
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(q.dir)); err != nil {
			t.Fatal(err)
		}
		after := open(t, w, func(o *Options) { keeping(o); o.Dir = dir })
		check("after a crash", after)
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
		stop()
		q = open(t, w, func(o *Options) { keeping(o); o.Dir = q.dir })
		check("after a stop", q)
		if size, oldest := q.store.history.state(); size == 0 || oldest.IsZero() {
			t.Errorf("history of %d octets since %v", size, oldest)
		}
		time.Sleep(8 * 24 * time.Hour)
		if got := traced(t, q, plain.String()); len(got) != 0 {
			t.Error("found after it has become too old")
		}
		if size, _ := q.store.history.state(); size != 0 {
			t.Errorf("%d octets left of what is too old", size)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Of many, the newest are told.
func TestTraceLimit(t *testing.T) {
	q := open(t, &world{}, keeping)
	defer q.Close()
	var ids []ID
	for range 30 {
		ids = append(ids, enqueue(t, q, "s@a.test", "x\r\n", "r@b.test"))
	}
	if _, err := q.Remove(Filter{IDs: ids[:20]}); err != nil {
		t.Fatal(err)
	}
	for limit, wantMore := range map[int]bool{1: true, 5: true, 15: true, 29: true, 30: false, 100: false} {
		stories, more, err := q.Trace("s@a.test", limit)
		if err != nil || more != wantMore || len(stories) != min(limit, 30) {
			t.Fatalf("limit %d: %d stories, %v, %v", limit, len(stories), more, err)
		}
		for i, s := range stories {
			if want := ids[30-len(stories)+i]; s.ID != want {
				t.Errorf("limit %d: story %d is %s, want %s", limit, i, s.ID, want)
			}
		}
	}
}

func sampleStory(n int, left time.Time) story {
	m := &Message{ID: ID(n), Envelope: Envelope{ReversePath: path(fmt.Sprintf("s%d@a.test", n)), Arrival: left}}
	d := sampleDelivery()
	d.ID, d.Index = m.ID, 0
	a := sampleAttempt()
	a.Index = 0
	return story{storyKeys(m, d), encodeStory(m.ID, left, encodeHead(m), []deliveryRow{{0, encodeDelivery(d)}}, []attemptRow{newAttemptRow(m.ID, a)})}
}

func openTestHistory(t *testing.T, dir string, applied uint64, o HistoryOptions, pending ...story) *history {
	t.Helper()
	h, err := openHistory(dir, applied, pending, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.close() })
	return h
}

// finds returns the queue IDs of the stories with a key.
func (h *history) finds(key string) (ids []ID) {
	h.find([]uint64{hashText(key)}, func(s *Story) bool {
		ids = append(ids, s.ID)
		return true
	})
	return ids
}

func addBlocks(h *history, blocks, each int, now time.Time) (n int) {
	for i := range blocks {
		var stories []story
		for range each {
			n++
			stories = append(stories, sampleStory(n, now))
		}
		h.add(stories, uint64(i), uint64(i+1))
	}
	return n
}

func TestHistoryBlocks(t *testing.T) {
	dir, now, o := t.TempDir(), time.Now(), HistoryOptions{Size: 64 << 20}
	h := openTestHistory(t, dir, 0, o)
	n := addBlocks(h, 7, 50, now)
	check := func(h *history) {
		t.Helper()
		for i := range n {
			if got := h.finds(fmt.Sprintf("S%d@a.TEST", i+1)); len(got) != 1 || got[0] != ID(i+1) {
				t.Fatalf("story %d: %v", i+1, got)
			}
		}
		if got := h.finds("s999@a.test"); got != nil {
			t.Errorf("found %v", got)
		}
		if got := h.finds("r@b.test"); len(got) != n || got[0] != ID(n) || got[n-1] != 1 {
			t.Errorf("all have that recipient, found %d, from %v to %v", len(got), got[0], got[n-1])
		}
	}
	check(h)
	h.close()
	check(openTestHistory(t, dir, 7, o))
}

// Whatever part of the last block is on disk, those before it are found, and
// the block is written anew.
func TestTornHistory(t *testing.T) {
	dir, now, o := t.TempDir(), time.Now(), HistoryOptions{Size: 64 << 20}
	h := openTestHistory(t, dir, 0, o)
	addBlocks(h, 3, 2, now)
	last := h.files[0].blocks[2]
	h.close()
	name := filepath.Join(dir, historyName, segmentName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := last.offset; cut <= int64(len(whole)); cut += 7 {
		zeros := slices.Clone(whole)
		clear(zeros[cut:])
		for what, b := range map[string][]byte{"nothing behind": whole[:cut], "zeros behind": zeros} {
			again := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(again, historyName), 0o700), os.WriteFile(filepath.Join(again, historyName, segmentName(1)), b, 0o600)); err != nil {
				t.Fatal(err)
			}
			h := openTestHistory(t, again, 2, o, sampleStory(5, now), sampleStory(6, now)) // the checkpoint to 3 did not end
			if got := h.finds("r@b.test"); len(got) != 4 {
				t.Fatalf("cut at %d, %s: found %v", cut-last.offset, what, got)
			}
			h.add([]story{sampleStory(5, now), sampleStory(6, now), sampleStory(7, now)}, 2, 4)
			h.close()
			h = openTestHistory(t, again, 4, o)
			if got := h.finds("r@b.test"); !reflect.DeepEqual(got, []ID{7, 6, 5, 4, 3, 2, 1}) {
				t.Fatalf("cut at %d, %s, and done again: %v", cut-last.offset, what, got)
			}
		}
	}
}

// Damage costs what it has hit, and is never more than a line in the log.
func TestDamagedHistory(t *testing.T) {
	dir, now, o := t.TempDir(), time.Now(), HistoryOptions{Size: 64 << 20}
	h := openTestHistory(t, dir, 0, o)
	addBlocks(h, 5, 3, now)
	blocks := slices.Clone(h.files[0].blocks)
	h.close()
	name := filepath.Join(dir, historyName, segmentName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 3 {
		spoilt := slices.Clone(whole)
		spoilt[at] ^= 0x10
		if err := os.WriteFile(name, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		h := openTestHistory(t, dir, 5, o)
		hit := slices.IndexFunc(blocks, func(b block) bool { return int64(at) < b.offset+int64(b.size) })
		got := h.finds("r@b.test")
		for id := ID(1); id <= 15; id++ {
			if int(id-1)/3 != hit && !slices.Contains(got, id) && hit != 4 {
				t.Fatalf("bit flipped at %d in block %d: story %d is not found", at, hit, id)
			}
		}
		h.close()
	}
}

func TestHistoryIsBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	one := sampleStory(1, now)
	b, _ := encodeBlock([]story{one}, 0, 1)
	o := HistoryOptions{Size: int64(len(b)) * 80}
	h := openTestHistory(t, dir, 0, o)
	addBlocks(h, 300, 1, now)
	size, _ := h.state()
	if got := h.finds("r@b.test"); size > o.Size || len(got) < 60 || got[0] != 300 {
		t.Errorf("%d octets of %d, %d stories", size, o.Size, len(got))
	}
	var onDisk int64
	entries, _ := os.ReadDir(h.dir)
	for _, e := range entries {
		info, _ := e.Info()
		onDisk += info.Size()
	}
	if onDisk != size {
		t.Errorf("%d octets on disk, %d counted", onDisk, size)
	}
	h.close()
	h = openTestHistory(t, dir, 300, HistoryOptions{Size: o.Size / 4})
	if size, _ := h.state(); size > o.Size/4 {
		t.Errorf("%d octets after the bound became smaller", size)
	}
	h.close()
	openTestHistory(t, dir, 300, HistoryOptions{}) // touches nothing
	if entries, _ := os.ReadDir(h.dir); len(entries) == 0 {
		t.Error("nothing is left")
	}
	openTestHistory(t, dir, 300, HistoryOptions{Size: -1})
	if _, err := os.Stat(h.dir); !os.IsNotExist(err) {
		t.Errorf("what was kept is still there: %v", err)
	}
}

// A crash between the history and the index makes no story appear twice.
func TestStoriesAppearOnce(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		q := open(t, w, keeping)
		stop := running(t, q)
		defer stop()
		for range 10 {
			enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		}
		synctest.Wait()
		q.store.history.add(q.store.active.stories, q.store.reached, q.store.journal.number)
		dir := copyDir(t, q.dir)
		for range 3 {
			again := open(t, &world{}, func(o *Options) { keeping(o); o.Dir = dir })
			if got := again.store.history.finds("r@b.test"); len(got) != 10 {
				t.Errorf("%d stories, want 10", len(got))
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A history that cannot be written costs no mail and no start.
func TestHistoryFailsAlone(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		q := open(t, w, keeping)
		stop := running(t, q)
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		if err := os.RemoveAll(q.store.history.dir); err != nil {
			t.Fatal(err)
		}
		stop() // has no place for the stories, and no error
		if err := os.WriteFile(filepath.Join(q.dir, historyName), []byte("no directory"), 0o600); err != nil {
			t.Fatal(err)
		}
		q = open(t, w, func(o *Options) { keeping(o); o.Dir = q.dir })
		stop = running(t, q)
		enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
		synctest.Wait()
		if s := q.Stats(); s.Messages != 0 || len(w.tried("r")) != 2 {
			t.Errorf("left: %+v", s)
		}
		stop()
	})
}

// A history that cannot be written says so once, counts what is lost, and goes
// on when it can be written again.
func TestHistoryLost(t *testing.T) {
	dir, lost := t.TempDir(), 0
	var log strings.Builder
	h, err := openHistory(dir, 0, nil, HistoryOptions{Size: 64 << 20, lost: func(n int) { lost += n }}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	add := func(n int) {
		h.add([]story{sampleStory(n, time.Now()), sampleStory(n+1, time.Now())}, uint64(n), uint64(n+1))
	}
	if err := os.Remove(h.dir); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		add(2*n + 1)
	}
	if lost != 6 || strings.Count(log.String(), "history not written") != 1 {
		t.Errorf("%d lost, and said was %s", lost, &log)
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	add(7)
	add(9)
	if got := h.finds("r@b.test"); lost != 6 || !slices.Equal(got, []ID{10, 9, 8, 7}) || strings.Count(log.String(), "messages_lost=6") != 1 {
		t.Errorf("%d lost, found %v, and said was %s", lost, got, &log)
	}
}

// While the disk is filling the history has the newest stories and does not
// grow, whatever it had before.
func TestHistoryYields(t *testing.T) {
	for _, before := range []int{0, 80} {
		dir, now := t.TempDir(), time.Now()
		one, _ := encodeBlock([]story{sampleStory(1, now)}, 0, 1)
		o := HistoryOptions{Size: int64(len(one)) * 200}
		h := openTestHistory(t, dir, 0, o)
		addBlocks(h, before, 1, now)
		had, _ := h.state()
		h.opts.minFree = 1 << 62
		for n := range 100 {
			h.add([]story{sampleStory(1000+n, now)}, 1, 2)
			// A file is as large as an eighth of the history.
			if size, _ := h.state(); size > had+o.Size/4 {
				t.Fatalf("%d octets, had %d", size, had)
			}
			if got := h.finds("r@b.test"); got[0] != ID(1000+n) {
				t.Fatalf("the newest is %v", got[0])
			}
		}
		h.opts.minFree = 0
		addBlocks(h, 100, 1, now)
		if size, _ := h.state(); size < had+int64(len(one))*50 {
			t.Errorf("%d octets when there is room again, had %d", size, had)
		}
	}
}

// Replies as the servers of our day write them.
func TestNextHopID(t *testing.T) {
	for line, want := range map[string]string{
		"Ok: queued as 4XyZ12abCDz":                    "4XyZ12abCDz",
		"OK, queued as 06F8TKQ2C0000":                  "06F8TKQ2C0000",
		"OK id=1abCDe-00012f-3x":                       "1abCDe-00012f-3x",
		"4AB1CD2e012345 Message accepted for delivery": "4AB1CD2e012345",
		"<1@a.test> [InternalId=123456, Hostname=h.test] 1234 bytes in 0.1, 10 KB/sec Queued mail for delivery": "123456",
		"OK  1700000000 a1-20020a05.123 - gsmtp": "a1-20020a05.123",
		"ok 1700000000 qp 12345":                 "12345",
		"OK ids=0123abcd":                        "0123abcd",
		"<r@b.test> 6fRkBaxyz Saved":             "6fRkBaxyz",
		"Ok: queued as ":                         "",
		"thank you":                              "",
		"":                                       "",
	} {
		if got := nextHopID(smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, line)); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzStory(f *testing.F) {
	f.Add(sampleStory(1, time.UnixMilli(1_700_000_000_123)).record)
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeStory(b)
		decodeStory(appendSum(append([]byte(nil), b...)))
		(&story{record: b}).leftAt()
		o := newOverlay()
		o.replay(append([]byte{changeLeave}, b...))
	})
}
