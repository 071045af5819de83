package watch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func TestValueFollowsItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "file")
		write(t, name, "one")
		var told []error
		loads := 0
		v, err := New(func() (string, error) {
			loads++
			text, err := os.ReadFile(name)
			if err == nil && strings.HasPrefix(string(text), "bad") {
				err = errors.New("it is bad")
			}
			return string(text), err
		}, func(err error) { told = append(told, err) }, name)
		if err != nil {
			t.Fatal(err)
		}
		get := func(want string) {
			t.Helper()
			if got := v.Get(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		write(t, name, "two")
		get("one") // still fresh
		time.Sleep(Interval)
		get("two")
		time.Sleep(time.Hour)
		get("two")
		if loads != 2 {
			t.Errorf("read %d times, want 2", loads)
		}
		write(t, name, "bad")
		time.Sleep(Interval)
		get("two")
		if v.Err() == nil {
			t.Error("no error is kept")
		}
		time.Sleep(Interval)
		get("two")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(Interval)
		get("two")
		write(t, name, "three")
		time.Sleep(Interval)
		get("three")
		if len(told) != 4 || told[0] != nil || told[1] == nil || told[2] == nil || told[3] != nil || v.Err() != nil {
			t.Errorf("told %v, then %v", told, v.Err())
		}
		write(t, name, "bad")
		if err := v.Reload(); err == nil {
			t.Error("Reload took what is bad")
		}
		write(t, name, "four")
		if err := v.Reload(); err != nil {
			t.Error(err)
		}
		get("four")
	})
}

func TestFixed(t *testing.T) {
	v := Fixed(7)
	if err := v.Reload(); err != nil || v.Get() != 7 {
		t.Errorf("%v, %d", err, v.Get())
	}
}

func TestReadFileRefusesWhatIsTooLargeOrNoFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	write(t, name, "12345")
	if _, err := ReadFile(name, 4); err == nil {
		t.Error("five octets pass for four")
	}
	if text, err := ReadFile(name, 5); err != nil || string(text) != "12345" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadFile(dir, 5); err == nil {
		t.Error("a directory is a file")
	}
}

// TestSetFollowsWhatItNames has a file name others, and one of them change while it
// is read for the first time.
func TestSetFollowsWhatItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		index, one, two := filepath.Join(dir, "index"), filepath.Join(dir, "one"), filepath.Join(dir, "two")
		write(t, index, one)
		write(t, one, "old")
		meanwhile := func() { write(t, one, "new") }
		v, err := NewSet(func() (string, []string, error) {
			name, err := os.ReadFile(index)
			if err != nil {
				return "", []string{index}, err
			}
			text, err := os.ReadFile(string(name))
			if meanwhile != nil {
				meanwhile()
				meanwhile = nil
			}
			return string(text), []string{index, string(name)}, err
		}, nil, index)
		if err != nil {
			t.Fatal(err)
		}
		get := func(want string) {
			t.Helper()
			time.Sleep(Interval)
			if got := v.Get(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		get("new")
		write(t, index, two)
		get("new")
		if v.Err() == nil {
			t.Error("a file that is not there is no error")
		}
		write(t, two, "second")
		get("second")
		write(t, one, "of no interest")
		write(t, two, "third")
		get("third")
	})
}
