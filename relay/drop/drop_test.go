package drop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// taker notes what it takes; err is what it says instead.
type taker struct {
	err       error
	permanent bool
	envelopes []Envelope
	contents  []string
	owners    []uint32
	after     func()
	later     string // the content that it does not take for now
}

var errLater = errors.New("not now")

func (t *taker) Take(_ context.Context, owner uint32, e Envelope, content io.ReadSeeker) error {
	if t.err != nil {
		return t.err
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if t.later != "" && string(b) == t.later {
		return errLater
	}
	t.envelopes, t.contents, t.owners = append(t.envelopes, e), append(t.contents, string(b)), append(t.owners, owner)
	if t.after != nil {
		t.after()
	}
	return nil
}

func (t *taker) Permanent(error) bool { return t.permanent }

func newCollector(t *testing.T) (*Collector, *taker) {
	t.Helper()
	take := &taker{}
	c := &Collector{Dir: filepath.Join(t.TempDir(), "drop"), Taker: take}
	if err := c.Open(false); err != nil {
		t.Fatal(err)
	}
	return c, take
}

// left are the names of the files in dir.
func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestMessagesAreTakenInOrder(t *testing.T) {
	c, take := newCollector(t)
	want := Envelope{From: "s@a.test", To: []string{"r@b.test", "q@b.test"}, Notify: "NEVER", Return: "HDRS", ID: "e", UTF8: true}
	for _, content := range []string{"one\r\n", "two\r\n", strings.Repeat("x", 1<<20)} {
		if err := Write(c.Dir, want, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "half"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(take.contents) != 3 || take.contents[0] != "one\r\n" || take.contents[1] != "two\r\n" || len(take.contents[2]) != 1<<20 {
		t.Errorf("took %.100q", take.contents)
	}
	want.Format = format
	if got := take.envelopes[0]; got.From != want.From || len(got.To) != 2 || got.Notify != want.Notify || got.Return != want.Return || got.ID != want.ID || !got.UTF8 {
		t.Errorf("envelope %+v, want %+v", got, want)
	}
	if take.owners[0] != uint32(os.Getuid()) {
		t.Errorf("owner %d", take.owners[0])
	}
	if names := left(t, c.Dir); len(names) != 1 || names[0] != "half" {
		t.Errorf("left: %q", names)
	}
}

func TestWhatHasToWaitStays(t *testing.T) {
	c, take := newCollector(t)
	if err := Write(c.Dir, Envelope{To: []string{"r@b.test"}}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	take.err = errors.New("disk full")
	if err := c.collect(t.Context()); !errors.Is(err, take.err) {
		t.Errorf("collect: %v", err)
	}
	if names := left(t, c.Dir); len(names) != 1 {
		t.Errorf("left: %q", names)
	}
	take.permanent = true
	var log bytes.Buffer
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := c.collect(t.Context()); err != nil {
		t.Error(err)
	}
	if names := left(t, c.Dir); len(names) != 0 {
		t.Errorf("left: %q", names)
	}
	if names := left(t, filepath.Join(c.Dir, refusedName)); len(names) != 1 || !strings.Contains(log.String(), "disk full") {
		t.Errorf("set aside: %q, log %s", names, &log)
	}
}

// A message that has to wait keeps no other from being taken.
func TestOthersDoNotWait(t *testing.T) {
	c, take := newCollector(t)
	for _, content := range []string{"later", "one", "two"} {
		if err := Write(c.Dir, Envelope{To: []string{"r@b.test"}}, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	take.later = "later"
	for range 2 {
		if err := c.collect(t.Context()); !errors.Is(err, errLater) {
			t.Errorf("collect: %v", err)
		}
		if names := left(t, c.Dir); len(names) != 1 || !slices.Equal(take.contents, []string{"one", "two"}) {
			t.Errorf("left %q, taken %q", names, take.contents)
		}
	}
}

// L-03: links, pipes and the like.
//
// Nothing that another user can put there leads out of the directory, blocks,
// or stops what comes behind it.
func TestHostileFiles(t *testing.T) {
	c, take := newCollector(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(`{"format":1,"to":["me@b.test"]}`+"\nsecret"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(c.Dir, name+suffix) }
	for name, make := range map[string]func(name string) error{
		"1-link":    func(n string) error { return os.Symlink(secret, n) },
		"2-hard":    func(n string) error { return os.Link(secret, n) },
		"3-pipe":    func(n string) error { return unix.Mkfifo(n, 0o600) },
		"4-dir":     func(n string) error { return os.Mkdir(n, 0o700) },
		"5-empty":   func(n string) error { return os.WriteFile(n, nil, 0o600) },
		"6-no-line": func(n string) error { return os.WriteFile(n, bytes.Repeat([]byte("x"), 1<<20), 0o600) },
		"7-no-json": func(n string) error { return os.WriteFile(n, []byte("Subject: x\n\nx\n"), 0o600) },
		"8-newer":   func(n string) error { return os.WriteFile(n, []byte(`{"format":2,"to":["r@b.test"]}`+"\n"), 0o600) },
		"9-nobody":  func(n string) error { return os.WriteFile(n, []byte(`{"format":1,"to":[]}`+"\n"), 0o600) },
	} {
		if err := make(in(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(c.Dir, Envelope{To: []string{"r@b.test"}}, strings.NewReader("good")); err != nil {
		t.Fatal(err)
	}
	if err := c.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(take.contents) != 1 || take.contents[0] != "good" {
		t.Errorf("took %q", take.contents)
	}
	aside, err := os.ReadDir(filepath.Join(c.Dir, refusedName))
	if err != nil || len(aside) != 9 {
		t.Errorf("%d set aside, %v", len(aside), err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	c, take := newCollector(t)
	if err := Write(c.Dir, Envelope{To: []string{"r@b.test"}}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	take.after = cancel
	c.Run(ctx)
	if len(take.contents) != 1 {
		t.Errorf("took %d", len(take.contents))
	}
}

func TestSharedDirectory(t *testing.T) {
	c := &Collector{Dir: filepath.Join(t.TempDir(), "drop"), Taker: &taker{}}
	if err := c.Open(true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.Dir)
	if err != nil || info.Mode() != os.ModeDir|Mode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
