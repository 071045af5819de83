package control

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"waypost/queue"
)

func TestExport(t *testing.T) {
	f := &fake{archive: strings.Repeat("0123456789", 100_000), exported: queue.Exported{Messages: 3, Bytes: 5, Held: 2}}
	for id := range queue.ID(1000) {
		f.exported.Damaged = append(f.exported.Damaged, id+1)
	}
	c, _ := connect(t, f)
	var out bytes.Buffer
	ids := make([]string, 10_000) // far more than another request may have
	for i := range ids {
		ids[i] = queue.ID(i + 1).String()
	}
	done, err := c.Export(t.Context(), &ExportRequest{Selection: Selection{IDs: ids, From: "@A.test"}, Hold: true}, &out)
	if err != nil || out.String() != f.archive {
		t.Errorf("%d octets, %v, want %d", out.Len(), err, len(f.archive))
	}
	if done.Messages != 3 || done.Bytes != 5 || done.Held != 2 || done.Damaged != 1000 || len(done.DamagedIDs) != maxNamed || done.DamagedIDs[1] != ids[1] {
		t.Errorf("said %+v", done)
	}
	if got := f.asked[0]; !f.held || got.From != "a.test" || len(got.IDs) != len(ids) {
		t.Errorf("asked for %.100v, hold %v", got, f.held)
	}
}

// What fails after part of the archive was sent is not taken for its end.
func TestExportFails(t *testing.T) {
	f := &fake{archive: "half an archive", fail: queue.ErrStore}
	c, _ := connect(t, f)
	var out bytes.Buffer
	_, err := c.Export(t.Context(), &ExportRequest{}, &out)
	wantCode(t, err, CodeStorage)
	if out.String() != f.archive {
		t.Errorf("got %q", out.String())
	}
	for _, bad := range []ExportRequest{
		{Selection: Selection{State: "lost"}}, {Selection: Selection{All: true}}, {Selection: Selection{After: "x"}}, {Selection: Selection{IDs: []string{"x"}}},
	} {
		_, err := c.Export(t.Context(), &bad, io.Discard)
		wantCode(t, err, CodeBadRequest)
	}
	full := errors.New("the disk is full")
	if _, err := c.Export(t.Context(), &ExportRequest{}, failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("said %v, want what the writer said", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestImport(t *testing.T) {
	f := &fake{reads: 1 << 30, imported: queue.Imported{Messages: 3, Bytes: 5, Before: 2}}
	c, _ := connect(t, f)
	archive := strings.Repeat("0123456789", 100_000)
	for word, hold := range holds {
		done, err := c.Import(t.Context(), strings.NewReader(archive), word)
		if err != nil || f.archive != archive || f.hold != hold {
			t.Errorf("hold %q: %v, %d octets, hold %v", word, err, len(f.archive), f.hold)
		}
		if done.Messages != 3 || done.Bytes != 5 || done.Before != 2 || done.Problem != nil {
			t.Errorf("said %+v", done)
		}
	}
	_, err := c.Import(t.Context(), strings.NewReader(archive), "maybe")
	wantCode(t, err, CodeBadRequest)
}

// endless is a source that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// An import that fails early says so at once, however much the client still has
// to send, and says how far it came.
func TestImportFailsEarly(t *testing.T) {
	for _, want := range []struct {
		err  error
		code Code
	}{{queue.ErrArchive, CodeBadArchive}, {queue.ErrNoRoom, CodeTemporary}} {
		for _, reads := range []int64{0, 10, 1 << 20} {
			f := &fake{reads: reads, imported: queue.Imported{Messages: 7}, fail: want.err}
			c, _ := connect(t, f)
			done, err := c.Import(t.Context(), endless{}, "")
			wantCode(t, err, want.code)
			if done == nil || done.Messages != 7 || int64(len(f.archive)) != reads {
				t.Errorf("said %+v after %d octets, want %d", done, len(f.archive), reads)
			}
		}
	}
}

// When the source fails, the queue hears of it, and does not take what it has
// for all.
func TestImportFromABrokenSource(t *testing.T) {
	f := &fake{reads: 1 << 30}
	c, stop := connect(t, f)
	broken := errors.New("the tape has torn")
	done, err := c.Import(t.Context(), io.MultiReader(strings.NewReader("half"), failingSource{broken}), "")
	if done != nil || !errors.Is(err, broken) {
		t.Errorf("said %+v, %v", done, err)
	}
	stop()
	if !slices.Contains([]string{"", "half"}, f.archive) {
		t.Errorf("the queue read %q", f.archive)
	}
}

type failingSource struct{ err error }

func (s failingSource) Read([]byte) (int, error) { return 0, s.err }
