package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const historyName = "history"

// historyFileSize is where a file of the history ends, unless the history is
// so small that this would be a large part of it.
const historyFileSize = 16 << 20

// HistoryOptions bounds what is kept of messages that have left the queue.
type HistoryOptions struct {
	// Size is how many octets the history may have on disk; 0 adds nothing to
	// it, and below 0 what there is goes, too.
	Size int64
	// Age is how long a story is kept; 0 means as long as there is room.
	Age time.Duration

	// minFree is the free space in octets that the history leaves to mail: where
	// there is less, it grows no more. lost is told how many messages left
	// without a story.
	minFree int64
	lost    func(messages int)
}

// history keeps the stories of messages that have left: files of blocks, one
// for each checkpoint, of which the oldest go when there are too many. Nothing
// here is mail, so damage and failures are logged and never stop the queue.
type history struct {
	dir  string
	opts HistoryOptions
	log  *slog.Logger

	mu    sync.RWMutex
	files []*historyFile // oldest first; the last may be written
	over  bool           // the last one is not to be written any more
	limit int64          // in octets; less than its options say while the disk is filling

	unusable bool         // it could not be opened
	failed   atomic.Int64 // messages that were lost since it failed
}

// historyFile is one file, open as long as it exists.
type historyFile struct {
	number uint64
	file   *os.File
	end    int64 // where the next block goes
	blocks []block
	opened int64 // when it was changed last before it was opened, Unix milliseconds; 0 for a new one

	checking sync.Mutex
	checked  map[int64]error // what check said of the block at an offset
}

// openHistory opens what there is. After an error the history is off. applied is
// the segment of the journal that the index has got to, and pending are the
// stories in those behind it.
func openHistory(dir string, applied uint64, pending []story, o HistoryOptions, log *slog.Logger) (*history, error) {
	h := &history{dir: filepath.Join(dir, historyName), log: log, limit: o.Size}
	if o.lost != nil {
		h.opts.lost = o.lost // also when it is off
	} else {
		h.opts.lost = func(int) {}
	}
	if o.Size < 0 {
		return h, os.RemoveAll(h.dir)
	}
	if o.Size == 0 {
		return h, nil
	}
	h.unusable = true
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return h, err
	}
	numbers, err := segments(h.dir)
	if err != nil {
		return h, err
	}
	o.lost = h.opts.lost
	h.opts, h.unusable = o, false
	h.openFiles(numbers, os.O_RDWR)
	if n := len(h.files); n > 0 {
		h.resume(h.files[n-1], applied, pending)
	}
	h.prune(time.Now())
	return h, nil
}

// openHistoryToLook opens what there is, and changes nothing. A block that is written
// anew by the next start stands in the journal, too, and is found once.
func openHistoryToLook(dir string, o HistoryOptions, log *slog.Logger) *history {
	h := &history{dir: filepath.Join(dir, historyName), log: log, opts: o}
	if o.Size <= 0 {
		return h
	}
	numbers, err := segments(h.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("history not readable, going on without", "error", err.Error())
	}
	h.openFiles(numbers, os.O_RDONLY)
	return h
}

// openFiles opens those of these numbers that can be read.
func (h *history) openFiles(numbers []uint64, flag int) {
	for _, number := range numbers {
		f, err := h.openFile(number, flag)
		if err != nil {
			h.log.Error("history file not readable", "file", h.name(number), "error", err.Error())
			continue
		}
		h.files = append(h.files, f)
	}
}

func (h *history) on() bool { return h.opts.Size > 0 }

func (h *history) name(number uint64) string { return filepath.Join(h.dir, segmentName(number)) }

func (h *history) openFile(number uint64, flag int) (*historyFile, error) {
	file, err := openRegular(h.name(number), flag)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f := &historyFile{number: number, file: file, opened: info.ModTime().UnixMilli(), checked: map[int64]error{}}
	f.blocks, f.end = scanBlocks(file, info.Size())
	if f.end < info.Size() {
		h.log.Warn("history file does not end in a whole block", "file", file.Name(), "size", info.Size(), "readable", f.end)
	}
	return f, nil
}

// scanBlocks finds the blocks of a file from its start, and behind a damaged
// one from its end. It returns where the last one ends.
func scanBlocks(r io.ReaderAt, length int64) (blocks []block, end int64) {
	for end < length {
		b, ok := readBlock(r, end, length)
		if !ok {
			break
		}
		blocks = append(blocks, b)
		end += int64(b.size)
	}
	var behind []block
	for at := length; at > end; {
		b, ok := blockBefore(r, at, length)
		if !ok || b.offset < end {
			break
		}
		behind = append(behind, b)
		at = b.offset
	}
	if len(behind) > 0 {
		slices.Reverse(behind)
		blocks, end = append(blocks, behind...), length
	}
	return blocks, end
}

// resume cuts what a crash left half done: a block that was being written, or
// one whose checkpoint did not end and will be done again. What stands at the
// end and is neither is damaged; it stays as it is, for a repair.
func (h *history) resume(f *historyFile, applied uint64, pending []story) {
	rest, err := f.rest()
	if err == nil && !halfWritten(rest, pending) {
		h.over = true
		return
	}
	if n := len(f.blocks); n > 0 && f.blocks[n-1].from == applied {
		f.end = f.blocks[n-1].offset
		f.blocks = f.blocks[:n-1]
	}
	// What cannot be read now may be readable another time.
	if err == nil {
		err = f.file.Truncate(f.end)
	}
	if err != nil {
		h.log.Error("history file not cut", "file", f.file.Name(), "error", err.Error())
		h.over = true
	}
}

// rest returns what is behind the last block.
func (f *historyFile) rest() ([]byte, error) {
	info, err := f.file.Stat()
	if err != nil || info.Size() <= f.end {
		return nil, err
	}
	b := make([]byte, info.Size()-f.end)
	_, err = f.file.ReadAt(b, f.end)
	return b, err
}

// add writes the stories of one checkpoint, and makes them durable. It is
// called before the index says that the checkpoint is done.
func (h *history) add(stories []story, from, to uint64) {
	if !h.on() || len(stories) == 0 {
		return
	}
	h.yield()
	b, head := encodeBlock(stories, from, to)
	f, err := h.current(head.oldest)
	if err == nil {
		err = f.write(b)
	}
	if err != nil {
		h.lose(len(stories), err)
		h.mu.Lock()
		h.over = true
		h.mu.Unlock()
		return
	}
	if n := h.failed.Swap(0); n > 0 {
		h.log.Warn("history written again", "messages_lost", n)
	}
	h.mu.Lock()
	head.offset = f.end
	f.blocks = append(f.blocks, head)
	f.end += int64(head.size)
	h.mu.Unlock()
	h.prune(time.Now())
}

// lose counts messages whose story cannot be kept, and says so once.
func (h *history) lose(messages int, err error) {
	h.opts.lost(messages)
	if n := int64(messages); h.failed.Add(n) == n {
		h.log.Error("history not written, and no word until it is again", "messages", messages, "error", err.Error())
	}
}

// missed counts a message that left while the history is off because it could
// not be opened, which was said then.
func (h *history) missed() {
	if h.unusable {
		h.opts.lost(1)
	}
}

// yield keeps the history from growing while the disk is filling: what is new
// takes the place of what is old, and the rest is for mail.
func (h *history) yield() {
	var fsys unix.Statfs_t
	low := unix.Statfs(h.dir, &fsys) == nil && int64(fsys.Bavail)*fsys.Bsize < h.opts.minFree
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !low:
		h.limit = h.opts.Size
	case h.limit == h.opts.Size:
		h.limit = min(h.opts.Size, h.sizeLocked())
	}
}

func (f *historyFile) write(b []byte) error {
	if _, err := f.file.WriteAt(b, f.end); err != nil {
		// It may have no room: what was written of it must not stay.
		return errors.Join(err, f.file.Truncate(f.end))
	}
	return unix.Fdatasync(int(f.file.Fd()))
}

// current returns the file that a block goes into. A file is as large as an
// eighth of the history at most, in octets and in time, since whole files go.
func (h *history) current(now int64) (*historyFile, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number := uint64(1)
	if n := len(h.files); n > 0 {
		f := h.files[n-1]
		full := f.end >= min(historyFileSize, h.opts.Size/8)
		old := h.opts.Age > 0 && len(f.blocks) > 0 && now-f.blocks[0].oldest > h.opts.Age.Milliseconds()/8
		if !h.over && !full && !old {
			return f, nil
		}
		number = f.number + 1
	}
	file, err := openRegular(h.name(number), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	if err := syncDir(h.dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f := &historyFile{number: number, file: file, checked: map[int64]error{}}
	h.files, h.over = append(h.files, f), false
	return f, nil
}

// prune removes the oldest files: what is over the size, and what is too old.
func (h *history) prune(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	size := h.sizeLocked()
	for len(h.files) > 0 {
		f := h.files[0]
		// The file that is being written stays while the disk is filling.
		fits := size <= h.limit || len(h.files) == 1 && h.limit < h.opts.Size
		if fits && !h.tooOld(f.newest(), now) {
			return
		}
		if err := errors.Join(os.Remove(f.file.Name()), f.file.Close()); err != nil {
			h.log.Error("history file not removed", "file", f.file.Name(), "error", err.Error())
		}
		size -= f.end
		h.files = h.files[1:]
	}
}

func (h *history) tooOld(at int64, now time.Time) bool {
	return h.opts.Age > 0 && now.UnixMilli()-at > h.opts.Age.Milliseconds()
}

// newest returns when the last of a file's messages left. For one in which no
// block can be read it is not before the file was written.
func (f *historyFile) newest() (at int64) {
	if len(f.blocks) == 0 {
		return f.opened
	}
	for i := range f.blocks {
		at = max(at, f.blocks[i].newest)
	}
	return at
}

func (h *history) sizeLocked() (size int64) {
	for _, f := range h.files {
		size += f.end
	}
	return size
}

// state returns how large the history is on disk, and when the oldest of its
// messages left; zero when there is none.
func (h *history) state() (size int64, oldest time.Time) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, f := range h.files {
		if len(f.blocks) > 0 {
			oldest = time.UnixMilli(f.blocks[0].oldest)
			break
		}
	}
	return h.sizeLocked(), oldest
}

// find calls found with the stories that may be those of a key, newest blocks
// first, until it returns false.
func (h *history) find(keys []uint64, found func(*Story) bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	now := time.Now()
	for _, f := range slices.Backward(h.files) {
		for i := range slices.Backward(f.blocks) {
			b := &f.blocks[i]
			if h.tooOld(b.newest, now) {
				continue
			}
			err := f.check(b)
			for _, key := range keys {
				if err != nil {
					break
				}
				var more bool
				if more, err = f.findIn(b, key, found); !more && err == nil {
					return
				}
			}
			if err != nil {
				h.log.Error("history block not readable", "file", f.file.Name(), "offset", b.offset, "error", err.Error())
			}
		}
	}
}

func (f *historyFile) findIn(b *block, key uint64, found func(*Story) bool) (more bool, err error) {
	places, err := b.find(f.file, key)
	for _, place := range places {
		s, damage := b.story(f.file, place)
		if damage != nil {
			err = errors.Join(err, fmt.Errorf("story at %d: %w", place, damage))
		} else if !found(s) {
			return false, err
		}
	}
	return true, err
}

// check reads the index of a block once.
func (f *historyFile) check(b *block) error {
	f.checking.Lock()
	defer f.checking.Unlock()
	err, known := f.checked[b.offset]
	if !known {
		err = b.check(f.file)
		f.checked[b.offset] = err
	}
	return err
}

func (h *history) close() (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.files {
		err = errors.Join(err, f.file.Close())
	}
	h.files = nil
	return err
}
