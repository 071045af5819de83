package queue

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const tarBlock = 512

// importing takes archives, good and bad, and knows what they may bring.
type importing struct {
	t     *testing.T
	above string // the data directory is in it, and nothing else
	queue *Queue
	ids   map[ID]string // contents by ID in the archive
}

func newImporting(t *testing.T, ids map[ID]string) *importing {
	above := t.TempDir()
	q := open(t, &world{}, func(o *Options) { o.Dir = filepath.Join(above, "data") })
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return &importing{t, above, q, ids}
}

// take imports one archive. What comes of a bad one is an ErrArchive, and what
// is in the queue are whole messages of the good one.
func (i *importing) take(what string, archive io.Reader) {
	i.t.Helper()
	done, err := i.queue.Import(i.t.Context(), archive, KeepHold)
	if err != nil && !errors.Is(err, ErrArchive) {
		i.t.Errorf("%s: %v", what, err)
	}
	if all := int64(len(i.ids)); err == nil && done.Messages+done.Before != all {
		i.t.Errorf("%s: taken as whole, with %+v", what, done)
	}
	for _, id := range listed(i.t, i.queue, Filter{}) {
		if content, ok := i.ids[id]; !ok || readAll(i.t, i.queue, id) != content {
			i.t.Errorf("%s: %s is none of the archive", what, id)
		}
	}
	if n := len(i.queue.ids.drafts); n > 0 {
		i.t.Errorf("%s: %d drafts are left", what, n)
	}
}

// rest looks at what is around the data directory, and at the files in it.
func (i *importing) rest() {
	i.t.Helper()
	if entries, err := os.ReadDir(i.above); err != nil || len(entries) != 1 {
		i.t.Errorf("there are %v now (%v)", entries, err)
	}
	files, err := os.ReadDir(i.queue.contentDir())
	if err != nil {
		i.t.Fatal(err)
	}
	for _, f := range files {
		if id, err := ParseID(f.Name()); err != nil || len(i.ids[id]) <= inlineLimit {
			i.t.Errorf("there is a file %s", f.Name())
		}
	}
}

func smallArchive(t *testing.T) (archive []byte, contents map[ID]string) {
	t.Helper()
	q := open(t, &world{}, nil)
	contents = map[ID]string{}
	for _, content := range []string{"x\r\n", strings.Repeat("two\r\n", 120), largeContent(3)} {
		contents[enqueue(t, q, "s@a.test", content, "r@b.test", "q@c.test")] = content
	}
	archive, _ = export(t, q, ExportOptions{})
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return archive, contents
}

// headers are where the members of an archive begin.
func headers(t *testing.T, archive []byte) (places []int) {
	t.Helper()
	for at := 0; archive[at] != 0; {
		var size int
		if _, err := fmt.Sscanf(string(archive[at+124:at+135]), "%o", &size); err != nil {
			t.Fatal(err)
		}
		places = append(places, at)
		at += tarBlock + (size+tarBlock-1)/tarBlock*tarBlock
	}
	return places
}

// sealHeader makes the checksum of a header right.
func sealHeader(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h[:tarBlock] {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// An archive that ends anywhere is taken as far as it goes, message by message,
// and is never taken as whole.
func TestArchiveCutAnywhere(t *testing.T) {
	archive, contents := smallArchive(t)
	last := headers(t, archive)[7]
	for at := 0; at <= len(archive); at += tarBlock {
		if at > 8*tarBlock && at < last-4*tarBlock && at%(16*tarBlock) > 0 {
			continue // within the large content
		}
		for _, cut := range []int{at - 1, at, at + 1} {
			if cut >= 0 && cut <= len(archive) {
				i := newImporting(t, contents)
				i.take(fmt.Sprintf("cut at %d of %d", cut, len(archive)), bytes.NewReader(archive[:cut]))
				i.rest()
			}
		}
	}
}

// Whichever octet of a header is wrong, with its checksum or without, nothing
// comes of it that is not in the archive.
func TestArchiveWithSpoiltHeaders(t *testing.T) {
	archive, contents := smallArchive(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for _, place := range headers(t, archive) {
		i := newImporting(t, contents)
		for octet := range tarBlock {
			for _, sealed := range []bool{false, true} {
				if !sealed && octet%16 > 0 {
					continue // its checksum tells
				}
				spoilt := bytes.Clone(archive)
				if spoilt[place+octet] ^= 1 << random.IntN(8); sealed {
					sealHeader(spoilt[place:])
				}
				i.take(fmt.Sprintf("octet %d of the header at %d, sealed %v", octet, place, sealed), bytes.NewReader(spoilt))
			}
		}
		for kind := range 256 {
			spoilt := bytes.Clone(archive)
			spoilt[place+156] = byte(kind)
			sealHeader(spoilt[place:])
			i.take(fmt.Sprintf("kind %#x of the header at %d", kind, place), bytes.NewReader(spoilt))
		}
		i.rest()
	}
}

// Sizes that no file has are refused, in digits as in GNU's binary form.
func TestArchiveWithHugeSizes(t *testing.T) {
	archive, contents := smallArchive(t)
	i := newImporting(t, contents)
	for _, place := range headers(t, archive) {
		for _, size := range []uint64{1 << 33, 1 << 40, 1 << 62, 1<<63 - 1, 1 << 63, ^uint64(0)} {
			spoilt := bytes.Clone(archive)
			field := spoilt[place+124 : place+136]
			clear(field)
			field[0] = 0x80
			binary.BigEndian.PutUint64(field[4:], size)
			sealHeader(spoilt[place:])
			allocated(t, 64<<20, func() { i.take(fmt.Sprintf("%d octets at %d", size, place), bytes.NewReader(spoilt)) })
		}
	}
	i.rest()
}

// allocated holds f to so much memory, all in all.
func allocated(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > limit {
		t.Errorf("it took %d octets of memory, and may take %d", n, limit)
	}
}

// endless is the same again and again.
type endless struct {
	b    []byte
	left int // times
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) && e.left > 0 {
		k := copy(p[n:], e.b[e.at:])
		n += k
		if e.at += k; e.at == len(e.b) {
			e.at = 0
			e.left--
		}
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}

// weighed looks now and then at how much memory is in use more than before.
type weighed struct {
	r      io.Reader
	n, at  int
	before uint64
	most   uint64
}

func (w *weighed) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.n += n; w.n > w.at {
		w.at += 16 << 20
		w.most = max(w.most, max(inUse(), w.before)-w.before)
	}
	return n, err
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million of anything, or what is much more than it looks, ends at once, or
// takes no more memory than one.
func TestArchiveBombs(t *testing.T) {
	archive, contents := smallArchive(t)
	places := headers(t, archive)
	head := archive[:places[1]]
	entry := func(name string, kind byte, text string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		err := w.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Size: int64(len(text)), Format: tar.FormatUSTAR})
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err := errors.Join(err, w.Flush()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	pax := entry("pax", tar.TypeReg, "20 comment=1234567\n\n")
	const million = 1_000_000
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := io.Copy(z, &endless{b: make([]byte, 1<<20), left: 256}); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	kind := func(b []byte, kind byte) []byte {
		b = bytes.Clone(b)
		b[156] = kind
		sealHeader(b)
		return b
	}
	for name, bomb := range map[string]io.Reader{
		"empty entries in front": &endless{b: entry("x", tar.TypeReg, ""), left: million},
		"empty entries":          io.MultiReader(bytes.NewReader(head), &endless{b: entry("0000000000000.json", tar.TypeReg, ""), left: million}),
		"directories":            io.MultiReader(bytes.NewReader(head), &endless{b: entry("d/", tar.TypeDir, ""), left: million}),
		"heads":                  &endless{b: head, left: million},
		// These are read one by one, up to the end.
		"further headers":         io.MultiReader(bytes.NewReader(head), &endless{b: kind(pax, tar.TypeXHeader), left: million / 10}),
		"further headers for all": io.MultiReader(bytes.NewReader(head), &endless{b: kind(pax, tar.TypeXGlobalHeader), left: million}),
		"long names":              io.MultiReader(bytes.NewReader(head), &endless{b: kind(pax, tar.TypeGNULongName), left: million / 10}),
		"zeros":                   io.MultiReader(bytes.NewReader(head), &endless{b: make([]byte, tarBlock), left: million}),
		"what is compressed":      &zipped,
		"the same message":        io.MultiReader(bytes.NewReader(head), &endless{b: archive[places[1]:places[3]], left: million}),
		"the end":                 io.MultiReader(bytes.NewReader(archive[:places[7]]), &endless{b: archive[places[7]:], left: million}),
	} {
		t.Run(name, func(t *testing.T) {
			i := newImporting(t, contents)
			w := &weighed{r: bomb, before: inUse()}
			i.take(name, w)
			if w.most > 8<<20 {
				t.Errorf("behind %d octets %d are in use", w.n, w.most)
			}
			i.rest()
		})
	}
}

// A record that is all small objects takes no more than some times its length.
func TestRecordBombs(t *testing.T) {
	archive, contents := smallArchive(t)
	places := headers(t, archive)
	const many = 10_000_000
	for name, message := range map[string]string{
		"deliveries":        `{"id":"0000000000001","deliveries":[` + strings.Repeat("{},", many) + `{}]}`,
		"recipients":        `{"id":"0000000000001","deliveries":[{"recipients":[` + strings.Repeat("{},", many) + `{}]}]}`,
		"lines":             `{"id":"0000000000001","deliveries":[{"recipients":[{"last":{"lines":[` + strings.Repeat(`"",`, many) + `""]}}]}]}`,
		"as many as may be": `{"id":"0000000000001","deliveries":[` + strings.Repeat(`{"destination":"123456789.1234"},`, many/32*3) + `{}]}`,
		"arrays":            strings.Repeat("[", many) + strings.Repeat("]", many),
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			text := record(message)
			err := w.WriteHeader(&tar.Header{Name: "0000000000001.json", Size: int64(len(text)), Format: tar.FormatUSTAR})
			if err == nil {
				_, err = io.WriteString(w, text)
			}
			if err := errors.Join(err, w.Flush()); err != nil {
				t.Fatal(err)
			}
			i := newImporting(t, contents)
			allocated(t, 1<<30, func() { i.take(name, io.MultiReader(bytes.NewReader(archive[:places[1]]), &b)) })
			i.rest()
		})
	}
}
