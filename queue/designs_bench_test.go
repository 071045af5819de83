package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// BenchmarkDesigns has what each design of the store writes and syncs for a batch
// of messages of 5 KB, and nothing else: no envelope, no schedule, one committer
// that takes what has gathered. "bare" is a log alone, which nobody could find a
// message in: what the disk allows. All of them take turns on the same disk, so
// that "of-bare" can be compared although others use it, too.
//
//	inline   one commit of bbolt for each batch, with the contents
//	segments contents appended and synced, then one commit of bbolt that says where
//	journal  everything appended and synced; bbolt gets it a segment at a time, behind
func BenchmarkDesigns(b *testing.B) {
	for _, writers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			took := map[string]time.Duration{}
			all := []string{"bare", "inline", "segments", "journal"}
			designs := map[string]design{}
			for _, name := range all {
				designs[name] = newDesign(b, name)
			}
			b.ResetTimer()
			const turn = 1000 // messages
			for done := 0; done < b.N; done += turn {
				for _, name := range all {
					begun := time.Now()
					gather(b, designs[name], writers, turn)
					if err := designs[name].rest(); err != nil {
						b.Fatal(err)
					}
					took[name] += time.Since(begun)
				}
			}
			for _, name := range all {
				designs[name].close()
				rate := float64((b.N+turn-1)/turn*turn) / took[name].Seconds()
				b.ReportMetric(rate, name+"/s")
				b.ReportMetric(took["bare"].Seconds()/took[name].Seconds(), name+"-of-bare")
			}
		})
	}
}

// gather has writers wait for commits until so many messages are in.
func gather(b *testing.B, d design, writers, messages int) {
	b.Helper()
	ops, left := make(chan chan error), atomic.Int64{}
	left.Store(int64(messages))
	ended := make(chan struct{}, writers)
	for range writers {
		go func() {
			defer func() { ended <- struct{}{} }()
			done := make(chan error, 1)
			for left.Add(-1) >= 0 {
				ops <- done
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
		}()
	}
	for running := writers; running > 0; {
		var batch []chan error
		select {
		case <-ended:
			running--
			continue
		case op := <-ops:
			batch = append(batch, op)
		}
		for more := true; more; {
			select {
			case op := <-ops:
				batch = append(batch, op)
			default:
				more = false
			}
		}
		err := d.commit(len(batch))
		for _, op := range batch {
			op <- err
		}
	}
}

// design commits a number of messages.
type design interface {
	commit(messages int) error
	// rest returns when nothing goes on in the background.
	rest() error
	close()
}

const designContent, designRecord = 5120, 160 // octets of a content, and of what is known of it

func newDesign(b *testing.B, name string) design {
	b.Helper()
	dir := filepath.Join(b.TempDir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	log := &designLog{}
	var err error
	for i := range log.files {
		if log.files[i], err = os.Create(filepath.Join(dir, fmt.Sprint("log", i))); err == nil {
			// As a segment that was used before: its blocks are there.
			_, err = log.files[i].Write(make([]byte, segmentSize+segmentSize/4))
		}
		if err == nil {
			err = log.files[i].Sync()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if name == "bare" {
		return log
	}
	db, err := newIndex(filepath.Join(dir, indexName))
	if err != nil {
		b.Fatal(err)
	}
	db.AllocSize = segmentSize
	index := &designIndex{db: db}
	switch name {
	case "inline":
		index.content = []byte(strings.Repeat("x", designContent))
		return index
	case "segments":
		return &designSegments{log, index}
	}
	index.content = []byte(strings.Repeat("x", designContent))
	j := &designJournal{designLog: log, index: index, behind: make(chan error, 1)}
	j.behind <- nil
	return j
}

// designLog is two segments, of which one is written.
type designLog struct {
	files  [2]*os.File
	now    int
	offset int64
}

func (l *designLog) append(b []byte) error {
	f := l.files[l.now]
	if _, err := f.WriteAt(b, l.offset); err != nil {
		return err
	}
	l.offset += int64(len(b))
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	if l.offset >= segmentSize {
		l.now, l.offset = 1-l.now, 0
	}
	return nil
}

func (l *designLog) commit(messages int) error {
	return l.append(bytes.Repeat([]byte{'x'}, messages*(designContent+designRecord)))
}

func (l *designLog) rest() error { return nil }

func (l *designLog) close() {
	for _, f := range l.files {
		_ = f.Close() // its directory goes
	}
}

// designIndex is bbolt with the content of each message in it, or without.
type designIndex struct {
	db      *bolt.DB
	content []byte
	last    uint64
}

func (x *designIndex) commit(messages int) error {
	return x.db.Update(func(tx *bolt.Tx) error {
		for range messages {
			x.last++
			key := binary.BigEndian.AppendUint64(nil, x.last)
			record := bytes.Repeat([]byte{'r'}, designRecord/2)
			if err := tx.Bucket(bucketMessage).Put(key, append(record, x.content...)); err != nil {
				return err
			}
			if err := tx.Bucket(bucketDelivery).Put(key, record); err != nil {
				return err
			}
		}
		return nil
	})
}

func (x *designIndex) rest() error { return nil }

func (x *designIndex) close() { _ = x.db.Close() } // its directory goes

// designSegments has contents in a log of their own.
type designSegments struct {
	log   *designLog
	index *designIndex
}

func (s *designSegments) commit(messages int) error {
	if err := s.log.append(bytes.Repeat([]byte{'x'}, messages*designContent)); err != nil {
		return err
	}
	return s.index.commit(messages)
}

func (s *designSegments) rest() error { return nil }

func (s *designSegments) close() {
	s.log.close()
	s.index.close()
}

// designJournal brings each segment into the index when it is full. Only one is
// behind at a time.
type designJournal struct {
	*designLog
	index   *designIndex
	pending int // messages in the segment that is written
	behind  chan error
}

func (j *designJournal) commit(messages int) error {
	was := j.now
	j.pending += messages
	if err := j.designLog.commit(messages); err != nil || j.now == was {
		return err
	}
	if err := <-j.behind; err != nil {
		return err
	}
	n := j.pending
	j.pending = 0
	go func() { j.behind <- j.index.commit(n) }()
	return nil
}

func (j *designJournal) rest() error {
	err := <-j.behind
	j.behind <- err
	return err
}

func (j *designJournal) close() {
	<-j.behind
	j.designLog.close()
	j.index.close()
}
