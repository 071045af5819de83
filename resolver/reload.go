package resolver

import (
	"io"
	"os"
	"sync"
	"time"
)

// watchEvery is how long a file is trusted before it is looked at again.
const watchEvery = time.Second

// watched is the content of a file, parsed, and read again after the file
// changed. Several goroutines may use it.
type watched[T any] struct {
	path  string
	parse func(content []byte) T

	mu      sync.Mutex
	checked time.Time
	info    os.FileInfo // of what was read last; nil when there was no file
	loaded  bool
	value   T
}

func watch[T any](path string, parse func([]byte) T) *watched[T] {
	return &watched[T]{path: path, parse: parse}
}

// get returns the current value. A missing file is parsed as an empty one; a
// file that cannot be read leaves what was read before.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.loaded && now.Sub(w.checked) < watchEvery {
		return w.value
	}
	w.checked = now
	info, err := os.Stat(w.path)
	if err != nil && !os.IsNotExist(err) && w.loaded {
		return w.value
	}
	if w.loaded && unchanged(w.info, info) {
		return w.value
	}
	w.load()
	return w.value
}

// load reads the file. The file is described before it is read, so that a write
// in between is seen as a change the next time.
func (w *watched[T]) load() {
	var info os.FileInfo
	var content []byte
	file, err := os.Open(w.path)
	if err == nil {
		defer file.Close()
		if info, err = file.Stat(); err == nil {
			content, err = io.ReadAll(file)
		}
	}
	if err != nil && !os.IsNotExist(err) && w.loaded {
		return
	}
	w.info, w.loaded, w.value = info, true, w.parse(content)
}

func unchanged(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
