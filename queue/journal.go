package queue

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// segmentSize is where a segment of the journal ends. A larger one makes
// fewer checkpoints, and costs twice its size in memory while the queue
// fills.
const segmentSize = 16 << 20

// A record of the journal is one batch of changes:
//
//	magic 4, length of the changes 4, segment 8, CRC-32C 4, kind 1, tag 3, changes
//
// The checksum covers everything but itself. The number of the segment keeps
// what an earlier use of the file left behind from passing for a record. Changes
// have contents in them, in which a client may put what looks like any record: so
// each segment begins with an empty one, whose tag is made at random, and all
// records in it have that tag. Those of older programs have zeros for one.
const (
	recordHead  = 24
	recordMagic = 0x77706a31

	kindBatch = 1
	kindEnd   = 2 // nothing follows in this segment
)

// recordTag tells the records of a segment from whatever else looks like one.
type recordTag [3]byte

// journal is the log of changes that are not in the index yet: numbered
// segments, each a file of its own, written from front to back and synced
// after every batch. Only the committer writes.
type journal struct {
	dir    string
	size   int64 // of a segment
	disk   disk
	file   *os.File
	number uint64
	tag    recordTag
	offset int64
	length int64 // of the file, when the segment was begun
	mark   *os.File
	buf    []byte
}

func segmentName(number uint64) string { return fmt.Sprintf("%016d", number) }

const spareName = "spare"

// space is what is set aside for a segment: the last batch goes over its end.
func (j *journal) space() int64 { return j.size + j.size/4 }

// full reports whether the next batch belongs into another segment.
func (j *journal) full() bool { return j.offset >= j.size }

// append writes one batch and makes it durable.
func (j *journal) append(changes []byte) error { return j.write(kindBatch, changes) }

func (j *journal) write(kind byte, changes []byte) error {
	b := appendRecord(j.buf[:0], j.number, j.tag, kind, changes)
	j.buf = b
	if cap(j.buf) > 4<<20 {
		j.buf = nil // one large batch need not be remembered
	}
	if _, err := j.file.WriteAt(b, j.offset); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	// Never tried again: after a failure a second sync proves nothing.
	if err := j.disk.syncData(j.file); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	j.offset += int64(len(b))
	// A mark that was not written says less than it could, and is true.
	_, _ = j.mark.WriteAt(journalMark{j.number, j.offset}.bytes(), 0)
	return nil
}

func appendRecord(b []byte, number uint64, tag recordTag, kind byte, changes []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, recordMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(changes)))
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, 0, 0, 0, 0, kind, tag[0], tag[1], tag[2])
	b = append(b, changes...)
	binary.BigEndian.PutUint32(b[at+16:], recordChecksum(b[at:]))
	return b
}

func recordChecksum(b []byte) uint32 {
	return checksumOf(b[:16], b[20:])
}

// rotate ends the segment and goes on in the next one. It returns the number
// of the one that ended.
func (j *journal) rotate() (ended uint64, err error) {
	if err := j.write(kindEnd, nil); err != nil {
		return 0, err
	}
	ended = j.number
	err = j.file.Close()
	if j.file = nil; err != nil {
		return 0, fmt.Errorf("close journal: %w", err)
	}
	return ended, j.begin(ended + 1)
}

// begin opens a segment to be written. The spare file is used where there is
// one: its blocks are on the disk already, so that a sync writes data only.
func (j *journal) begin(number uint64) error {
	spare, name := filepath.Join(j.dir, spareName), filepath.Join(j.dir, segmentName(number))
	f, err := openRegular(spare, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		spare = ""
		f, err = openRegular(name, os.O_RDWR|os.O_CREATE)
	}
	if err != nil {
		return fmt.Errorf("begin journal segment: %w", err)
	}
	// It has its first record before it has its name: what the spare file has from
	// before may look like anything.
	err = j.prepare(f, number)
	if err == nil && spare != "" {
		err = os.Rename(spare, name)
	}
	if err == nil {
		err = j.disk.syncDir(j.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("begin journal segment: %w", err), f.Close())
	}
	j.file, j.number = f, number
	return nil
}

// prepare sets space aside in the file of a segment, and writes its first record.
func (j *journal) prepare(f *os.File, number uint64) error {
	// Where space cannot be set aside, the file grows with each write.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, j.space()); noSpace(err) {
		return err
	}
	_, _ = rand.Read(j.tag[:]) // it never fails
	first := appendRecord(nil, number, j.tag, kindBatch, nil)
	if _, err := f.WriteAt(first, 0); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && j.mark == nil {
		j.mark, err = openRegular(filepath.Join(j.dir, markName), os.O_WRONLY|os.O_CREATE)
	}
	if err = errors.Join(err, j.disk.sync(f)); err != nil {
		return err
	}
	j.offset, j.length = int64(len(first)), info.Size()
	return nil
}

// begun says what the index has to know of the segment that is being written.
func (j *journal) begun() begunSegment { return begunSegment{j.number, j.length} }

// retire keeps the file of a segment whose changes are in the index as the
// spare one.
func (j *journal) retire(number uint64) error {
	name := filepath.Join(j.dir, segmentName(number))
	if info, err := os.Stat(name); err == nil && info.Size() > 2*j.size {
		return os.Remove(name) // it had a very large batch
	}
	return os.Rename(name, filepath.Join(j.dir, spareName))
}

func (j *journal) close() (err error) {
	for _, f := range []*os.File{j.file, j.mark} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// segments returns the numbers of the segments in dir, in order.
func segments(dir string) ([]uint64, error) {
	entries, err := readDirectory(dir)
	if err != nil {
		return nil, err
	}
	var all []uint64
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil && len(e.Name()) == 16 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// replay calls f with each batch in the segments that the index has not got to,
// in order. A record that was being written when the power went is the last one
// there is; anything else that does not fit is damage, and never passed over.
func replay(dir string, v vouched, f func(changes []byte) error) (last uint64, err error) {
	all, err := segments(dir)
	if err != nil {
		return 0, err
	}
	if newest := v.newest(); newest > 0 && (len(all) == 0 || all[len(all)-1] < newest) {
		return 0, fmt.Errorf("journal segment %d is %w: it is missing", newest, ErrDamaged)
	}
	if odd := notRegular(filepath.Join(dir, spareName)); odd != nil {
		return 0, fmt.Errorf("read journal: %w", odd)
	}
	last = v.applied
	for _, number := range all {
		if odd := notRegular(filepath.Join(dir, segmentName(number))); odd != nil {
			return 0, fmt.Errorf("journal segment %w", odd) // it would be used again, too
		}
		if number <= v.applied {
			continue
		}
		if number != last+1 {
			return 0, fmt.Errorf("journal segment %d is %w: it is missing", last+1, ErrDamaged)
		}
		last = number
		ended, err := replaySegment(dir, number, v, f)
		if err != nil {
			return 0, err
		}
		if !ended && number != all[len(all)-1] {
			return 0, fmt.Errorf("journal segment %d is %w: its end is missing", number, ErrDamaged)
		}
	}
	return last, nil
}

func replaySegment(dir string, number uint64, v vouched, f func(changes []byte) error) (ended bool, err error) {
	whole, err := readRegular(filepath.Join(dir, segmentName(number)))
	if err != nil {
		return false, fmt.Errorf("read journal: %w", err)
	}
	records := segmentRecords{number: number}
	for b := whole; ; {
		kind, changes, rest, ok := records.next(b)
		switch {
		case ok && kind == kindEnd:
			return true, nil
		case ok:
			if err := f(changes); err != nil {
				return false, fmt.Errorf("journal segment %d: %w", number, err)
			}
			b = rest
		case records.later(b) >= 0:
			// Each batch is synced before the next one is written, so only the
			// last can be incomplete.
			return false, fmt.Errorf("journal segment %d is %w: a record before its last one", number, ErrDamaged)
		default:
			return false, v.short(number, int64(len(whole)-len(b)), int64(len(whole)))
		}
	}
}

// segmentRecords reads the records of one segment. What it finds first says what
// tag the others have.
type segmentRecords struct {
	number uint64
	tag    recordTag
	tagged bool
}

// next reads the record that b begins with.
func (r *segmentRecords) next(b []byte) (kind byte, changes, rest []byte, ok bool) {
	if len(b) < recordHead || binary.BigEndian.Uint32(b) != recordMagic || binary.BigEndian.Uint64(b[8:]) != r.number {
		return 0, nil, nil, false
	}
	tag := recordTag(b[21:recordHead])
	n := int(binary.BigEndian.Uint32(b[4:]))
	if r.tagged && tag != r.tag || n > len(b)-recordHead || binary.BigEndian.Uint32(b[16:]) != recordChecksum(b[:recordHead+n]) {
		return 0, nil, nil, false
	}
	r.tag, r.tagged = tag, true
	return b[20], b[recordHead : recordHead+n], b[recordHead+n:], true
}

// later returns where the next whole record of the segment is behind the start of
// b, -1 when there is none.
func (r *segmentRecords) later(b []byte) int {
	magic := binary.BigEndian.AppendUint32(nil, recordMagic)
	for at := 1; at < len(b); at++ {
		i := bytes.Index(b[at:], magic)
		if i < 0 {
			return -1
		}
		at += i
		if _, _, _, ok := r.next(b[at:]); ok {
			return at
		}
	}
	return -1
}
