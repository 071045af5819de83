package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkDesigns commits messages of 5 KB, one committer taking what has
// gathered. "accept" only takes them; in "through" those of a batch leave with the
// next one. "bare" is a log alone, which nobody could find a message in: what the
// disk allows. All of them take turns on the same disk, so that "of-bare" can be
// compared although others use it, too.
func BenchmarkDesigns(b *testing.B) {
	for _, mode := range []string{"accept", "through"} {
		for _, writers := range []int{1, 20, 100} {
			b.Run(fmt.Sprintf("%s/writers=%d", mode, writers), func(b *testing.B) { compareDesigns(b, writers, mode == "through") })
		}
	}
}

func compareDesigns(b *testing.B, writers int, through bool) {
	names := []string{"bare", "inline", "segments", "journal"}
	took := map[string]time.Duration{}
	loads := map[string]*designLoad{}
	for _, name := range names {
		open := designs[name]
		if name == "bare" {
			open = openBare
		}
		d, err := open(&designDisk{dir: b.TempDir(), segment: segmentSize, used: true})
		if err != nil {
			b.Fatal(err)
		}
		loads[name] = &designLoad{design: d, through: through}
	}
	b.ResetTimer()
	turn := min(b.N, 1000) // messages
	for done := 0; done < b.N; done += turn {
		for _, name := range names {
			begun := time.Now()
			loads[name].gather(b, writers, turn)
			if err := loads[name].rest(); err != nil {
				b.Fatal(err)
			}
			took[name] += time.Since(begun)
		}
	}
	for _, name := range names {
		if err := loads[name].close(); err != nil {
			b.Error(err)
		}
		rate := float64((b.N+turn-1)/turn*turn) / took[name].Seconds()
		b.ReportMetric(rate, name+"/s")
		b.ReportMetric(took["bare"].Seconds()/took[name].Seconds(), name+"-of-bare")
	}
}

// designLoad is mail for one design.
type designLoad struct {
	design
	through bool
	last    uint64
	leaving []uint64
}

var designContent = bytes.Repeat([]byte{'x'}, 5120)

// commitNew commits so many new messages.
func (l *designLoad) commitNew(messages int) error {
	batch := designBatch{add: make(map[uint64][]byte, messages)}
	if l.through {
		batch.done, l.leaving = l.leaving, nil
	}
	for range messages {
		l.last++
		batch.add[l.last] = designContent
		l.leaving = append(l.leaving, l.last)
	}
	return l.commit(batch)
}

// gather has writers wait for commits until so many messages are in.
func (l *designLoad) gather(b *testing.B, writers, messages int) {
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
		err := l.commitNew(len(batch))
		for _, op := range batch {
			op <- err
		}
	}
}

// bareLog only appends.
type bareLog struct {
	disk *designDisk
	file *os.File
	buf  []byte
	at   int64
	grow bool // go on in an empty file at the end, and not in the same blocks
}

// openGrowing is a log whose file grows, as a log does that is not used again.
func openGrowing(d *designDisk) (design, error) {
	f, err := d.open("log", 0)
	return &bareLog{disk: d, file: f, grow: true}, err
}

func openBare(d *designDisk) (design, error) {
	f, err := d.open("log", 0)
	if err == nil { // as a segment that was used before: its blocks are there
		_, err = f.Write(make([]byte, d.segment+d.segment/4))
		err = errors.Join(err, f.Sync())
	}
	return &bareLog{disk: d, file: f}, err
}

func (l *bareLog) commit(b designBatch) error {
	l.buf = l.buf[:0]
	for _, content := range b.add {
		l.buf = append(l.buf, content...)
	}
	err := l.disk.write(l.file, l.buf, l.at)
	if l.at += int64(len(l.buf)); l.at >= l.disk.segment {
		l.at = 0
		if l.grow {
			err = errors.Join(err, l.file.Truncate(0))
		}
	}
	return err
}

func (l *bareLog) rest() error                     { return nil }
func (l *bareLog) all() (map[uint64]string, error) { return nil, nil }
func (l *bareLog) close() error                    { return l.file.Close() }
