package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// A journal that was cut short looks like one that the power went in. So two
// others vouch for how long it was: the index, for the file of a segment, and the
// mark, which is written after each sync and not synced itself:
//
//	mark  segment 8, octets of it that were synced 8, CRC-32C 4
//
// After a kill it is exact; after a power cut it may be some seconds old, and
// says less than was there, never more.
const (
	markName   = "mark"
	markLength = 20
)

// journalMark says how much of a segment was synced, at least.
type journalMark struct {
	number uint64
	offset int64
}

func (m journalMark) bytes() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, markLength), m.number)
	return appendSum(binary.BigEndian.AppendUint64(b, uint64(m.offset)))
}

// readMark reads the mark; zero is none, as it is before the first commit, or
// when it did not reach the disk.
func readMark(dir string) (journalMark, error) {
	b, err := readRegular(filepath.Join(dir, markName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return journalMark{}, fmt.Errorf("read journal: %w", err)
	}
	if len(b) == 0 || string(b) == string(make([]byte, markLength)) {
		return journalMark{}, nil
	}
	d := decoder{b: b}
	m := journalMark{uint64(d.id()), int64(d.id())}
	if d.check(); d.bad || len(b) != markLength {
		return journalMark{}, fmt.Errorf("mark of the journal is %w", ErrDamaged)
	}
	return m, nil
}

// vouched is what is known of the journal besides what stands in it.
type vouched struct {
	applied uint64 // the segment that the index has got to
	begun   begunSegment
	mark    journalMark
}

// newest returns a segment that there must be, or a newer one; 0 for none.
func (v *vouched) newest() uint64 { return max(v.applied, v.begun.number, v.mark.number) }

// short says that a segment was longer once than it is, if that is known. It
// ends at end, in a file of size octets.
func (v *vouched) short(number uint64, end, size int64) error {
	switch {
	case number == v.mark.number && end < v.mark.offset:
		return fmt.Errorf("journal segment %d is %w: it ends at %d, and %d octets of it were synced", number, ErrDamaged, end, v.mark.offset)
	case number == v.begun.number && size < v.begun.length:
		return fmt.Errorf("journal segment %d is %w: its file has %d of %d octets", number, ErrDamaged, size, v.begun.length)
	}
	return nil
}
