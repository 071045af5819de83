package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// historyReading is what a file of the history has.
type historyReading struct {
	b       []byte
	whole   []block // those in which nothing is wrong
	stories int64   // in them
	faults  []historyFault
	rest    []byte // what is behind the last block
}

// historyFault is a part of a file that is no whole block.
type historyFault struct {
	from, to int64
	// before and after are the segments that a block's head names, noSegment
	// where there is none.
	before, after uint64
	reason        error
}

// noSegment is a segment that no journal has.
const noSegment = ^uint64(0)

// readHistory looks at every octet of a file.
func readHistory(b []byte) *historyReading {
	blocks, end := scanBlocks(bytes.NewReader(b), int64(len(b)))
	r := &historyReading{b: b, rest: b[end:]}
	at := int64(0)
	for _, h := range blocks {
		if h.offset > at {
			r.noBlock(at, h.offset)
		}
		at = h.offset + int64(h.size)
		n, err := h.verify(b)
		if err != nil {
			r.faults = append(r.faults, historyFault{h.offset, at, h.from, h.to, fmt.Errorf("block at %d: %w", h.offset, err)})
			continue
		}
		r.whole, r.stories = append(r.whole, h), r.stories+n
	}
	return r
}

func (r *historyReading) noBlock(from, to int64) {
	err := fmt.Errorf("%d octets at %d are %w: they are no block", to-from, from, ErrDamaged)
	r.faults = append(r.faults, historyFault{from, to, noSegment, noSegment, err})
}

// restIsFault counts what is behind the last block as damaged.
func (r *historyReading) restIsFault() {
	if n := int64(len(r.rest)); n > 0 {
		r.noBlock(int64(len(r.b))-n, int64(len(r.b)))
	}
}

// verify looks at everything in a block of a file, and returns how many stories
// it has.
func (h *block) verify(file []byte) (stories int64, err error) {
	b := file[h.offset:][:h.size]
	end := blockHead + int(h.stories)
	places := map[uint32]bool{}
	for at := blockHead; at < end; {
		_, size, err := storyAt(b[at:end])
		if err != nil {
			return 0, fmt.Errorf("at %d: %w", at, err)
		}
		places[uint32(at)] = true
		at += size
	}
	if err := h.check(bytes.NewReader(file)); err != nil {
		return 0, err
	}
	for at := end; at < len(b)-blockFoot; at += blockEntry {
		if !places[binary.BigEndian.Uint32(b[at+8:])] {
			return 0, fmt.Errorf("index of a block is %w: there is no such story", ErrDamaged)
		}
	}
	foot := b[len(b)-blockFoot:]
	if binary.BigEndian.Uint32(foot[4:]) != h.size || binary.BigEndian.Uint32(foot[8:]) != footMagic {
		return 0, fmt.Errorf("foot of a block is %w", ErrDamaged)
	}
	return int64(len(places)), nil
}

// storyAt reads the story that b begins with, and returns how long it is with
// its length.
func storyAt(b []byte) (s *Story, size int, err error) {
	if len(b) < 4 {
		return nil, 0, fmt.Errorf("length of a story is %w", ErrDamaged)
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, 0, fmt.Errorf("length of a story is %w", ErrDamaged)
	}
	s, err = decodeStory(b[4 : 4+n])
	return s, int(4 + n), err
}

// salvageStories returns the stories that stand anywhere in b.
func salvageStories(b []byte) (all []story) {
	for at := 0; at < len(b); {
		s, size, err := storyAt(b[at:])
		if err != nil {
			at++
			continue
		}
		keys := storyKeys(&Message{ID: s.ID, Envelope: s.Envelope}, s.Deliveries...)
		all = append(all, story{keys, b[at+4 : at+size]})
		at += size
	}
	return all
}

// halfWritten reports whether what is behind the last block can be one that was
// being written when the process ended: then the journal still has what is in
// it.
func halfWritten(rest []byte, pending []story) bool {
	if len(rest) == 0 || len(pending) == 0 {
		return len(rest) == 0
	}
	known := map[ID]bool{}
	for i := range pending {
		known[pending[i].id()] = true
	}
	for _, s := range salvageStories(rest) {
		if !known[s.id()] {
			return false
		}
	}
	return true
}

// historyExtent is how much of a file of the history is to be looked at.
type historyExtent struct {
	number uint64
	end    int64 // below 0 for all of it
	newest bool
}

// extents returns what there is: of the file that is being written, what was
// written.
func (h *history) extents() []historyExtent {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]historyExtent, 0, len(h.files))
	for i, f := range h.files {
		e := historyExtent{f.number, -1, i == len(h.files)-1}
		if e.newest && !h.over {
			e.end = f.end
		}
		all = append(all, e)
	}
	return all
}

// historyFiles returns what a stopped queue has.
func (in *inspection) historyFiles() []historyExtent {
	numbers, err := segments(filepath.Join(in.dir, historyName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		in.noHistory = true
		in.historyDamage(historyName, err)
	}
	all := make([]historyExtent, 0, len(numbers))
	for i, number := range numbers {
		all = append(all, historyExtent{number, -1, i == len(numbers)-1})
	}
	return all
}

func (in *inspection) historyDamage(where string, reason error) {
	in.historyDamages++
	in.damage(Damage{File: where, Reason: reason.Error()}, nil)
}

// history looks at the stories of messages that have left. They are no mail:
// what is wrong with them keeps no message from being delivered.
func (in *inspection) history(files []historyExtent) error {
	for _, e := range files {
		r, err := in.historyFile(e)
		switch {
		case err != nil:
			in.historyDamage(historyPath(e.number), err)
		case r == nil:
			continue
		default:
			in.Stories += r.stories
			for _, f := range r.faults {
				in.historyDamage(historyPath(e.number), f.reason)
			}
		}
		in.HistoryFiles++
		if err != nil || len(r.faults) > 0 {
			in.spoilt = append(in.spoilt, e)
		}
		if err := in.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// historyFile reads one file; nil is one of a running queue that has become too
// old meanwhile.
func (in *inspection) historyFile(e historyExtent) (*historyReading, error) {
	b, err := readRegular(filepath.Join(in.dir, historyPath(e.number)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if e.end >= 0 {
		b = b[:min(e.end, int64(len(b)))]
	}
	r := readHistory(b)
	if !e.newest || !halfWritten(r.rest, in.pending) {
		r.restIsFault()
	}
	return r, nil
}

func historyPath(number uint64) string { return filepath.Join(historyName, segmentName(number)) }
