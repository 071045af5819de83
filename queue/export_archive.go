package queue

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// An archive is a tar stream (POSIX.1-1988, ustar) of regular files:
//
//	waypost.json  {"format": "waypost queue", "version": 1, "queue": identity, "exported": time}
//	ID.json       {"sha256": …, "message": {…}}, for each message, in the order of their IDs
//	ID.eml        its content, octet for octet
//	end.json      {"messages": number, "sha256": …}
//
// The checksum of an ID.json is that of the value of message, as it stands
// there; that of the content is in the message. The one in end.json is that of
// the lines "checksum, two spaces, name" of every member before it, which is
// what sha256sum prints.

const (
	archiveFormat  = "waypost queue"
	archiveVersion = 1

	archiveFirst = "waypost.json"
	archiveLast  = "end.json"

	// maxExported bounds what is said of one message: far more than a message
	// with thousands of recipients needs.
	maxExported = 32 << 20
)

type archiveHead struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Queue    string    `json:"queue"`
	Exported time.Time `json:"exported"`
}

type archiveRecord struct {
	SHA256  string          `json:"sha256"`
	Message json.RawMessage `json:"message"`
}

type archiveEnd struct {
	Messages int64  `json:"messages"`
	SHA256   string `json:"sha256"`
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// archiveLines sums up the members of an archive.
type archiveLines struct{ hash.Hash }

func (l archiveLines) add(name, sum string) { fmt.Fprintf(l, "%s  %s\n", sum, name) }

// archiveWriter writes an archive from front to back.
type archiveWriter struct {
	tar      *tar.Writer
	lines    archiveLines
	messages int64
	buffer   []byte
}

func newArchiveWriter(w io.Writer, from identity) (*archiveWriter, error) {
	a := &archiveWriter{tar: tar.NewWriter(w), lines: archiveLines{sha256.New()}, buffer: make([]byte, 64<<10)}
	now := time.Now().UTC().Truncate(time.Second)
	text, err := json.Marshal(archiveHead{archiveFormat, archiveVersion, from.String(), now})
	if err != nil {
		return nil, err
	}
	return a, a.text(archiveFirst, now, text)
}

// errExported means that a message cannot be in an archive.
var errExported = errors.New("too much is known of it for an archive")

// message writes what is said of a message, and its content.
func (a *archiveWriter) message(m *exportedMessage, content io.Reader) error {
	message, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(message)
	text, err := json.Marshal(archiveRecord{hex.EncodeToString(sum[:]), message})
	if err != nil {
		return err
	}
	if len(text) >= maxExported {
		return errExported
	}
	if err := a.text(m.ID+".json", m.Arrival, text); err != nil {
		return err
	}
	a.messages++
	return a.member(m.ID+".eml", m.Arrival, m.Content.Size, content, m.Content.SHA256)
}

// text writes a member of one line.
func (a *archiveWriter) text(name string, modified time.Time, line []byte) error {
	line = append(line, '\n')
	if err := a.head(name, modified, int64(len(line))); err != nil {
		return err
	}
	sum := sha256.Sum256(line)
	a.lines.add(name, hex.EncodeToString(sum[:]))
	_, err := a.tar.Write(line)
	return err
}

func (a *archiveWriter) head(name string, modified time.Time, size int64) error {
	return a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: modified.Truncate(time.Second), Format: tar.FormatUSTAR,
	})
}

// member writes one whose content must have that size and checksum.
func (a *archiveWriter) member(name string, modified time.Time, size int64, content io.Reader, want string) error {
	if err := a.head(name, modified, size); err != nil {
		return err
	}
	sum := sha256.New()
	// Read alone is what checks the content: no way around by WriteTo.
	n, err := io.CopyBuffer(io.MultiWriter(a.tar, sum), struct{ io.Reader }{content}, a.buffer)
	if err != nil {
		return err
	}
	if n != size || hexSum(sum) != want {
		return fmt.Errorf("%s changed while it was read", name)
	}
	a.lines.add(name, want)
	return nil
}

// end writes the last member, without which an archive is not whole.
func (a *archiveWriter) end() error {
	text, err := json.Marshal(archiveEnd{a.messages, hexSum(a.lines)})
	if err != nil {
		return err
	}
	if err := a.text(archiveLast, time.Now(), text); err != nil {
		return err
	}
	return a.tar.Close()
}
