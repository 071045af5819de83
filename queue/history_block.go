package queue

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sort"
)

// A block of the history is what one checkpoint adds: the stories of the
// messages that left since the last, and what they are found by.
//
//	head     magic 4, length of the block 4, length of the stories 4, number of entries 4,
//	         segment before 8, segment 8, oldest 8, newest 8 (Unix milliseconds), CRC-32C 4
//	stories  each: length 4, story
//	entries  each: hash 8, place of its story from the start of the block 4; in order
//	foot     CRC-32C of the entries 4, length of the block 4, magic 4
//
// The segments are those of the journal that were in the index before and
// after: a block that begins where the index still is belongs to a checkpoint
// that did not end. The foot lets blocks be found from the end, too.
const (
	blockHead  = 52
	blockFoot  = 12
	blockEntry = 12
	headMagic  = 0x77706831
	footMagic  = 0x77706832
)

// block is where a block stands, and what its head says.
type block struct {
	offset         int64
	size, stories  uint32
	entries        uint32
	from, to       uint64
	oldest, newest int64
}

// keyPlace is one entry.
type keyPlace struct {
	key   uint64
	place uint32
}

// encodeBlock writes a block of stories, of which there is at least one.
func encodeBlock(stories []story, from, to uint64) (b []byte, head block) {
	b = make([]byte, blockHead, blockHead+len(stories)*600)
	var entries []keyPlace
	for i := range stories {
		s := &stories[i]
		for _, key := range s.keys {
			entries = append(entries, keyPlace{key, uint32(len(b))})
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(s.record)))
		b = append(b, s.record...)
		left := s.leftAt()
		if head.oldest == 0 || left < head.oldest {
			head.oldest = left
		}
		head.newest = max(head.newest, left)
	}
	head.stories, head.entries = uint32(len(b)-blockHead), uint32(len(entries))
	slices.SortFunc(entries, func(a, b keyPlace) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.place, b.place))
	})
	at := len(b)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, e.key)
		b = binary.BigEndian.AppendUint32(b, e.place)
	}
	sum := checksum(b[at:])
	head.size = uint32(len(b) + blockFoot)
	head.from, head.to = from, to
	head.put(b[:blockHead])
	b = binary.BigEndian.AppendUint32(b, sum)
	b = binary.BigEndian.AppendUint32(b, head.size)
	return binary.BigEndian.AppendUint32(b, footMagic), head
}

func (h *block) put(b []byte) {
	b = binary.BigEndian.AppendUint32(b[:0], headMagic)
	for _, n := range [...]uint32{h.size, h.stories, h.entries} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, n := range [...]uint64{h.from, h.to, uint64(h.oldest), uint64(h.newest)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	appendSum(b)
}

// readBlock reads the head of the block at offset in a file of that length.
func readBlock(f io.ReaderAt, offset, length int64) (h block, ok bool) {
	var b [blockHead]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		return h, false
	}
	be := binary.BigEndian
	if be.Uint32(b[:]) != headMagic || be.Uint32(b[blockHead-4:]) != checksum(b[:blockHead-4]) {
		return h, false
	}
	h = block{
		offset: offset, size: be.Uint32(b[4:]), stories: be.Uint32(b[8:]), entries: be.Uint32(b[12:]),
		from: be.Uint64(b[16:]), to: be.Uint64(b[24:]), oldest: int64(be.Uint64(b[32:])), newest: int64(be.Uint64(b[40:])),
	}
	fits := int64(h.size) == blockHead+int64(h.stories)+blockEntry*int64(h.entries)+blockFoot
	return h, fits && offset+int64(h.size) <= length
}

// blockBefore reads the block that ends at offset.
func blockBefore(f io.ReaderAt, offset, length int64) (h block, ok bool) {
	var b [blockFoot]byte
	if offset < blockHead+blockFoot {
		return h, false
	}
	if _, err := f.ReadAt(b[:], offset-blockFoot); err != nil || binary.BigEndian.Uint32(b[8:]) != footMagic {
		return h, false
	}
	size := int64(binary.BigEndian.Uint32(b[4:]))
	if size > offset {
		return h, false
	}
	h, ok = readBlock(f, offset-size, length)
	return h, ok && int64(h.size) == size
}

// check reads all entries and compares them with their checksum.
func (h *block) check(f io.ReaderAt) error {
	b := make([]byte, blockEntry*int64(h.entries)+4)
	if _, err := f.ReadAt(b, h.entriesAt()); err != nil {
		return err
	}
	if checksum(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return fmt.Errorf("index of a block is %w", ErrDamaged)
	}
	return nil
}

func (h *block) entriesAt() int64 { return h.offset + blockHead + int64(h.stories) }

// find returns the places of the stories with a key, the newest first.
func (h *block) find(f io.ReaderAt, key uint64) (places []uint32, err error) {
	entry := func(i int) (e keyPlace) {
		var b [blockEntry]byte
		if _, failed := f.ReadAt(b[:], h.entriesAt()+int64(i)*blockEntry); failed != nil {
			err = failed
		}
		return keyPlace{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:])}
	}
	n := int(h.entries)
	for i := sort.Search(n, func(i int) bool { return entry(i).key >= key }); i < n; i++ {
		e := entry(i)
		if err != nil || e.key != key {
			break
		}
		places = append(places, e.place)
	}
	slices.Reverse(places)
	return places, err
}

// story reads the story at a place.
func (h *block) story(f io.ReaderAt, place uint32) (*Story, error) {
	end := int64(blockHead) + int64(h.stories)
	var b [4]byte
	if int64(place)+4 > end {
		return nil, fmt.Errorf("place of a story is %w", ErrDamaged)
	}
	if _, err := f.ReadAt(b[:], h.offset+int64(place)); err != nil {
		return nil, err
	}
	size := int64(binary.BigEndian.Uint32(b[:]))
	if int64(place)+4+size > end {
		return nil, fmt.Errorf("length of a story is %w", ErrDamaged)
	}
	record := make([]byte, size)
	if _, err := f.ReadAt(record, h.offset+int64(place)+4); err != nil {
		return nil, err
	}
	return decodeStory(record)
}
