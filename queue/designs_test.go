package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Three ways to keep messages, each as small as a store can be that takes them,
// lets them go, and finds them again after a crash. None has envelopes, a
// schedule, or anything but one committer.
//
//	inline   one transaction of bbolt for each batch, with the contents
//	segments contents appended and synced, then a transaction that says where
//	journal  everything appended and synced; bbolt gets it a segment at a time, behind
type design interface {
	// commit returns when a batch is on the disk.
	commit(b designBatch) error
	// rest returns when nothing goes on in the background.
	rest() error
	// all returns what is there.
	all() (map[uint64]string, error)
	close() error
}

// designBatch is what is committed together: messages by ID, and those that are
// done with.
type designBatch struct {
	add  map[uint64][]byte
	done []uint64
}

var designs = map[string]func(*designDisk) (design, error){"inline": openInline, "segments": openSegments, "journal": openJournalDesign}

// designDisk is the directory of a design. It remembers each write and each sync
// where that is wanted.
type designDisk struct {
	dir     string
	segment int64 // octets of a segment
	used    bool  // the segments that are used in turn were used before
	noSync  bool

	recording bool
	mu        sync.Mutex
	ops       []designOp
}

// designOp is a write, a sync, or the end of a file.
type designOp struct {
	file       string
	at         int64
	data       []byte
	sync, gone bool
}

// note remembers, and returns how much there is to remember by now.
func (d *designDisk) note(ops ...designOp) int {
	if !d.recording {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops = append(d.ops, ops...)
	return len(d.ops)
}

func (d *designDisk) open(name string, space int64) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil && space > 0 {
		_ = unix.Fallocate(int(f.Fd()), 0, 0, space) // where that cannot be, it grows
	}
	if err == nil && !d.noSync {
		err = errors.Join(f.Sync(), syncDir(d.dir))
	}
	return f, err
}

// write appends and syncs.
func (d *designDisk) write(f *os.File, b []byte, at int64) error {
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	name := filepath.Base(f.Name())
	if d.recording {
		d.note(designOp{file: name, at: at, data: bytes.Clone(b)})
	}
	if !d.noSync {
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
	}
	d.note(designOp{file: name, sync: true})
	return nil
}

func (d *designDisk) remove(name string) error {
	d.note(designOp{file: name, gone: true})
	return os.Remove(filepath.Join(d.dir, name))
}

const designPage = 4096

// update is a transaction. bbolt writes its pages, syncs, writes one of the first
// two, and syncs; what it wrote is what has changed.
func (d *designDisk) update(db *bolt.DB, f func(*bolt.Bucket) error) error {
	update := func() error { return db.Update(func(tx *bolt.Tx) error { return f(tx.Bucket(bucketMessage)) }) }
	if !d.recording {
		return update()
	}
	before, err := os.ReadFile(db.Path())
	if err = errors.Join(err, update()); err != nil {
		return err
	}
	after, err := os.ReadFile(db.Path())
	grown := len(after) > len(before)
	before = append(before, make([]byte, max(len(after)-len(before), 0))...)
	var pages, metas []designOp
	for at := 0; at < len(after); at += designPage {
		op := designOp{file: indexName, at: int64(at), data: after[at : at+designPage]}
		switch last := at+designPage == len(after); {
		case bytes.Equal(op.data, before[at:at+designPage]) && !(grown && last):
		case at < 2*designPage:
			metas = append(metas, op)
		default:
			pages = append(pages, op)
		}
	}
	synced := designOp{file: indexName, sync: true}
	d.note(slices.Concat(pages, []designOp{synced}, metas, []designOp{synced})...)
	return err
}

func (d *designDisk) index() (*bolt.DB, error) {
	options := boltOptions()
	options.PageSize = designPage
	db, err := bolt.Open(filepath.Join(d.dir, indexName), 0o600, options)
	if err != nil {
		return nil, err
	}
	db.NoSync, db.AllocSize = d.noSync, int(d.segment)
	return db, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketMessage)
		return err
	})
}

func designKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// inlineDesign has all of it in bbolt.
type inlineDesign struct {
	disk *designDisk
	db   *bolt.DB
}

func openInline(d *designDisk) (design, error) {
	db, err := d.index()
	return &inlineDesign{d, db}, err
}

func (s *inlineDesign) commit(b designBatch) error {
	return s.disk.update(s.db, func(bucket *bolt.Bucket) (err error) {
		for id, content := range b.add {
			err = errors.Join(err, bucket.Put(designKey(id), content))
		}
		for _, id := range b.done {
			err = errors.Join(err, bucket.Delete(designKey(id)))
		}
		return err
	})
}

func (s *inlineDesign) all() (map[uint64]string, error) {
	found := map[uint64]string{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMessage).ForEach(func(key, content []byte) error {
			found[binary.BigEndian.Uint64(key)] = string(content)
			return nil
		})
	})
	return found, err
}

func (s *inlineDesign) rest() error  { return nil }
func (s *inlineDesign) close() error { return s.db.Close() }

// segmentsDesign has contents in segments, which go when nothing in them is
// needed any more, and in bbolt for each where it is: segment 8, place 8,
// length 4, CRC-32C 4. What stands behind the last of them was never
// acknowledged.
type segmentsDesign struct {
	disk   *designDisk
	db     *bolt.DB
	file   *os.File
	number uint64
	at     int64
	live   map[uint64]int // messages by segment
	buf    []byte
}

// designEnd is the key of how far a log has come; no message has it.
var designEnd = designKey(0)

func openSegments(d *designDisk) (design, error) {
	db, err := d.index()
	if err != nil {
		return nil, err
	}
	s := &segmentsDesign{disk: d, db: db, live: map[uint64]int{}}
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMessage).ForEach(func(key, value []byte) error {
			if bytes.Equal(key, designEnd) {
				s.at, s.number = int64(binary.BigEndian.Uint64(value)), binary.BigEndian.Uint64(value[8:])
			} else {
				s.live[binary.BigEndian.Uint64(value)]++
			}
			return nil
		})
	})
	if err == nil {
		s.file, err = d.open(segmentName(s.number), d.segment)
	}
	return s, err
}

func (s *segmentsDesign) commit(b designBatch) error {
	if s.at >= s.disk.segment {
		f, err := s.disk.open(segmentName(s.number+1), s.disk.segment)
		if err = errors.Join(err, s.file.Close()); err != nil {
			return err
		}
		s.file, s.number, s.at = f, s.number+1, 0
	}
	buf := s.buf[:0]
	places := map[uint64][]byte{}
	for id, content := range b.add {
		place := binary.BigEndian.AppendUint64(designKey(s.number), uint64(s.at)+uint64(len(buf)))
		places[id] = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(place, uint32(len(content))), checksum(content))
		buf = append(buf, content...)
	}
	s.buf = buf
	if err := s.disk.write(s.file, buf, s.at); err != nil {
		return err
	}
	s.at += int64(len(buf))
	err := s.disk.update(s.db, func(bucket *bolt.Bucket) (err error) {
		for id, place := range places {
			s.live[s.number]++
			err = errors.Join(err, bucket.Put(designKey(id), place))
		}
		for _, id := range b.done {
			s.live[binary.BigEndian.Uint64(bucket.Get(designKey(id)))]--
			err = errors.Join(err, bucket.Delete(designKey(id)))
		}
		return errors.Join(err, bucket.Put(designEnd, append(designKey(uint64(s.at)), designKey(s.number)...)))
	})
	for number, live := range s.live {
		if err == nil && live == 0 && number != s.number {
			delete(s.live, number)
			err = s.disk.remove(segmentName(number))
		}
	}
	return err
}

func (s *segmentsDesign) all() (map[uint64]string, error) {
	found := map[uint64]string{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMessage).ForEach(func(key, place []byte) error {
			if bytes.Equal(key, designEnd) {
				return nil
			}
			whole, err := os.ReadFile(filepath.Join(s.disk.dir, segmentName(binary.BigEndian.Uint64(place))))
			at, n := binary.BigEndian.Uint64(place[8:]), uint64(binary.BigEndian.Uint32(place[16:]))
			if err != nil || at+n > uint64(len(whole)) || checksum(whole[at:at+n]) != binary.BigEndian.Uint32(place[20:]) {
				return errors.Join(fmt.Errorf("%x is %w", key, ErrDamaged), err)
			}
			found[binary.BigEndian.Uint64(key)] = string(whole[at : at+n])
			return nil
		})
	})
	return found, err
}

func (s *segmentsDesign) rest() error  { return nil }
func (s *segmentsDesign) close() error { return errors.Join(s.file.Close(), s.db.Close()) }

// journalDesign writes a record for each batch, to one of two segments in turn:
// segment 8, length 4, CRC-32C 4, then ID 8, length 4, content for each message,
// where a length of doneLength says that it has left. What is in a segment stands
// in memory, too, until bbolt has it.
type journalDesign struct {
	disk   *designDisk
	db     *bolt.DB
	files  [2]*os.File
	number uint64
	at     int64
	fresh  map[uint64][]byte // nil is what has left
	frozen map[uint64][]byte
	behind chan error
	buf    []byte
}

const doneLength = ^uint32(0)

func openJournalDesign(d *designDisk) (design, error) {
	db, err := d.index()
	if err != nil {
		return nil, err
	}
	j := &journalDesign{disk: d, db: db, fresh: map[uint64][]byte{}, behind: make(chan error, 1)}
	for i := range j.files {
		if j.files[i], err = d.open(fmt.Sprint("journal", i), d.segment+d.segment/4); err != nil {
			return nil, err
		}
		if d.used {
			_, err = j.files[i].Write(make([]byte, d.segment+d.segment/4))
			if err = errors.Join(err, j.files[i].Sync()); err != nil {
				return nil, err
			}
		}
	}
	err = db.View(func(tx *bolt.Tx) error {
		if applied := tx.Bucket(bucketMessage).Get(designEnd); applied != nil {
			j.number = binary.BigEndian.Uint64(applied)
		}
		return nil
	})
	for ended := true; ended && err == nil; {
		j.number++
		ended, err = j.replay(j.number)
	}
	if err == nil {
		err = j.bringIn(j.fresh, j.number)
	}
	j.number, j.fresh = j.number+1, map[uint64][]byte{}
	j.behind <- nil
	return j, err
}

func (j *journalDesign) replay(number uint64) (ended bool, err error) {
	b, err := os.ReadFile(j.files[number%2].Name())
	at := 0
	for at+16 <= len(b) && binary.BigEndian.Uint64(b[at:]) == number {
		n := int(binary.BigEndian.Uint32(b[at+8:]))
		if n > len(b)-at-16 || checksumOf(b[at:at+12], b[at+16:at+16+n]) != binary.BigEndian.Uint32(b[at+12:]) {
			break
		}
		for p := b[at+16 : at+16+n]; len(p) > 0; {
			id, length := binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[8:])
			if p = p[12:]; length == doneLength {
				j.fresh[id] = nil
			} else {
				j.fresh[id], p = p[:length:length], p[length:]
			}
		}
		at += 16 + n
	}
	return int64(at) >= j.disk.segment, err
}

func (j *journalDesign) commit(b designBatch) error {
	record := append(j.buf[:0], make([]byte, 16)...)
	for id, content := range b.add {
		record = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(record, id), uint32(len(content)))
		record = append(record, content...)
		j.fresh[id] = content
	}
	for _, id := range b.done {
		record = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(record, id), doneLength)
		j.fresh[id] = nil
	}
	j.buf = record
	binary.BigEndian.PutUint64(record, j.number)
	binary.BigEndian.PutUint32(record[8:], uint32(len(record)-16))
	binary.BigEndian.PutUint32(record[12:], checksumOf(record[:12], record[16:]))
	if err := j.disk.write(j.files[j.number%2], record, j.at); err != nil {
		return err
	}
	if j.at += int64(len(record)); j.at < j.disk.segment {
		return nil
	}
	if err := <-j.behind; err != nil {
		return err
	}
	frozen, number := j.fresh, j.number
	j.frozen, j.fresh, j.number, j.at = frozen, map[uint64][]byte{}, number+1, 0
	go func() { j.behind <- j.bringIn(frozen, number) }()
	return nil
}

func (j *journalDesign) bringIn(changes map[uint64][]byte, number uint64) error {
	return j.disk.update(j.db, func(bucket *bolt.Bucket) (err error) {
		for id, content := range changes {
			if content == nil {
				err = errors.Join(err, bucket.Delete(designKey(id)))
			} else {
				err = errors.Join(err, bucket.Put(designKey(id), content))
			}
		}
		return errors.Join(err, bucket.Put(designEnd, designKey(number)))
	})
}

func (j *journalDesign) all() (map[uint64]string, error) {
	err := j.rest()
	index := inlineDesign{j.disk, j.db}
	found, wrong := index.all()
	delete(found, 0) // which is designEnd
	for _, changes := range []map[uint64][]byte{j.frozen, j.fresh} {
		for id, content := range changes {
			if found[id] = string(content); content == nil {
				delete(found, id)
			}
		}
	}
	return found, errors.Join(err, wrong)
}

func (j *journalDesign) rest() error {
	err := <-j.behind
	j.behind <- err
	return err
}

func (j *journalDesign) close() error {
	return errors.Join(<-j.behind, j.files[0].Close(), j.files[1].Close(), j.db.Close())
}
