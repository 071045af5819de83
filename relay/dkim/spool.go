package dkim

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// inMemory is how much of a content is kept in memory, in octets: as much as the
// queue does.
const inMemory = 64 << 10

// spool keeps a content until it is signed.
type spool struct {
	dir  string
	buf  []byte
	file *os.File // of a larger one; it has no name any more
	size int64
}

// Write takes the next piece.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.buf)+len(p) <= inMemory {
		s.buf = append(s.buf, p...)
		return len(p), nil
	}
	if err := s.spill(); err != nil {
		return 0, fmt.Errorf("keep content to be signed: %w", err)
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("keep content to be signed: %w", err)
	}
	return n, nil
}

// spill moves the content to a file, which has a name only for a moment.
func (s *spool) spill() error {
	if s.file != nil {
		return nil
	}
	f, err := os.CreateTemp(s.dir, ".signing-*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	s.file = f
	n, err := f.Write(s.buf)
	s.size, s.buf = int64(n), nil
	return err
}

// Reader reads the content from its beginning.
func (s *spool) Reader() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf), nil
	}
	return io.NewSectionReader(s.file, 0, s.size), nil
}

// Close gives the content up.
func (s *spool) Close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.buf, s.size = nil, 0
}
