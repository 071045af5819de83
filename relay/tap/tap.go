// Package tap lets somebody watch the log of a running process as it is written.
//
// A Tap stands before a slog.Handler and passes everything on to it. Whoever
// watches gets the records that they want besides, as the JSON lines that the log
// has or would have: at a level that the log leaves out, too. A watcher that
// reads too slowly misses records, and is told how many; the log never waits for
// one. Without watchers a Tap costs one atomic load a record.
package tap

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Record is a line of the log on its way.
type Record struct {
	Time    time.Time
	Level   slog.Level
	Message string
	attrs   func(func(slog.Attr) bool)
}

// Text returns the value of a key as text; "" when the line has no such key.
func (r *Record) Text(key string) (value string) {
	r.attrs(func(a slog.Attr) bool {
		if a.Key == key {
			value = a.Value.Resolve().String()
		}
		return value == ""
	})
	return value
}

// Line is a line that a watcher wanted.
type Line struct {
	// Time and Message are those of the record.
	Time    time.Time
	Message string
	// JSON is the line, without its end.
	JSON []byte
	// Missed is how many lines before this one the watcher was too slow for.
	Missed int
}

// Watcher gets lines.
type Watcher struct {
	// Lines are those that were wanted, in order. It is never closed.
	Lines  <-chan Line
	lines  chan Line
	level  slog.Level
	want   func(*Record) bool
	missed int
	hub    *hub
}

// Stop ends the watching.
func (w *Watcher) Stop() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.hub.watchers = slices.DeleteFunc(w.hub.watchers, func(o *Watcher) bool { return o == w })
	w.hub.update()
}

// hub knows who watches.
type hub struct {
	mu       sync.Mutex
	watchers []*Watcher
	// least is the lowest level that is wanted, over any level where nobody
	// watches.
	least atomic.Int64
}

const nobody = 1 << 20

func (h *hub) update() {
	least := int64(nobody)
	for _, w := range h.watchers {
		least = min(least, int64(w.level))
	}
	h.least.Store(least)
}

// Tap is a slog.Handler that can be watched.
type Tap struct {
	hub   *hub
	next  slog.Handler
	attrs []slog.Attr                        // of With
	lines func(w *bytes.Buffer) slog.Handler // writes lines with what With has added
}

// New returns a Tap before next.
func New(next slog.Handler) *Tap {
	h := &hub{}
	h.update()
	return &Tap{hub: h, next: next, lines: func(w *bytes.Buffer) slog.Handler {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.Level(-nobody)})
	}}
}

// Watch begins to watch records of a level and above. want, which must be quick
// and not log, says which; buffer is how many lines may wait to be read. Stop
// must be called in the end.
func (t *Tap) Watch(level slog.Level, buffer int, want func(*Record) bool) *Watcher {
	lines := make(chan Line, buffer)
	w := &Watcher{Lines: lines, lines: lines, level: level, want: want, hub: t.hub}
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	t.hub.watchers = append(t.hub.watchers, w)
	t.hub.update()
	return w
}

// Enabled reports whether the log or a watcher has a use for a level.
func (t *Tap) Enabled(ctx context.Context, level slog.Level) bool {
	return int64(level) >= t.hub.least.Load() || t.next.Enabled(ctx, level)
}

// Handle passes a record on, and tells those who watch.
func (t *Tap) Handle(ctx context.Context, r slog.Record) error {
	if int64(r.Level) >= t.hub.least.Load() {
		t.tell(ctx, r)
	}
	if !t.next.Enabled(ctx, r.Level) {
		return nil
	}
	return t.next.Handle(ctx, r)
}

func (t *Tap) tell(ctx context.Context, r slog.Record) {
	record := &Record{Time: r.Time, Level: r.Level, Message: r.Message, attrs: func(f func(slog.Attr) bool) {
		for _, a := range t.attrs {
			if !f(a) {
				return
			}
		}
		r.Attrs(f)
	}}
	var line []byte
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	for _, w := range t.hub.watchers {
		if r.Level < w.level || !w.want(record) {
			continue
		}
		if line == nil {
			var b bytes.Buffer
			_ = t.lines(&b).Handle(ctx, r) // a buffer takes everything
			line = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		}
		select {
		case w.lines <- Line{Time: r.Time, Message: r.Message, JSON: line, Missed: w.missed}:
			w.missed = 0
		default:
			w.missed++
		}
	}
}

// WithAttrs returns a Tap whose records have more attributes.
func (t *Tap) WithAttrs(attrs []slog.Attr) slog.Handler {
	lines := t.lines
	return &Tap{
		hub: t.hub, next: t.next.WithAttrs(attrs), attrs: slices.Concat(t.attrs, attrs),
		lines: func(w *bytes.Buffer) slog.Handler { return lines(w).WithAttrs(attrs) },
	}
}

// WithGroup returns a Tap whose records have their attributes in a group, where
// Text does not look for the group's name.
func (t *Tap) WithGroup(name string) slog.Handler {
	lines := t.lines
	return &Tap{
		hub: t.hub, next: t.next.WithGroup(name), attrs: t.attrs,
		lines: func(w *bytes.Buffer) slog.Handler { return lines(w).WithGroup(name) },
	}
}

var _ slog.Handler = (*Tap)(nil)
