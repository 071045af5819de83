// Package watch keeps what small files say in memory, and reads them again
// when they change: users, aliases, certificates, keys.
//
// Nothing runs in the background and nothing is subscribed to, so that it
// works on every file system and with files that are replaced, as well as with
// the symbolic links that Kubernetes swaps. Whoever asks for the value pays, at
// most once in [Interval], for one stat of each file. What cannot be read keeps
// out: the value stays what it was, and the reason is told once.
package watch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Interval is how long a value is taken to be fresh. A change is seen at the
// first use after it.
const Interval = time.Second

// Value is what some files say. Make one with [New].
type Value[T any] struct {
	load   func() (T, []string, error) // nil for a value that never changes
	report func(error)

	current atomic.Pointer[T]
	next    atomic.Int64 // when to look again, in nanoseconds since begin
	begin   time.Time

	mu    sync.Mutex // held by the one who looks
	files []string
	seen  []stamp
	err   error
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
	inode    os.FileInfo // for os.SameFile: a file that was replaced
}

// New loads the value. An error of that is returned and there is no value.
// Later, when one of the files changes, load is called again; report is told
// of its errors, and of success with a nil error. A nil report tells nobody.
// load must read nothing but the files.
func New[T any](load func() (T, error), report func(error), files ...string) (*Value[T], error) {
	return NewSet(func() (T, []string, error) {
		value, err := load()
		return value, files, err
	}, report, files...)
}

// NewSet is New for files that name each other: load returns which it has read or
// tried to, with an error, too. files are those that are known before.
func NewSet[T any](load func() (T, []string, error), report func(error), files ...string) (*Value[T], error) {
	if report == nil {
		report = func(error) {}
	}
	v := &Value[T]{load: load, report: report, files: files, begin: time.Now()}
	if err := v.read(); err != nil {
		return nil, err
	}
	v.next.Store(int64(Interval))
	return v, nil
}

// Fixed returns a value that never changes.
func Fixed[T any](value T) *Value[T] {
	v := &Value[T]{begin: time.Now()}
	v.current.Store(&value)
	return v
}

// Get returns the value as the files have it now.
func (v *Value[T]) Get() T {
	if v.load != nil && int64(time.Since(v.begin)) >= v.next.Load() {
		// Whoever comes meanwhile takes what is there.
		if v.mu.TryLock() {
			v.look()
			v.mu.Unlock()
		}
	}
	return *v.current.Load()
}

// Reload reads the files whether they have changed or not. After an error the
// value is what it was.
func (v *Value[T]) Reload() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.load == nil {
		return nil
	}
	return v.again()
}

// Err is why the files could not be read when they changed last; nil when the
// value is what they say.
func (v *Value[T]) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

func (v *Value[T]) look() {
	v.next.Store(int64(time.Since(v.begin) + Interval))
	if !same(v.seen, v.stamps()) {
		v.report(v.again())
	}
}

// again reads the files that were read before.
func (v *Value[T]) again() error {
	if v.err = v.read(); v.err != nil {
		return fmt.Errorf("what was read before stays in use: %w", v.err)
	}
	return nil
}

// maxReads bounds how often files are read that name others each time.
const maxReads = 3

// read reads the files, and a second time when it learns of others, of which
// nobody knows how they were before: a change while they are read must be seen
// later.
func (v *Value[T]) read() (err error) {
	for range maxReads {
		v.seen = v.stamps()
		value, files, failed := v.load()
		if err = failed; err == nil {
			v.current.Store(&value)
		}
		if slices.Equal(files, v.files) {
			break
		}
		v.files = files
	}
	return err
}

func (v *Value[T]) stamps() []stamp {
	list := make([]stamp, len(v.files))
	for i, name := range v.files {
		// A file that is not there is a state, too.
		if info, err := os.Stat(name); err == nil {
			list[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return list
}

func same(a, b []stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		switch {
		case (a[i].inode == nil) != (b[i].inode == nil):
			return false
		case a[i].inode == nil:
		case !a[i].modified.Equal(b[i].modified), a[i].size != b[i].size, a[i].inode.Mode() != b[i].inode.Mode(), !os.SameFile(a[i].inode, b[i].inode):
			return false
		}
	}
	return true
}

// ReadFile reads a file of at most limit octets.
func ReadFile(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s has %d octets, more than the %d that can be read", name, info.Size(), limit)
	}
	text, err := os.ReadFile(name)
	if err == nil && int64(len(text)) > limit {
		err = errors.New(name + " grew while it was read")
	}
	return text, err
}
