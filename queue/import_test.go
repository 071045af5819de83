package queue

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// sample is an archive of three messages, one of them large.
func sample(t testing.TB) (archive []byte, ids []ID) {
	t.Helper()
	q := open(t, &world{}, nil)
	defer q.Close()
	for _, content := range []string{"first\r\n", strings.Repeat("0123456789abcdef", inlineLimit/8), "third\r\n"} {
		ids = append(ids, enqueue(t, q, "s@a.test", content, "r@b.test", "q@c.test"))
	}
	archive, _ = export(t, q, ExportOptions{})
	return archive, ids
}

// Imported twice, after a start, and after everything was delivered: each
// message is taken once.
func TestImportTakesOnce(t *testing.T) {
	archive, ids := sample(t)
	dir := t.TempDir()
	w := &world{}
	again := func(name string, want Imported) {
		t.Helper()
		q := open(t, w, func(o *Options) { o.Dir = dir })
		defer q.Close()
		if got := mustImport(t, q, archive, KeepHold); got.Messages != want.Messages || got.Before != want.Before {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		// Without a start between, the memory is in the journal alone.
		if got := mustImport(t, q, archive, KeepHold); got.Messages != 0 || got.Before != 3 {
			t.Errorf("%s, and once more: %+v", name, got)
		}
	}
	again("first", Imported{Messages: 3})
	again("after a start", Imported{Before: 3})
	q := open(t, w, func(o *Options) { o.Dir = dir })
	if got := listed(t, q, Filter{}); !slices.Equal(got, ids) {
		t.Errorf("IDs %v, want %v", got, ids)
	}
	if n, err := q.Remove(Filter{}); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	again("after they left", Imported{Before: 3})
}

// What never left a queue is not put there a second time.
func TestImportWhereItCameFrom(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	gone, stays := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test"), enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
	archive, _ := export(t, q, ExportOptions{})
	if n, err := q.Remove(Filter{IDs: []ID{gone}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := mustImport(t, q, archive, KeepHold); got.Messages != 1 || got.Before != 1 {
		t.Errorf("imported: %+v", got)
	}
	if got := listed(t, q, Filter{}); !slices.Equal(got, []ID{gone, stays}) {
		t.Errorf("there are %v, want %v and %v", got, gone, stays)
	}
}

// Two imports of one archive at the same time take each message once.
func TestImportTwiceAtOnce(t *testing.T) {
	archive, _ := sample(t)
	q := open(t, &world{}, nil)
	defer q.Close()
	var both sync.WaitGroup
	var taken, before [2]int64
	for i := range 2 {
		both.Go(func() {
			done, err := q.Import(context.Background(), bytes.NewReader(archive), KeepHold)
			if err != nil {
				t.Error(err)
			}
			taken[i], before[i] = done.Messages, done.Before
		})
	}
	both.Wait()
	if taken[0]+taken[1] != 3 || before[0]+before[1] != 3 {
		t.Errorf("taken %v, before %v", taken, before)
	}
	if s := q.Stats(); s.Messages != 3 || s.Queued != 6 {
		t.Errorf("there are: %+v", s)
	}
	if files, err := os.ReadDir(q.contentDir()); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
}

// An ID that another message has, or a file that nobody knows, is not touched:
// the imported message gets an ID of the same time.
func TestImportFindsAFreeID(t *testing.T) {
	archive, ids := sample(t)
	for name, taken := range map[string]func(q *Queue){
		"by a message": func(q *Queue) {
			for _, id := range ids {
				d := q.newDraft(id)
				if err := d.Commit(Envelope{}, []Recipient{{Path: path("own@b.test")}}); err != nil {
					t.Fatal(err)
				}
			}
		},
		"by drafts": func(q *Queue) {
			for _, id := range ids {
				q.ids.claim(id)
			}
		},
		"by a file": func(q *Queue) {
			for _, id := range ids {
				if err := os.WriteFile(q.contentFile(id), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		q := open(t, &world{}, nil)
		taken(q)
		if done := mustImport(t, q, archive, KeepHold); done.Messages != 3 {
			t.Errorf("%s: %+v", name, done)
		}
		found := 0
		for _, id := range listed(t, q, Filter{}) {
			e, err := q.Show(id)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(ids, id) {
				if e.Deliveries[0].Recipients[0].Path.Local != "own" {
					t.Errorf("%s: %s is the imported one", name, id)
				}
				continue
			}
			if found++; !slices.ContainsFunc(ids, func(o ID) bool { return o.Arrived().Equal(id.Arrived()) }) {
				t.Errorf("%s: %s is of another time than %v", name, id, ids)
			}
			content, err := q.Content(id)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{content}); err != nil || n != e.Size {
				t.Errorf("%s: content of %d octets, %v", name, n, err)
			}
			content.Close()
		}
		if found != 3 {
			t.Errorf("%s: %d imported messages", name, found)
		}
		q.Close()
	}
}

// A message lives as long as it would have where it came from, is tried when
// it would have been, and goes where today's routes lead.
func TestImportKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ *Message, d *Delivery) Outcome { return all(d, deferred("not now")) }}
		a := open(t, w, nil)
		stop := running(t, a)
		start := time.Now()
		enqueue(t, a, "s@a.test", "x\r\n", "r@b.test", "q@b.test")
		time.Sleep(35 * time.Minute)
		synctest.Wait()
		archive, _ := export(t, a, ExportOptions{Hold: true})
		stop()

		other := &world{route: func(r *Recipient) string { return "new-" + r.Path.Local }}
		other.answer = func(m *Message, d *Delivery) Outcome {
			if m.ReversePath.IsNull() {
				return all(d, Result{State: Delivered})
			}
			return all(d, deferred("not here either"))
		}
		b := open(t, other, nil)
		defer running(t, b)()
		mustImport(t, b, archive, KeepHold)
		e, _, err := b.List(Filter{}, 0, 1)
		if err != nil || len(e) != 1 || len(e[0].Deliveries) != 2 {
			t.Fatalf("there are %+v, %v", e, err)
		}
		for i, want := range []string{"new-r", "new-q"} {
			d := e[0].Deliveries[i]
			if d.Destination != want || d.Attempts != 2 || d.Recipients[0].State != Deferred || d.Recipients[0].Last.Text() != "451 4.3.0 not now" {
				t.Errorf("delivery %d: %+v", i, d)
			}
		}
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		tried := other.tried("r")
		if got := tried[0].Sub(start).Round(time.Second); got != 90*time.Minute {
			t.Errorf("tried first after %v, want 90 minutes", got)
		}
		if got := tried[len(tried)-1].Sub(start).Round(time.Second); got != 5*24*time.Hour {
			t.Errorf("tried last after %v, want five days", got)
		}
		if got := len(other.reported()); got != 2 {
			t.Errorf("%d reports, want one for each destination", got)
		}
	})
}

func TestImportHolds(t *testing.T) {
	a := open(t, &world{}, nil)
	defer a.Close()
	held := enqueue(t, a, "s@a.test", "x\r\n", "r@b.test")
	enqueue(t, a, "s@a.test", "x\r\n", "r@b.test")
	if _, err := a.Hold(Filter{IDs: []ID{held}}); err != nil {
		t.Fatal(err)
	}
	archive, _ := export(t, a, ExportOptions{})
	for hold, want := range map[ImportHold]int64{KeepHold: 1, HoldAll: 2, ReleaseAll: 0} {
		q := open(t, &world{}, nil)
		mustImport(t, q, archive, hold)
		if s := q.Stats(); s.Held != want || s.Queued != 2-want {
			t.Errorf("with %d: %+v, want %d held", hold, s, want)
		}
		q.Close()
	}
}

// What was imported is remembered for thirty days, and then forgotten.
func TestImportsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		archive, _ := sample(t)
		dir := t.TempDir()
		for _, step := range []struct {
			after        time.Duration
			taken, known int64
		}{{0, 3, 0}, {30 * 24 * time.Hour, 0, 3}, {2 * 24 * time.Hour, 0, 3}, {0, 3, 0}} {
			time.Sleep(step.after)
			q := open(t, &world{}, func(o *Options) { o.Dir = dir })
			got := mustImport(t, q, archive, KeepHold)
			if got.Messages != step.taken || got.Before != step.known {
				t.Errorf("after %v more: %+v, want %+v", step.after, got, step)
			}
			if _, err := q.Remove(Filter{}); err != nil {
				t.Fatal(err)
			}
			if err := q.Close(); err != nil { // it forgets when it writes
				t.Fatal(err)
			}
		}
	})
}

func TestImportWithoutRoom(t *testing.T) {
	archive, _ := sample(t)
	q := open(t, &world{}, func(o *Options) { o.MinFree = 1 << 62 })
	defer q.Close()
	if done, err := q.Import(t.Context(), bytes.NewReader(archive), KeepHold); !errors.Is(err, ErrNoRoom) || done.Messages != 0 {
		t.Errorf("imported %+v, %v", done, err)
	}
}

// Cut anywhere, and with the process ending there, an import can be repeated
// until everything is there once.
func TestImportIsRepeated(t *testing.T) {
	a := open(t, &world{}, nil)
	ledger := map[string]int{} // by content
	for i := range 500 {
		content := fmt.Sprintf("message %d\r\n", i)
		if i%50 == 0 {
			content += strings.Repeat("x", inlineLimit)
		}
		ledger[content] = 0
		enqueue(t, a, "s@a.test", content, "r@b.test")
	}
	archive, _ := export(t, a, ExportOptions{})
	a.Close()
	dir := t.TempDir()
	for round := 0; ; round++ {
		q := open(t, &world{}, func(o *Options) { o.Dir = dir })
		cut := len(archive)
		if round < 10 {
			cut = rand.IntN(len(archive) * (round + 1) / 10)
		}
		done, err := q.Import(t.Context(), bytes.NewReader(archive[:cut]), KeepHold)
		if err != nil && !errors.Is(err, ErrArchive) || err == nil && cut < len(archive)-2*512 {
			t.Errorf("cut at %d of %d: %+v, %v", cut, len(archive), done, err)
		}
		if round == 10 {
			count(t, q, ledger)
			q.Close()
			break
		}
		<-q.store.checkpoint
		dir = copyDir(t, dir) // a crash: nothing is closed
		q.Close()
	}
	for content, n := range ledger {
		if n != 1 {
			t.Errorf("%.20q is there %d times", content, n)
		}
	}
}

// count writes down what is in the queue.
func count(t *testing.T, q *Queue, ledger map[string]int) {
	t.Helper()
	for _, id := range listed(t, q, Filter{}) {
		content, err := q.Content(id)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		content.Close()
		if _, ok := ledger[string(text)]; !ok {
			t.Errorf("%s is none that was exported: %.40q", id, text)
		}
		ledger[string(text)]++
	}
}

// archiveOf makes an archive of members, whatever they are.
func archiveOf(t testing.TB, all []member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range all {
		if m.Size = int64(len(m.text)); m.Typeflag != tar.TypeReg {
			m.Size = 0
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text[:m.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// record is an ID.json with a checksum that is right.
func record(message string) string {
	sum := sha256.Sum256([]byte(message))
	return `{"sha256":"` + hex.EncodeToString(sum[:]) + `","message":` + message + "}\n"
}

// edit changes what is said of a message, and mends the checksum.
func edit(t *testing.T, text, old, new string) string {
	t.Helper()
	var r archiveRecord
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(r.Message), old, new, 1)
	if changed == string(r.Message) {
		t.Fatalf("there is no %q in %s", old, r.Message)
	}
	return record(changed)
}

// Whatever is wrong with an archive is said, what came before it is taken, and
// nothing of what comes behind it.
func TestBadArchives(t *testing.T) {
	archive, ids := sample(t)
	// The members are: 0 head, 1 and 2, 3 and 4, 5 and 6 messages, 7 end.
	sound := members(t, archive)
	first, second := ids[0].String(), ids[1].String()
	for _, tc := range []struct {
		name  string
		spoil func([]member) []member
		want  string
		taken int64
	}{
		{"another format", func(m []member) []member {
			m[0].text = `{"format":"shopping list"}`
			return m
		}, "does not say that it is a waypost queue", 0},
		{"no JSON", func(m []member) []member {
			m[0].text = "\x00"
			return m
		}, "does not say that it is a waypost queue", 0},
		{"a newer version", func(m []member) []member {
			m[0].text = strings.Replace(m[0].text, `"version":1`, `"version":2,"more":true`, 1)
			return m
		}, "it is of version 2, and this program reads version 1", 0},
		{"no identity", func(m []member) []member {
			m[0].text = `{"format":"waypost queue","version":1,"queue":"abc"}`
			return m
		}, "does not name the queue", 0},
		{"no head", func(m []member) []member { return m[1:] }, "begins with", 0},
		{"nothing", func(m []member) []member { return nil }, "it is cut off", 0},
		{"no end", func(m []member) []member { return m[:7] }, "it is cut off", 3},
		{"no content", func(m []member) []member { return slices.Delete(m, 4, 5) }, "where the content of " + second + " belongs", 1},
		{"no record", func(m []member) []member { return slices.Delete(m, 3, 4) }, "where the next message belongs", 1},
		{"a message less", func(m []member) []member { return slices.Delete(m, 3, 5) }, "it has 2 messages, and its end speaks of 3", 2},
		{"two messages exchanged", func(m []member) []member {
			m[3], m[4], m[5], m[6] = m[5], m[6], m[3], m[4]
			return m
		}, "in the order of their IDs", 2},
		{"a message twice", func(m []member) []member {
			return slices.Insert(m, 3, m[1], m[2])
		}, "each is there once", 1},
		{"more behind the end", func(m []member) []member { return append(m, m[1], m[2]) }, "comes behind its end", 3},
		{"a flipped bit in a record", func(m []member) []member {
			m[3].text = strings.Replace(m[3].text, "r@b.test", "r@c.test", 1)
			return m
		}, second + ".json does not match its checksum", 1},
		{"a flipped bit in a content", func(m []member) []member {
			m[4].text = "x" + m[4].text[1:]
			return m
		}, second + ".eml does not match its checksum", 1},
		{"a shorter content", func(m []member) []member {
			m[4].text = m[4].text[1:]
			return m
		}, second + ".eml has", 1},
		{"a flipped bit in the end", func(m []member) []member {
			m[7].text = strings.Replace(m[7].text, `"sha256":"`, `"sha256":"0`, 1)
			return m
		}, "its end speaks of 3 or of others", 3},
		{"a record of another", func(m []member) []member {
			m[3].text = m[1].text
			return m
		}, second + `.json is about "` + first, 1},
		{"a link", func(m []member) []member {
			m[4].Typeflag, m[4].Linkname = tar.TypeSymlink, "/etc/passwd"
			return m
		}, "is no regular file", 1},
		{"a hard link", func(m []member) []member {
			m[3].Typeflag, m[3].Linkname = tar.TypeLink, "../../etc/passwd"
			return m
		}, "is no regular file", 1},
		{"a directory", func(m []member) []member {
			return slices.Insert(m, 3, member{Header: tar.Header{Name: "content/", Typeflag: tar.TypeDir, Format: tar.FormatUSTAR}})
		}, "is no regular file", 1},
		{"a path upwards", func(m []member) []member {
			m[3].Name = "../" + m[3].Name
			return m
		}, "where the next message belongs", 1},
		{"a path from the root", func(m []member) []member {
			m[4].Name = "/etc/passwd"
			return m
		}, "where the content of", 1},
		{"small letters", func(m []member) []member {
			m[3].Name = strings.ToLower(m[3].Name)
			return m
		}, "where the next message belongs", 1},
		{"an escape in a name", func(m []member) []member {
			m[3].Name = "\x1b[2J.json"
			return m
		}, `"\x1b[2J.json"`, 1},
		{"an unknown name", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"arrival"`, `"require_miracle":true,"arrival"`)
			return m
		}, `unknown field "require_miracle"`, 1},
		{"two values", func(m []member) []member {
			m[3].text += "{}"
			return m
		}, "more than one value", 1},
		{"a NUL in an address", func(m []member) []member {
			m[3].text = edit(t, m[3].text, "r@b.test", `r\u0000@b.test`)
			return m
		}, second + ".json: address:", 1},
		{"a command in a parameter", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"arrival"`, `"envelope_id":"x\r\nRSET","arrival"`)
			return m
		}, second + ".json: envelope_id:", 1},
		{"a space in ORCPT", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"state":"queued"`, `"state":"queued","original_recipient":"rfc822;a NOTIFY=NEVER"`)
			return m
		}, "original_recipient:", 1},
		{"two addresses", func(m []member) []member {
			m[3].text = edit(t, m[3].text, "r@b.test", `r@b.test> <x@y.test`)
			return m
		}, "address:", 1},
		{"no address", func(m []member) []member {
			m[3].text = edit(t, m[3].text, "r@b.test", ``)
			return m
		}, "address: it is empty", 1},
		{"an unknown state", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"queued"`, `"lost"`)
			return m
		}, `there is no state "lost"`, 1},
		{"nobody waits", func(m []member) []member {
			m[3].text = strings.ReplaceAll(m[3].text, `"queued"`, `"delivered"`)
			m[3].text = edit(t, m[3].text, `}`, `}`+" ")
			return m
		}, "no recipient waits", 1},
		{"a size that is none", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"size":`, `"size":-`)
			return m
		}, "octets, and should have -", 1},
		{"a time before time", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"arrival":"20`, `"arrival":"00`)
			return m
		}, "arrival:", 1},
		{"attempts below zero", func(m []member) []member {
			m[3].text = edit(t, m[3].text, `"attempts":0`, `"attempts":-1`)
			return m
		}, "attempts:", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := open(t, &world{}, nil)
			defer q.Close()
			done, err := q.Import(t.Context(), bytes.NewReader(archiveOf(t, tc.spoil(slices.Clone(sound)))), KeepHold)
			if !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("said %v, want %q", err, tc.want)
			}
			if s := q.Stats(); done.Messages != tc.taken || s.Messages != tc.taken {
				t.Errorf("taken: %+v, there are %d messages, want %d", done, s.Messages, tc.taken)
			}
			large := 0
			if tc.taken > 1 && !strings.HasPrefix(tc.name, "a message less") && tc.name != "two messages exchanged" {
				large = 1
			}
			if files, err := os.ReadDir(q.contentDir()); err != nil || len(files) != large {
				t.Errorf("%d files, %v, want %d", len(files), err, large)
			}
			if len(q.ids.drafts) != 0 {
				t.Errorf("%d IDs are kept for drafts that are gone", len(q.ids.drafts))
			}
			// And the sound archive is taken as if nothing had been.
			if again := mustImport(t, q, archive, KeepHold); again.Messages+again.Before != 3 || again.Before != tc.taken {
				t.Errorf("then %+v", again)
			}
		})
	}
}

// A record that says it has gigabytes costs no memory, and is not read.
func TestHugeRecord(t *testing.T) {
	archive, ids := sample(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	head := members(t, archive)[0]
	if err := w.WriteHeader(&head.Header); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, head.text); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeader(&tar.Header{Name: ids[0].String() + ".json", Size: 7 << 30, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	q := open(t, &world{}, nil)
	defer q.Close()
	if _, err := q.Import(t.Context(), &b, KeepHold); !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), "and may have 33554432") {
		t.Errorf("said %v", err)
	}
}

// That the source fails is not the archive's fault.
func TestImportFromABrokenSource(t *testing.T) {
	archive, _ := sample(t)
	q := open(t, &world{}, nil)
	defer q.Close()
	broken := io.MultiReader(bytes.NewReader(archive[:len(archive)/2]), failingReader{})
	done, err := q.Import(t.Context(), broken, KeepHold)
	if !errors.Is(err, io.ErrNoProgress) || errors.Is(err, ErrArchive) || done.Messages != 1 {
		t.Errorf("imported %+v, %v", done, err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

// Whatever is read, the reader neither panics nor hands out what does not
// match its checksums, and a whole archive is all that ends well.
func FuzzArchive(f *testing.F) {
	q := open(f, &world{}, nil)
	enqueue(f, q, "s@a.test", "x\r\n", "r@b.test", "q@c.test")
	enqueue(f, q, "", "y\r\n", "r@b.test")
	archive, _ := export(f, q, ExportOptions{})
	q.Close()
	f.Add(archive)
	f.Add(archive[:len(archive)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := newArchiveReader(bytes.NewReader(b))
		for last := ID(0); err == nil; {
			var m *archived
			if m, err = a.next(); err != nil {
				break
			}
			if m.id <= last || m.message.ID != m.id.String() {
				t.Errorf("%s after %s, which is about %s", m.id, last, m.message.ID)
			}
			last = m.id
			checkParsed(t, m.id, &m.message)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrArchive) {
			t.Errorf("said %v", err)
		}
	})
}

// FuzzRecord goes where checksums keep FuzzArchive from going: what is said of
// a message.
func FuzzRecord(f *testing.F) {
	q := open(f, &world{}, nil)
	enqueue(f, q, "s@a.test", "x\r\n", "r@b.test", "q@c.test")
	archive, _ := export(f, q, ExportOptions{})
	q.Close()
	var r archiveRecord
	if err := json.Unmarshal([]byte(members(f, archive)[1].text), &r); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(r.Message))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m exportedMessage
		if strictJSON(b, &m) == nil {
			checkParsed(t, 1, &m)
		}
	})
}

// checkParsed makes sure that what is accepted can be kept, and reads the same.
func checkParsed(t *testing.T, id ID, in *exportedMessage) {
	t.Helper()
	env, deliveries, err := parseExported(in)
	if err != nil {
		return
	}
	m := &Message{ID: id, Envelope: env}
	if again, err := decodeMessage(id, encodeMessage(m)); err != nil || again.ReversePath != env.ReversePath || !again.Arrival.Equal(env.Arrival) {
		t.Errorf("%+v became %+v, %v", env, again, err)
	}
	for _, d := range deliveries {
		if _, err := decodeDelivery(d.key(), encodeDelivery(d.Delivery)); err != nil {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// Nothing that is kept of a message is missing in an archive. A field that is
// new in the queue has no value here, and fails the test until it is given
// one and is carried along.
func TestArchiveHasEveryField(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	e := Entry{ID: 1 << 40, Envelope: Envelope{
		ReversePath: path("s@a.test"), EnvelopeID: "id", Return: "HDRS", UTF8: true, EightBit: true, Binary: true, RequireTLS: true, Priority: -3,
		Class: "news", ClassRule: "class[0] from a.test", DeliverBy: DeliverBy{Deadline: at, Return: true, Trace: true}, HoldUntil: at, MessageID: "1@a.test", Arrival: at, Size: 7,
		Client: "c.test ([192.0.2.1])", Login: "jo", Listener: "192.0.2.1:25", Protocol: "ESMTP", TLS: "TLS 1.3", ReportOn: 17,
	}, Attempts: []Attempt{{
		Index: 0, Number: 4, Time: at, Destination: "old.test", Reports: []SentReport{{ReportDelay, 18}},
		Results: []Tried{{Path: path("r@b.test"), State: Expired, Result: Result{State: Deferred, Reason: "why"}}},
	}}, Deliveries: []*Delivery{{
		Destination: "b.test", Attempts: 3, Next: at, Held: true, Warned: true, Notices: 1,
		Recipients: []Recipient{{
			Path: path("r@b.test"), Notify: smtp.NotifyDelay, OriginalRecipient: "rfc822;r@b.test", State: Deferred, LastAttempt: at,
			Last: Result{
				State: Deferred, Reply: smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{"later"}}, Reason: "why",
				Status: smtp.EnhancedCode{4, 7, 0}, Host: "mx.test", Reported: true, Relayed: true, TLS: "TLS 1.2", Duration: 1234 * time.Millisecond,
			},
		}},
	}}}
	// What a delivery has of its message and of its place is not in an archive
	// a second time; nor is what is made anew.
	derived := map[reflect.Type][]string{
		reflect.TypeFor[Delivery](): {"ID", "Index", "Size", "Class", "Priority", "HoldUntil", "Deadline", "Return", "sum"},
		reflect.TypeFor[Attempt]():  {"Index"},
	}
	for _, part := range []any{e.Envelope, e.DeliverBy, *e.Deliveries[0], e.Deliveries[0].Recipients[0], e.Deliveries[0].Recipients[0].Last, e.Attempts[0], e.Attempts[0].Results[0]} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() && !slices.Contains(derived[v.Type()], name) {
				t.Errorf("%T.%s has no value here", part, name)
			}
		}
	}
	text, err := json.Marshal(describe(&e))
	if err != nil {
		t.Fatal(err)
	}
	var m exportedMessage
	if err := strictJSON(text, &m); err != nil {
		t.Fatal(err)
	}
	env, deliveries, err := parseExported(&m)
	if env.Size = e.Size; err != nil || !reflect.DeepEqual(env, e.Envelope) {
		t.Errorf("the envelope is %+v, %v, want %+v", env, err, e.Envelope)
	}
	if !reflect.DeepEqual(deliveries[0].Delivery, e.Deliveries[0]) {
		t.Errorf("the delivery is %+v, want %+v", *deliveries[0].Delivery, *e.Deliveries[0])
	}
	if !reflect.DeepEqual(deliveries[0].log, e.Attempts) {
		t.Errorf("the attempts are %+v, want %+v", deliveries[0].log, e.Attempts)
	}
}
