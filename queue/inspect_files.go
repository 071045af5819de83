package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// oddity notes what is in the place of a file, or of a directory. A repair moves
// it out of the way.
func (in *inspection) oddity(file string, reason error) {
	in.odd = append(in.odd, file)
	in.damage(Damage{File: file, Reason: reason.Error()}, nil)
}

// contents compares every content that has a file with its checksum.
func (in *inspection) contents() error {
	entries, err := readDirectory(filepath.Join(in.dir, contentName))
	if errors.Is(err, ErrDamaged) {
		in.oddity(contentName, err)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := map[ID]bool{}
	for _, e := range entries {
		id, err := ParseID(e.Name())
		if err != nil {
			continue
		}
		there[id] = true
		if odd := notRegular(filepath.Join(in.dir, contentPath(id))); odd != nil {
			in.odd = append(in.odd, contentPath(id))
			in.condemn(Damage{ID: id, File: contentPath(id), Reason: odd.Error()}, nil)
		} else if k := in.known[id]; !k.message {
			in.Orphans++
		} else if k.file {
			if err := in.content(id, k); err != nil {
				return err
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(in.known)) {
		if k := in.known[id]; k.message && k.file && !there[id] && !in.gone(id) {
			in.condemn(Damage{ID: id, File: contentPath(id), Reason: fmt.Sprintf("content of %s is %v: its file is missing", id, ErrDamaged)}, nil)
		}
	}
	return nil
}

func contentPath(id ID) string { return filepath.Join(contentName, id.String()) }

// content looks at one file. One that has gone meanwhile went with its message.
func (in *inspection) content(id ID, k known) error {
	f, err := openRegular(filepath.Join(in.dir, contentPath(id)), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) && in.gone(id) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("verify content of %s: %w", id, err)
	}
	defer f.Close()
	in.Contents++
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(sum, &checkedReader{in.ctx, io.LimitReader(f, k.size)})
	in.ContentBytes += n
	switch {
	case err != nil && in.ctx.Err() != nil:
		return in.ctx.Err()
	case err != nil:
		in.condemn(Damage{ID: id, File: contentPath(id), Reason: err.Error()}, nil)
		return nil
	case n != k.size || sum.Sum32() != k.sum:
		in.condemn(Damage{ID: id, File: contentPath(id), Reason: fmt.Sprintf("content of %s is %v", id, ErrDamaged)}, nil)
		return nil
	}
	_, owner, length, err := readTrailer(f)
	if err == nil && (owner != id || length != k.size) {
		err = fmt.Errorf("trailer is %w: it is that of another message", ErrDamaged)
	}
	if info, _ := f.Stat(); errors.Is(err, errNoTrailer) && info != nil && info.Size() == k.size {
		err = nil // an older program wrote it
	}
	if err != nil {
		in.damage(Damage{ID: id, File: contentPath(id), Reason: err.Error()}, nil)
	}
	return nil
}

// checkedReader ends with its context.
type checkedReader struct {
	ctx interface{ Err() error }
	r   io.Reader
}

// Read reads on, unless the context has ended.
func (r *checkedReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// journal reads the segments that the index has not got to into one overlay,
// with everything in them that can be read. Where nobody knows which those are,
// the first segment that there is is the first that counts. It returns the last.
func (in *inspection) journal() (*overlay, uint64, error) {
	dir, known := filepath.Join(in.dir, journalName), in.meta.appliedKnown
	files, err := in.segmentFiles(dir)
	if err != nil {
		return nil, 0, err
	}
	v := vouched{applied: in.meta.applied, begun: in.meta.begun}
	mark := filepath.Join(journalName, markName)
	if slices.Contains(in.odd, journalName) {
		// nor is there anything in it
	} else if odd := notRegular(filepath.Join(in.dir, mark)); odd != nil {
		in.oddity(mark, odd)
	} else if v.mark, err = readMark(dir); errors.Is(err, ErrDamaged) {
		in.damage(Damage{File: mark, Reason: err.Error()}, nil)
	} else if err != nil {
		return nil, 0, err
	}
	o, last := newOverlay(), v.applied
	numbers := slices.Sorted(maps.Keys(files))
	if !known && len(numbers) > 1 && files[numbers[0]] == spareName && numbers[1] != numbers[0]+1 {
		numbers = numbers[1:] // of old
	}
	for _, number := range numbers {
		if known && number <= v.applied {
			continue
		}
		if (known || last > 0) && number != last+1 {
			in.missing(last + 1)
		}
		last = number
		if err := in.segment(files[number], number, number == numbers[len(numbers)-1], v, o); err != nil {
			return nil, 0, err
		}
	}
	// There is always a segment as new as what the index knows of.
	newest := v.newest()
	if known && newest > 0 && (len(numbers) == 0 || numbers[len(numbers)-1] < newest) {
		in.missing(newest)
	}
	last = max(last, newest)
	return o, last, nil
}

func (in *inspection) missing(segment uint64) {
	in.broken = true
	in.damage(Damage{File: journalName, Reason: fmt.Sprintf("journal segment %d is %v: it is missing", segment, ErrDamaged)}, nil)
}

// segmentFiles returns the segments by number. The spare file is one that was
// brought into the index; it counts when the index is not what it was then.
func (in *inspection) segmentFiles(dir string) (map[uint64]string, error) {
	all, err := segments(dir)
	if errors.Is(err, ErrDamaged) {
		in.oddity(journalName, err)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files := map[uint64]string{}
	head := make([]byte, recordHead)
	f, err := openRegular(filepath.Join(dir, spareName), os.O_RDONLY)
	if errors.Is(err, ErrDamaged) {
		in.oddity(filepath.Join(journalName, spareName), err)
	} else if err == nil {
		if _, err := f.ReadAt(head, 0); err == nil && binary.BigEndian.Uint32(head) == recordMagic {
			files[binary.BigEndian.Uint64(head[8:])] = spareName
		}
		f.Close()
	}
	for _, number := range all {
		name := segmentName(number)
		if odd := notRegular(filepath.Join(dir, name)); odd != nil {
			in.oddity(filepath.Join(journalName, name), odd)
			continue
		}
		files[number] = name
	}
	return files, nil
}

// segment reads one segment into o, and goes on behind what is damaged.
func (in *inspection) segment(file string, number uint64, newest bool, v vouched, o *overlay) error {
	whole, err := readRegular(filepath.Join(in.dir, journalName, file))
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	in.Segments++
	where := filepath.Join(journalName, file)
	damage := func(raw []byte, reason string) {
		in.broken = true
		in.damage(Damage{File: where, Reason: reason}, raw)
	}
	wrong := func(raw []byte, reason string) {
		damage(raw, fmt.Sprintf("journal segment %d is %v: %s", number, ErrDamaged, reason))
	}
	records := segmentRecords{number: number}
	for b := whole; ; {
		kind, changes, rest, ok := records.next(b)
		switch later := 0; {
		case ok && kind == kindEnd:
			return nil
		case ok:
			if err := o.replay(changes); err != nil {
				wrong(changes, err.Error())
			}
			b = rest
		default:
			if later = records.later(b); later < 0 {
				if short := v.short(number, int64(len(whole)-len(b)), int64(len(whole))); short != nil {
					damage(nil, short.Error())
				} else if !newest {
					wrong(nil, "its end is missing")
				}
				return nil
			}
			wrong(b[:later], "a record before its last one")
			b = b[later:]
		}
	}
}
